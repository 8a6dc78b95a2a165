//! Which spans become traces, and which traces are sent. Used by `mod.rs` alone.

use opentelemetry::trace::{Link, SpanKind, TraceId, TraceState};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{
    Sampler, SamplingDecision, SamplingResult, SdkTracer, SdkTracerProvider, ShouldSample,
};
use tracing::Subscriber;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, filter_fn};
use tracing_subscriber::registry::LookupSpan;

use super::TRACE;
use super::shipper::Queue;
use crate::kernel::config::TelemetryConfig;

/// The layer that makes spans of our own traced ones. Not of what the libraries below tell, those
/// that send the spans among them, and not of lines of the log.
pub(super) fn layer<S>(tracer: SdkTracer) -> impl Layer<S>
where
    S: Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
{
    let is_ours = filter_fn(|metadata| metadata.is_span() && metadata.target() == TRACE);
    tracing_opentelemetry::layer()
        .with_tracer(tracer)
        .with_context_activation(false)
        .with_tracked_inactivity(false)
        .with_location(false)
        .with_threads(false)
        .with_target(false)
        .with_level(false)
        // All of them are of this level: call sites below it cost nothing for traces.
        .with_filter(is_ours.with_max_level_hint(LevelFilter::INFO))
}

/// Makes spans, decides about them, and hands them to the queue.
pub(super) fn provider(
    config: &TelemetryConfig,
    resource: Resource,
    queue: Queue,
) -> SdkTracerProvider {
    let roots = Roots { ratio: Sampler::TraceIdRatioBased(config.traces_ratio) };
    SdkTracerProvider::builder()
        // Whoever has begun a trace has decided about all of it.
        .with_sampler(Sampler::ParentBased(Box::new(roots)))
        .with_resource(resource)
        .with_span_processor(queue)
        .build()
}

/// Begins traces with calls and with attempts of runs. What a process does by itself, every
/// heartbeat and each look for work, is nobody's story.
#[derive(Debug, Clone)]
struct Roots {
    ratio: Sampler,
}

impl ShouldSample for Roots {
    fn should_sample(
        &self,
        parent: Option<&Context>,
        trace_id: TraceId,
        name: &str,
        kind: &SpanKind,
        attributes: &[KeyValue],
        links: &[Link],
    ) -> SamplingResult {
        if *kind == SpanKind::Server || name.starts_with("invoke_agent") {
            return self.ratio.should_sample(parent, trace_id, name, kind, attributes, links);
        }
        let decision = SamplingDecision::Drop;
        SamplingResult { decision, attributes: Vec::new(), trace_state: TraceState::default() }
    }
}
