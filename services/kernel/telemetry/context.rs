//! Where a span stands in a trace, as W3C writes it: read from calls that come, written to calls
//! that go, and kept with a run between its creation and its attempts. Without traces there is
//! nothing to read and nothing to write.

use http::{HeaderMap, HeaderValue};
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{SpanContext, TraceContextExt};
use opentelemetry::{Array, Context, Value};
use opentelemetry_http::{HeaderExtractor, HeaderInjector};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";
/// Most bytes of the name of a span: what agents, models and tools are called is up to others.
pub const NAME_BYTES_MAX: usize = 128;

/// Makes a new span the child of what `traceparent` and `tracestate` of a call say.
pub fn continue_from(span: &Span, headers: &HeaderMap) {
    if !span.is_disabled()
        && let Some(parent) = place(headers)
    {
        under(span, parent);
    }
}

/// Links a new span, which begins a trace, to what a call says.
pub fn link_from(span: &Span, headers: &HeaderMap) {
    if !span.is_disabled()
        && let Some(place) = place(headers)
    {
        span.add_link(place.span().span_context().clone());
    }
}

/// Makes a new span the child of one whose place was kept.
pub fn continue_kept(span: &Span, traceparent: &str) {
    if !span.is_disabled()
        && let Some(parent) = read(traceparent)
    {
        under(span, parent);
    }
}

/// Links a span to one whose place was kept.
pub fn link(span: &Span, traceparent: &str) {
    if !span.is_disabled()
        && let Some(place) = read(traceparent)
    {
        span.add_link(place.span().span_context().clone());
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
        if headers.get(TRACESTATE).is_some_and(HeaderValue::is_empty) {
            headers.remove(TRACESTATE);
        }
    }
}

/// Names a span once it is known what it is.
pub fn rename(span: &Span, name: String) {
    if !span.is_disabled() {
        span.context().span().update_name(cut(&name, NAME_BYTES_MAX).to_owned());
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

/// A text without what is beyond so many bytes.
#[must_use]
pub fn cut(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}

/// True when a span is sent: whoever makes much of what is said of it asks first.
#[must_use]
pub fn is_sent(span: &Span) -> bool {
    trace_id(span).is_some()
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

fn read(traceparent: &str) -> Option<Context> {
    let mut headers = HeaderMap::new();
    headers.insert(TRACEPARENT, traceparent.parse().ok()?);
    place(&headers)
}

/// The place that a caller tells; `None` when it tells none, or two, or what is none.
fn place(headers: &HeaderMap) -> Option<Context> {
    let mut told = headers.get_all(TRACEPARENT).iter();
    let (Some(value), None) = (told.next(), told.next()) else { return None };
    if !is_place(value.to_str().ok()?) {
        return None;
    }
    let place = TraceContextPropagator::new().extract(&HeaderExtractor(headers));
    place.span().span_context().is_valid().then_some(place)
}

/// True for the shape that W3C gives it. The propagator reads numbers, signs and all, and so takes
/// more than that.
fn is_place(value: &str) -> bool {
    let fields: Vec<&str> = value.split('-').collect();
    let [version, trace, span, flags, more @ ..] = &fields[..] else { return false };
    let is_hex = |text: &&str, len| {
        text.len() == len && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let known = is_hex(version, 2) && *version != "ff" && (*version != "00" || more.is_empty());
    known && is_hex(trace, 32) && is_hex(span, 16) && is_hex(flags, 2)
}

fn under(span: &Span, parent: Context) {
    // Fails only without the layer, and then there is nothing to be child of.
    let _set = span.set_parent(parent);
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::TracerProvider;
    use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
    use tracing::subscriber::with_default;
    use tracing_subscriber::layer::SubscriberExt;
    use tracing_subscriber::registry;

    use super::super::{TRACE, traces};
    use super::*;

    const T: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const S: &str = "00f067aa0ba902b7";

    fn headers(values: &[&str]) -> HeaderMap {
        values
            .iter()
            .map(|value| (http::HeaderName::from_static(TRACEPARENT), value.parse().unwrap()))
            .collect()
    }

    #[test]
    fn a_place_is_read_as_w3c_writes_it_and_nothing_else_is_one() {
        for good in [
            format!("00-{T}-{S}-01"),
            format!("00-{T}-{S}-00"),
            format!("00-{T}-{S}-ff"),
            format!("01-{T}-{S}-01"),
            format!("fe-{T}-{S}-01-what-comes-later"),
        ] {
            let read = place(&headers(&[&good])).unwrap_or_else(|| panic!("{good}"));
            assert_eq!(read.span().span_context().trace_id().to_string(), T, "{good}");
        }
        let (zeros, short) = ("0".repeat(32), &T[1..]);
        for bad in [
            "00-1-1-01".to_owned(),
            format!("00-+{short}-{S}-01"),
            format!("00-{T}-+{}-01", &S[1..]),
            format!("00-{T}-{S}-+1"),
            format!("+0-{T}-{S}-01"),
            format!("0-{T}-{S}-01"),
            format!("000-{T}-{S}-01"),
            format!("ff-{T}-{S}-01"),
            format!("00-{T}-{S}-01-"),
            format!("00-{T}-{S}-01-more"),
            format!("00-{T}-{S}-1"),
            format!("00-{T}-{S}-001"),
            format!("00-{T}-{S}"),
            format!("00-{short}-{S}-01"),
            format!("00-0{T}-{S}-01"),
            format!("00-{}-{S}-01", T.to_uppercase()),
            format!("00-{T}-{}-01", S.to_uppercase()),
            format!("00-{zeros}-{S}-01"),
            format!("00-{T}-0000000000000000-01"),
            format!("00_{T}_{S}_01"),
            String::new(),
        ] {
            assert!(place(&headers(&[&bad])).is_none(), "{bad}");
        }
        let twice = format!("00-{T}-{S}-01");
        assert!(place(&headers(&[&twice, &twice])).is_none(), "one call has one caller");
        assert!(place(&HeaderMap::new()).is_none());
    }

    /// Does that with a span that is sampled so.
    fn with_span(sampler: Sampler, then: impl FnOnce(&Span)) {
        let provider = SdkTracerProvider::builder().with_sampler(sampler).build();
        let layer = traces::layer(provider.tracer("test"));
        with_default(registry().with(layer), || then(&tracing::info_span!(target: TRACE, "call")));
    }

    #[test]
    fn what_goes_out_has_no_state_that_says_nothing() {
        with_span(Sampler::AlwaysOn, |span| {
            let mut headers = HeaderMap::new();
            write(span, &mut headers);
            assert_eq!(
                headers.keys().map(http::HeaderName::as_str).collect::<Vec<_>>(),
                [TRACEPARENT]
            );
        });
    }

    #[test]
    fn a_span_that_is_not_sampled_is_not_sent() {
        with_span(Sampler::AlwaysOn, |span| assert!(is_sent(span)));
        with_span(Sampler::AlwaysOff, |span| assert!(!span.is_disabled() && !is_sent(span)));
        assert!(!is_sent(&Span::none()));
    }

    #[test]
    fn a_text_is_cut_between_characters() {
        assert_eq!((cut("abc", 3), cut("abcd", 3), cut("aäö", 4)), ("abc", "abc", "aä"));
    }
}
