//! What the process tells of itself: the log, traces, and, in [`Meters`], metrics. The log and the
//! traces are set up once by `main.rs`, for `tracing` has one subscriber a process; meters are made
//! by `serve` for each server. Everything else uses `tracing` and the meters that it was handed.
//! Never waits for a collector, never sends a secret.

pub mod context;
mod exporter;
mod gauges;
mod logs;
mod meters;
mod models;
mod page;
mod reader;
mod shipper;
pub mod table;
mod traces;

use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

pub use exporter::Metrics;
pub use gauges::{Ask, Figure, Gauges, Queue};
pub use meters::{Active, Asked, Meters, Observed};

use super::config::{Config, TelemetryConfig};

/// Target of the spans that are traced, and of nothing else. They do not show in the log, and the
/// log's filter says nothing of them: without a collector they cost next to nothing.
pub const TRACE: &str = "runplane::trace";

/// The log and the traces of this process. Ended by [`Telemetry::finish`].
pub struct Telemetry {
    log: logs::Handle,
    traces: Option<Traces>,
}

struct Traces {
    provider: SdkTracerProvider,
    tasks: JoinSet<()>,
    stop: CancellationToken,
}

/// Sends what `tracing` is told to standard error and, where that is configured, spans to a
/// collector. Called within a runtime.
///
/// # Errors
/// When the filter is not one, the collector's address cannot be used, or it was called before.
pub fn init(config: &Config) -> Result<Telemetry, String> {
    let (log, handle) = logs::layer(&config.log)?;
    let traces = config.telemetry.is_on().then(|| Traces::new(&config.telemetry)).transpose()?;
    let spans = traces.as_ref().map(|traces| traces::layer(traces.provider.tracer("runplane")));
    let subscriber = tracing_subscriber::registry().with(log).with(spans);
    subscriber.try_init().map_err(|error| format!("log: {error}"))?;
    Ok(Telemetry { log: handle, traces })
}

impl Telemetry {
    /// Changes what is logged: takes a filter, and refuses what is none.
    pub fn refilter(&self) -> impl Fn(&str) -> Result<(), String> + Send + Sync + use<> {
        let log = self.log.clone();
        move |filter| {
            let filter = logs::filter(filter)?;
            log.reload(filter).map_err(|error| format!("log: {error}"))
        }
    }

    /// Sends the spans that are left, within a second; what has not been sent by then is lost.
    pub async fn finish(self) {
        let Some(Traces { provider, mut tasks, stop }) = self.traces else { return };
        stop.cancel();
        while tasks.join_next().await.is_some() {}
        // Nothing is left for it to do but to let go.
        let _done = provider.shutdown_with_timeout(Duration::ZERO);
    }
}

impl Traces {
    fn new(config: &TelemetryConfig) -> Result<Self, String> {
        let (queue, shipper) = shipper::pair(exporter::spans(config, &resource(config))?);
        let provider = traces::provider(config, resource(config), queue);
        let (mut tasks, stop) = (JoinSet::new(), CancellationToken::new());
        tasks.spawn(shipper.run(stop.clone()));
        Ok(Self { provider, tasks, stop })
    }
}

/// Who sends: what OTEL_RESOURCE_ATTRIBUTES says, and this process.
fn resource(config: &TelemetryConfig) -> Resource {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let instance = format!("{}-{}", host.trim(), std::process::id());
    let mut known = vec![KeyValue::new("service.version", env!("CARGO_PKG_VERSION"))];
    let said = Resource::builder().build();
    if said.get(&"service.instance.id".into()).is_none() {
        known.push(KeyValue::new("service.instance.id", instance));
    }
    let builder = Resource::builder().with_service_name(config.service_name.clone());
    builder.with_attributes(known).build()
}
