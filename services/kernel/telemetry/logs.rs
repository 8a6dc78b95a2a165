//! The log: lines on standard error, as text or JSON, by a filter that can be changed while the
//! process runs. Used by `mod.rs` alone.

use std::io::{IsTerminal, stderr};

use tracing::Metadata;
use tracing_subscriber::filter::{FilterExt, LevelFilter, filter_fn};
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
    // Its hint leaves the level to the filter: without one, every call site would be asked about.
    let filter = filter_fn(is_logged).with_max_level_hint(LevelFilter::TRACE).and(filter);
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

#[cfg(test)]
mod tests {
    use tracing::subscriber::with_default;
    use tracing::{Level, enabled};
    use tracing_subscriber::layer::SubscriberExt;
    use tracing_subscriber::registry;

    use super::*;

    fn config(filter: &str) -> LogConfig {
        LogConfig { filter: filter.to_owned(), format: LogFormat::Json }
    }

    #[test]
    fn the_filter_can_be_changed_and_a_wrong_one_changes_nothing() {
        let (layer, handle) = layer(&config("warn")).unwrap();
        with_default(registry().with(layer), || {
            assert!(enabled!(target: "runplane", Level::WARN));
            assert!(!enabled!(target: "runplane", Level::INFO));
            handle.reload(filter("info,runplane::call=off").unwrap()).unwrap();
            assert!(enabled!(target: "runplane", Level::INFO));
            assert!(!enabled!(target: "runplane::call", Level::ERROR));
            assert!(filter("a=b=c").is_err());
        });
    }

    #[test]
    fn the_filter_says_nothing_of_what_is_traced() {
        let (lines, _handle) = layer(&config("trace")).unwrap();
        with_default(registry().with(lines), || {
            let span = tracing::info_span!(target: TRACE, "call");
            assert!(span.is_disabled(), "without traces a span is nothing, whatever is logged");
        });
        let (lines, _handle) = layer(&config("off")).unwrap();
        let provider = opentelemetry_sdk::trace::SdkTracerProvider::builder().build();
        let tracer = opentelemetry::trace::TracerProvider::tracer(&provider, "test");
        let spans = super::super::traces::layer(tracer);
        with_default(registry().with(lines).with(spans), || {
            let span = tracing::info_span!(target: TRACE, "call");
            assert!(!span.is_disabled(), "and with traces it is one, if nothing is logged");
            assert!(tracing::error_span!(target: "h2", "frame").is_disabled());
        });
    }

    #[test]
    fn what_nobody_logs_costs_no_look_at_a_filter() {
        let config = crate::kernel::config::Config::with("").unwrap().log;
        for is_traced in [false, true] {
            let (lines, handle) = layer(&config).unwrap();
            let provider = opentelemetry_sdk::trace::SdkTracerProvider::builder().build();
            let tracer = opentelemetry::trace::TracerProvider::tracer(&provider, "test");
            let spans = is_traced.then(|| super::super::traces::layer(tracer));
            let subscriber = registry().with(lines).with(spans);
            let most = || tracing::Subscriber::max_level_hint(&subscriber);
            assert_eq!(most(), Some(LevelFilter::INFO), "traced: {is_traced}");
            handle.reload(filter("debug").unwrap()).unwrap();
            assert_eq!(most(), Some(LevelFilter::DEBUG), "traced: {is_traced}");
        }
    }
}
