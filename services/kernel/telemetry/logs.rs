//! The log: lines on standard error, as text or JSON, by a filter that can be changed while the
//! process runs. Used by `mod.rs` alone.

use std::io::{IsTerminal, stderr};

use tracing::Metadata;
use tracing_subscriber::filter::{FilterExt, filter_fn};
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

use super::TRACE;
use crate::kernel::config::{LogConfig, LogFormat};

/// Changes the filter.
pub(super) type Handle = reload::Handle<EnvFilter, Registry>;

type Lines = Box<dyn Layer<Registry> + Send + Sync>;

/// The layer that writes lines.
pub(super) fn layer(config: &LogConfig) -> Result<(Lines, Handle), String> {
    let (filter, handle) = reload::Layer::new(filter(&config.filter)?);
    // First, for most spans end here without a look at the filter.
    let filter = filter_fn(is_logged).and(filter);
    let lines = fmt::layer().with_ansi(stderr().is_terminal()).with_writer(stderr);
    let layer = match config.format {
        LogFormat::Text => lines.with_filter(filter).boxed(),
        LogFormat::Json => {
            let lines = lines.json().flatten_event(true).with_span_list(false);
            lines.with_filter(filter).boxed()
        }
    };
    Ok((layer, handle))
}

/// A filter of this text.
pub(super) fn filter(text: &str) -> Result<EnvFilter, String> {
    EnvFilter::try_new(text).map_err(|error| format!("log.filter: {error}"))
}

fn is_logged(metadata: &Metadata<'_>) -> bool {
    metadata.target() != TRACE
}
