//! Logs. Set up once by a command; everything else uses `tracing`.

use std::io::IsTerminal;

use tracing_subscriber::{
    EnvFilter, Registry, fmt, layer::SubscriberExt, reload, util::SubscriberInitExt,
};

use super::config::{LogConfig, LogFormat};

/// The way to the log while it is written.
#[derive(Debug, Clone)]
pub struct Log {
    filter: reload::Handle<EnvFilter, Registry>,
}

impl Log {
    /// From now on this is logged.
    ///
    /// # Errors
    /// When it is no filter.
    pub fn refilter(&self, filter: &str) -> Result<(), String> {
        self.filter.reload(parse(filter)?).map_err(|e| format!("log.filter: {e}"))
    }
}

/// Sends what `tracing` is told to standard error.
///
/// # Errors
/// When the filter is not one.
pub fn init(config: &LogConfig) -> Result<Log, String> {
    let (filter, handle) = reload::Layer::new(parse(&config.filter)?);
    let plain =
        fmt::layer().with_ansi(std::io::stderr().is_terminal()).with_writer(std::io::stderr);
    let (text, json) = match config.format {
        LogFormat::Text => (Some(plain), None),
        LogFormat::Json => (None, Some(fmt::layer().json().with_writer(std::io::stderr))),
    };
    let done = tracing_subscriber::registry().with(filter).with(text).with(json).try_init();
    done.map_err(|e| format!("log: {e}"))?;
    Ok(Log { filter: handle })
}

fn parse(filter: &str) -> Result<EnvFilter, String> {
    EnvFilter::try_new(filter).map_err(|e| format!("log.filter: {e}"))
}
