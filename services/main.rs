//! The `runplane` command: arguments, configuration, telemetry, serve.

fn main() {}
