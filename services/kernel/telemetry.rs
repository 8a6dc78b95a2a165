//! Logs. Set up once by a command; everything else uses `tracing`.

use std::io::IsTerminal;

use tracing_subscriber::{EnvFilter, fmt};

use super::config::{LogConfig, LogFormat};

/// Sends what `tracing` is told to standard error.
///
/// # Errors
/// When the filter is not one.
pub fn init(config: &LogConfig) -> Result<(), String> {
    let filter = EnvFilter::try_new(&config.filter).map_err(|e| format!("log.filter: {e}"))?;
    let builder = fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    let done = match config.format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
    done.map_err(|e| format!("log: {e}"))
}
