//! Runs the code generator of `proto/codegen`.

fn main() {}
