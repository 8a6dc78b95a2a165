//! Which of our forms an `Accept` header asks for. Asked once for each request, before anything is
//! decoded.

use http::{HeaderMap, header::ACCEPT};

use crate::kernel::error::{Error, Reason};

use super::table::Shape;

/// The form of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// One JSON document, or server-sent events when a field of the request asks for a stream.
    Json,
    /// Server-sent events.
    Events,
    /// One JSON document a line.
    Lines,
    /// One JSON array.
    Array,
}

/// The form that fits the header best: by quality, then by order.
pub(super) fn choose(headers: &HeaderMap, shape: Shape) -> Result<Form, Error> {
    if shape.is_raw() {
        // Only the answer knows its type.
        return Ok(Form::Json);
    }
    let mut best: Option<(Form, f32)> = None;
    let mut named = false;
    for value in headers.get_all(ACCEPT) {
        let value = value.to_str().unwrap_or_default();
        for range in value.split(',').map(str::trim).filter(|range| !range.is_empty()) {
            named = true;
            let (name, quality) = weigh(range);
            let better = quality > best.map_or(0.0, |(_, quality)| quality);
            if let (Some(form), true) = (form(name, shape), better) {
                best = Some((form, quality));
            }
        }
    }
    match best {
        Some((form, _)) => Ok(form),
        None if !named => Ok(usual(shape)),
        None => Err(refused(headers, shape)),
    }
}

fn usual(shape: Shape) -> Form {
    if shape == Shape::Stream { Form::Events } else { Form::Json }
}

fn form(name: &str, shape: Shape) -> Option<Form> {
    let is = |other: &str| name.eq_ignore_ascii_case(other);
    let streams = shape != Shape::Unary;
    if is("*/*") {
        return Some(usual(shape));
    }
    if is("application/json") || is("application/*") {
        return Some(if shape == Shape::Stream { Form::Array } else { Form::Json });
    }
    if is("text/event-stream") || is("text/*") {
        return streams.then_some(Form::Events);
    }
    let lines = is("application/x-ndjson") || is("application/jsonl");
    (lines && streams).then_some(Form::Lines)
}

fn weigh(range: &str) -> (&str, f32) {
    let mut parts = range.split(';').map(str::trim);
    let name = parts.next().unwrap_or_default();
    let quality = parts.find_map(|part| part.strip_prefix("q=").or(part.strip_prefix("Q=")));
    (name, quality.map_or(1.0, |text| text.parse().unwrap_or(0.0)))
}

fn refused(headers: &HeaderMap, shape: Shape) -> Error {
    let made = match shape {
        Shape::Twin | Shape::Stream => {
            "application/json, text/event-stream or application/x-ndjson"
        }
        Shape::Unary | Shape::Raw | Shape::RawStream => "application/json",
    };
    let asked = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or("that");
    let asked: String = asked.chars().take(100).collect();
    Error::new(Reason::NotAcceptable, format!("{asked} cannot be made; accept {made}"))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn chosen(accept: &str, shape: Shape) -> Option<Form> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_str(accept).unwrap());
        choose(&headers, shape).ok()
    }

    #[test]
    fn quality_decides_then_order() {
        use {
            Form::{Array, Events, Json, Lines},
            Shape::{Raw, Stream, Twin, Unary},
        };
        for (accept, shape, expected) in [
            ("*/*", Unary, Some(Json)),
            ("*/*", Twin, Some(Json)),
            ("*/*", Stream, Some(Events)),
            ("", Stream, Some(Events)),
            ("text/html,application/xhtml+xml,*/*;q=0.8", Unary, Some(Json)),
            ("Application/JSON; charset=utf-8", Unary, Some(Json)),
            ("text/event-stream", Twin, Some(Events)),
            ("text/event-stream", Unary, None),
            ("text/event-stream, application/json", Unary, Some(Json)),
            ("application/json, text/event-stream", Twin, Some(Json)),
            ("application/json;q=0.5, text/event-stream", Twin, Some(Events)),
            ("application/x-ndjson", Twin, Some(Lines)),
            ("application/json", Stream, Some(Array)),
            ("application/json;q=0.5, text/event-stream", Stream, Some(Events)),
            ("image/png", Raw, Some(Json)),
            ("text/event-stream;q=0", Stream, None),
            ("image/png", Unary, None),
        ] {
            assert_eq!(chosen(accept, shape), expected, "{accept} {shape:?}");
        }
        assert_eq!(choose(&HeaderMap::new(), Twin).ok(), Some(Json));
    }
}
