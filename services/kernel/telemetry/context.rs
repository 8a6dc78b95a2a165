//! Where a span stands in a trace, as W3C writes it: read from calls that come, written to calls
//! that go, and kept with a run between its creation and its attempts. Without traces there is
//! nothing to read and nothing to write.

use http::HeaderMap;
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{SpanContext, TraceContextExt};
use opentelemetry::{Array, Context, Value};
use opentelemetry_http::{HeaderExtractor, HeaderInjector};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

const TRACEPARENT: &str = "traceparent";

/// Makes a new span the child of what `traceparent` and `tracestate` of a call say.
pub fn continue_from(span: &Span, headers: &HeaderMap) {
    if !span.is_disabled() && headers.contains_key(TRACEPARENT) {
        under(span, TraceContextPropagator::new().extract(&HeaderExtractor(headers)));
    }
}

/// Makes a new span the child of one whose place was kept.
pub fn continue_kept(span: &Span, traceparent: &str) {
    if !span.is_disabled() {
        under(span, read(traceparent));
    }
}

/// Links a span to one whose place was kept.
pub fn link(span: &Span, traceparent: &str) {
    if !span.is_disabled() {
        span.add_link(read(traceparent).span().span_context().clone());
    }
}

/// The place of a span, to be kept; `None` when it has none. Also of one that is not sampled, so
/// that nothing after it is.
#[must_use]
pub fn kept(span: &Span) -> Option<String> {
    let mut headers = HeaderMap::new();
    write(span, &mut headers);
    let value = headers.get(TRACEPARENT)?;
    value.to_str().ok().map(str::to_owned)
}

/// Writes the place of a span into the headers of a call that goes out.
pub fn write(span: &Span, headers: &mut HeaderMap) {
    let context = span.context();
    if context.span().span_context().is_valid() {
        TraceContextPropagator::new().inject_context(&context, &mut HeaderInjector(headers));
    }
}

/// Names a span once it is known what it is.
pub fn rename(span: &Span, name: String) {
    if !span.is_disabled() {
        span.context().span().update_name(name);
    }
}

/// Says more of a span than its fields have room for, when it is sent.
pub fn set(span: &Span, name: &'static str, value: String) {
    span.set_attribute(name, value);
}

/// The same, as a list of one.
pub fn set_list(span: &Span, name: &'static str, value: &'static str) {
    span.set_attribute(name, Value::Array(Array::String(vec![value.into()])));
}

/// Id of the trace that a span is in, when it is sent.
#[must_use]
pub fn trace_id(span: &Span) -> Option<String> {
    if span.is_disabled() {
        return None;
    }
    let context = span.context();
    let place: SpanContext = context.span().span_context().clone();
    place.is_sampled().then(|| place.trace_id().to_string())
}

fn read(traceparent: &str) -> Context {
    let mut headers = HeaderMap::new();
    if let Ok(value) = traceparent.parse() {
        headers.insert(TRACEPARENT, value);
    }
    TraceContextPropagator::new().extract(&HeaderExtractor(&headers))
}

fn under(span: &Span, parent: Context) {
    // Fails only without the layer, and then there is nothing to be child of.
    let _set = span.set_parent(parent);
}
