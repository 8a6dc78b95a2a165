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

/// What a shape can be written as, what it usually is first.
type Offers = &'static [(Form, &'static [&'static str])];

const JSON: &[&str] = &["application/json"];
const EVENTS: &[&str] = &["text/event-stream"];
const LINES: &[&str] = &["application/x-ndjson", "application/jsonl"];

/// The form that fits the header best: by quality, then by the order of the header, then by what is
/// usual. Of the ranges that fit a type the most specific one tells its quality (RFC 9110, 12.5.1).
pub(super) fn choose(headers: &HeaderMap, shape: Shape) -> Result<Form, Error> {
    let (usual, offers) = offers(shape);
    if shape.is_raw() || !ranges(headers).any(|range| !range.is_empty()) {
        // Of bytes only the answer knows the type.
        return Ok(usual);
    }
    let mut best: Option<(Form, Weight)> = None;
    for (form, names) in offers {
        for weight in names.iter().filter_map(|name| weigh(headers, name)) {
            if best.as_ref().is_none_or(|(_, best)| weight.beats(best)) {
                best = Some((*form, weight));
            }
        }
    }
    best.map(|(form, _)| form).ok_or_else(|| refused(headers, shape))
}

fn offers(shape: Shape) -> (Form, Offers) {
    match shape {
        Shape::Twin => {
            (Form::Json, &[(Form::Json, JSON), (Form::Events, EVENTS), (Form::Lines, LINES)])
        }
        Shape::Stream => {
            (Form::Events, &[(Form::Events, EVENTS), (Form::Lines, LINES), (Form::Array, JSON)])
        }
        Shape::Unary | Shape::Raw | Shape::RawStream => (Form::Json, &[(Form::Json, JSON)]),
    }
}

/// How much a type is wanted.
struct Weight {
    quality: f32,
    /// Place in the header of the range that says so.
    place: usize,
}

impl Weight {
    fn beats(&self, other: &Self) -> bool {
        self.quality > other.quality || (self.quality == other.quality && self.place < other.place)
    }
}

fn ranges(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let values = headers.get_all(ACCEPT).iter().map(|value| value.to_str().unwrap_or_default());
    values.flat_map(|value| value.split(',').map(str::trim))
}

/// The weight of a type; none: it is not wanted.
fn weigh(headers: &HeaderMap, name: &str) -> Option<Weight> {
    let mut found: Option<(usize, Weight)> = None;
    for (place, range) in ranges(headers).enumerate() {
        let mut parts = range.split(';').map(str::trim);
        let Some(specific) = parts.next().and_then(|range| specificity(range, name)) else {
            continue;
        };
        if found.as_ref().is_none_or(|(known, _)| specific > *known) {
            found = Some((specific, Weight { quality: quality(parts), place }));
        }
    }
    found.map(|(_, weight)| weight).filter(|weight| weight.quality > 0.0)
}

/// How much something is wanted, by its parameters (RFC 9110, 12.4.2): `q=0.5`.
pub fn quality<'a>(mut parameters: impl Iterator<Item = &'a str>) -> f32 {
    let weight = parameters.find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("q").then_some(value.trim())
    });
    weight.map_or(1.0, |text| text.parse().unwrap_or(0.0))
}

/// How closely a range names a type; none: not at all.
fn specificity(range: &str, name: &str) -> Option<usize> {
    let part = range.split_once('/').filter(|(_, sub)| *sub == "*").map(|(part, _)| part);
    match part {
        Some("*") => Some(0),
        Some(part) => {
            name.split_once('/').filter(|name| name.0.eq_ignore_ascii_case(part)).map(|_| 1)
        }
        None => range.eq_ignore_ascii_case(name).then_some(2),
    }
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
            ("text/event-stream;q=0, */*", Stream, Some(Lines)),
            ("*/*, text/event-stream;q=0.1", Twin, Some(Json)),
            ("application/json;q=0, */*", Unary, None),
            ("application/*;q=0.2, application/json;q=0.1, text/*;q=0.1", Stream, Some(Lines)),
            ("application/*", Stream, Some(Lines)),
            ("application/jsonl", Stream, Some(Lines)),
            ("text/event-stream;q=x", Twin, None),
            ("text/event-stream;q=0", Stream, None),
            ("image/png", Unary, None),
        ] {
            assert_eq!(chosen(accept, shape), expected, "{accept} {shape:?}");
        }
        assert_eq!(choose(&HeaderMap::new(), Twin).ok(), Some(Json));
    }
}
