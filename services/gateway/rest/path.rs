//! Percent-decoding, and the slices of a path that its variables cover. Used by the decoder; never
//! allocates for text without a percent sign.

use std::{borrow::Cow, ops::Range};

use super::table::{Rule, Segment};

/// What a variable covers in a raw path, and whether that may be more than one segment.
#[must_use]
pub fn capture<'a>(rule: &Rule, path: &'a str, index: usize) -> (&'a str, bool) {
    let Some(&var) = rule.vars.get(index) else { return ("", false) };
    let many = rule.segments.iter().position(|segment| *segment == Segment::Many);
    let multi = var.1 - var.0 != 1 || many == Some(usize::from(var.0));
    (slice(path, place(rule, path, many, var)), multi)
}

/// The text behind a percent-encoded one. Errors on a malformed escape and on what is not UTF-8.
pub fn decode(raw: &str) -> Result<Cow<'_, str>, &'static str> {
    if !raw.contains('%') {
        return Ok(Cow::Borrowed(raw));
    }
    unescape(raw, false)
}

/// Like [`decode`], but an encoded slash stays as it is: in a value of many segments it is not a
/// separator.
pub fn decode_multi(raw: &str) -> Result<Cow<'_, str>, &'static str> {
    if !raw.contains('%') {
        return Ok(Cow::Borrowed(raw));
    }
    unescape(raw, true)
}

/// Segments of the path that a variable covers: the template's, moved by what `**` has taken.
fn place(rule: &Rule, path: &str, many: Option<usize>, var: (u8, u8)) -> Range<usize> {
    let range = usize::from(var.0)..usize::from(var.1);
    let Some(many) = many else { return range };
    let segments = if path.len() <= 1 { 0 } else { path.bytes().filter(|b| *b == b'/').count() };
    let moved = |at: usize| {
        if at <= many { at } else { (at + segments).saturating_sub(rule.segments.len()) }
    };
    moved(range.start)..moved(range.end)
}

fn slice(path: &str, range: Range<usize>) -> &str {
    if range.is_empty() {
        return "";
    }
    let mut slashes = path.match_indices('/').map(|(at, _)| at);
    let Some(start) = slashes.nth(range.start) else { return "" };
    let end = slashes.nth(range.len() - 1).unwrap_or(path.len());
    &path[start + 1..end]
}

fn unescape(raw: &str, keep_slash: bool) -> Result<Cow<'_, str>, &'static str> {
    let mut out = Vec::with_capacity(raw.len());
    let mut rest = raw.as_bytes();
    while let Some((byte, tail)) = rest.split_first() {
        rest = tail;
        if *byte != b'%' {
            out.push(*byte);
            continue;
        }
        let (hex, tail) = rest.split_at_checked(2).ok_or("malformed percent escape")?;
        let value = digit(hex[0]).zip(digit(hex[1])).map(|(high, low)| high << 4 | low);
        let value = value.ok_or("malformed percent escape")?;
        rest = tail;
        if keep_slash && value == b'/' {
            out.extend_from_slice(&[b'%', hex[0], hex[1]]);
        } else {
            out.push(value);
        }
    }
    String::from_utf8(out).map(Cow::Owned).map_err(|_| "not UTF-8")
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::{
        super::table::{
            Place,
            Segment::{Literal as L, Many, One},
            Shape,
        },
        *,
    };

    fn rule(segments: &'static [Segment], vars: &'static [(u8, u8)]) -> Rule {
        Rule {
            id: 0,
            http: "GET",
            segments,
            verb: "",
            vars,
            grpc: "",
            shape: Shape::Unary,
            body: Place::Nowhere,
            uploads: false,
        }
    }

    #[test]
    fn a_variable_covers_its_segments_wherever_the_stars_put_them() {
        let one = rule(&[L("v1"), One, L("x"), One], &[(1, 2), (3, 4)]);
        assert_eq!(capture(&one, "/v1/a%2Fb/x/c", 0), ("a%2Fb", false));
        assert_eq!(capture(&one, "/v1/a/x/c", 1), ("c", false));
        let pair = rule(&[L("v1"), L("s"), One, L("b"), One], &[(1, 5)]);
        assert_eq!(capture(&pair, "/v1/s/1/b/2", 0), ("s/1/b/2", true));
        let many = rule(&[L("v1"), One, Many, L("t"), One], &[(1, 2), (2, 3), (3, 5)]);
        for (path, parts) in [
            ("/v1/a/t/z", ["a", "", "t/z"]),
            ("/v1/a/m/t/z", ["a", "m", "t/z"]),
            ("/v1/a/m/n//o/t/z", ["a", "m/n//o", "t/z"]),
        ] {
            let all: Vec<_> = (0..3).map(|index| capture(&many, path, index).0).collect();
            assert_eq!(all, parts, "{path}");
        }
        assert!(capture(&many, "/v1/a/t/z", 1).1, "** may cover many segments");
    }

    #[test]
    fn escapes_are_undone_once_and_never_guessed() {
        assert_eq!(decode("a%2Fb%2525+"), Ok(Cow::Owned("a/b%25+".to_owned())));
        assert_eq!(decode_multi("a%2Fb%2f%3A/c"), Ok(Cow::Owned("a%2Fb%2f:/c".to_owned())));
        assert!(matches!(decode("plain"), Ok(Cow::Borrowed("plain"))));
        for bad in ["%", "%2", "%zz", "%+1", "%ff", "a%C3"] {
            assert!(decode(bad).is_err(), "{bad}");
        }
    }
}
