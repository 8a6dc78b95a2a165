//! JSON of the well-known types, each of which has a form of its own. Called through the traits of
//! the codec.

mod any;
pub(super) mod duration;
pub(super) mod mask;
pub(super) mod timestamp;
mod value;

use serde::Deserializer;
use serde::de::{Error, MapAccess, Visitor};

use super::{Context, Json, Writer};

pub(super) use mask::MaskVisitor;
pub(super) use value::NullVisitor;

/// `google.protobuf.Empty`.
impl Json for () {
    fn write_json(&self, out: &mut Writer) {
        out.raw(b"{}");
    }

    fn read_json<'de, D: Deserializer<'de>>(source: D, cx: &Context) -> Result<Self, D::Error> {
        source.deserialize_map(EmptyVisitor(cx))
    }
}

struct EmptyVisitor<'a>(&'a Context);

impl<'de> Visitor<'de> for EmptyVisitor<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str("an empty object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key::<String>()? {
            if !self.0.options.ignore_unknown {
                return Err(self.0.unknown(&name));
            }
            map.next_value::<serde::de::IgnoredAny>()?;
        }
        Ok(())
    }
}

/// Reads a text by a function, for the types whose JSON is a text of a certain form.
struct TextVisitor<T> {
    parse: fn(&str) -> Option<T>,
    expected: &'static str,
}

impl<T> Visitor<'_> for TextVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        let value = (self.parse)(text);
        value.ok_or_else(|| E::invalid_value(serde::de::Unexpected::Str(text), &self))
    }
}

/// The nanoseconds that `digits` behind a point mean; none: they are not 1 to 9 digits.
fn parse_nanos(digits: &str) -> Option<i32> {
    let fits = (1..=9).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    let number: i32 = digits.parse().ok().filter(|_| fits)?;
    Some(number * 10_i32.pow(9 - u32::try_from(digits.len()).ok()?))
}

/// Writes nanoseconds, 0 to 999,999,999, as nothing or a point and 3, 6 or 9 digits.
fn write_nanos(nanos: u32, out: &mut Writer) {
    let (number, width) = match nanos {
        0 => return,
        _ if nanos.is_multiple_of(1_000_000) => (nanos / 1_000_000, 3),
        _ if nanos.is_multiple_of(1000) => (nanos / 1000, 6),
        _ => (nanos, 9),
    };
    out.raw(b".");
    out.padded(number, width);
}
