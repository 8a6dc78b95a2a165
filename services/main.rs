//! The `runplane` command: reads the arguments and does what they say by `runplane::commands`.

use std::process::ExitCode;

use clap::Parser;
use runplane::commands;

#[tokio::main]
async fn main() -> ExitCode {
    // The one provider of TLS for outbound calls; a second call would only say that it is there.
    let _installed = rustls::crypto::ring::default_provider().install_default();
    commands::run(commands::Cli::parse()).await
}
