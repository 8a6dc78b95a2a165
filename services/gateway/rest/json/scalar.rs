//! JSON of scalars. The wrappers of protobuf are the same scalars in Rust and in JSON. Called
//! through [`super::Plain`].

use std::fmt;
use std::marker::PhantomData;

use bytes::Bytes;
use serde::Deserializer;
use serde::de::{Error, Unexpected, Visitor};

use super::{Context, Json, Writer, number, text};

impl Json for bool {
    fn write_json(&self, out: &mut Writer) {
        out.raw(if *self { b"true" } else { b"false" });
    }

    fn read_json<'de, D: Deserializer<'de>>(source: D, _: &Context) -> Result<Self, D::Error> {
        source.deserialize_bool(BoolVisitor)
    }

    fn is_unset(&self) -> bool {
        !*self
    }
}

impl Json for String {
    fn write_json(&self, out: &mut Writer) {
        out.text(self);
    }

    fn read_json<'de, D: Deserializer<'de>>(source: D, _: &Context) -> Result<Self, D::Error> {
        source.deserialize_string(StringVisitor)
    }

    fn is_unset(&self) -> bool {
        self.is_empty()
    }
}

impl Json for Vec<u8> {
    fn write_json(&self, out: &mut Writer) {
        out.base64(self);
    }

    fn read_json<'de, D: Deserializer<'de>>(source: D, _: &Context) -> Result<Self, D::Error> {
        source.deserialize_str(BytesVisitor)
    }

    fn is_unset(&self) -> bool {
        self.is_empty()
    }
}

impl Json for Bytes {
    fn write_json(&self, out: &mut Writer) {
        out.base64(self);
    }

    fn read_json<'de, D: Deserializer<'de>>(source: D, cx: &Context) -> Result<Self, D::Error> {
        <Vec<u8>>::read_json(source, cx).map(Self::from)
    }

    fn is_unset(&self) -> bool {
        self.is_empty()
    }
}

impl<T: Json> Json for Box<T> {
    const NULL: bool = T::NULL;

    fn write_json(&self, out: &mut Writer) {
        T::write_json(self, out);
    }

    fn read_json<'de, D: Deserializer<'de>>(source: D, cx: &Context) -> Result<Self, D::Error> {
        T::read_json(source, cx).map(Box::new)
    }
}

macro_rules! integers {
    ($($integer:ty, $write:ident, $expected:literal;)*) => {$(
        impl Json for $integer {
            #[inline]
            fn write_json(&self, out: &mut Writer) {
                out.$write(*self);
            }

            fn read_json<'de, D: Deserializer<'de>>(
                source: D,
                _: &Context,
            ) -> Result<Self, D::Error> {
                source.deserialize_any(IntegerVisitor(PhantomData))
            }

            fn is_unset(&self) -> bool {
                *self == 0
            }
        }

        impl Integer for $integer {
            const EXPECTED: &'static str = $expected;
        }
    )*};
}

integers! {
    i32, integer, "a 32-bit integer";
    u32, integer, "an unsigned 32-bit integer";
    i64, quoted, "a 64-bit integer, best as a text";
    u64, quoted, "an unsigned 64-bit integer, best as a text";
}

impl Json for f64 {
    fn write_json(&self, out: &mut Writer) {
        out.double(*self);
    }

    fn read_json<'de, D: Deserializer<'de>>(source: D, _: &Context) -> Result<Self, D::Error> {
        source.deserialize_any(FloatVisitor)
    }

    fn is_unset(&self) -> bool {
        self.to_bits() == 0
    }
}

impl Json for f32 {
    fn write_json(&self, out: &mut Writer) {
        out.float(*self);
    }

    fn read_json<'de, D: Deserializer<'de>>(source: D, _: &Context) -> Result<Self, D::Error> {
        let number = source.deserialize_any(FloatVisitor)?;
        narrow(number).ok_or_else(|| {
            D::Error::invalid_value(Unexpected::Float(number), &"a number within a 32-bit float")
        })
    }

    fn is_unset(&self) -> bool {
        self.to_bits() == 0
    }
}

/// An integer of protobuf.
trait Integer: TryFrom<i128> + TryFrom<i64> + TryFrom<u64> {
    /// What is expected, for messages.
    const EXPECTED: &'static str;
}

/// Rounds a double to a float; none: it is beyond the range.
pub(super) fn narrow(number: f64) -> Option<f32> {
    #[expect(clippy::cast_possible_truncation, reason = "rounding is what is asked for")]
    let float = number as f32;
    (float.is_finite() || !number.is_finite()).then_some(float)
}

struct BoolVisitor;

impl Visitor<'_> for BoolVisitor {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("true or false")
    }

    fn visit_bool<E>(self, value: bool) -> Result<bool, E> {
        Ok(value)
    }
}

struct StringVisitor;

impl Visitor<'_> for StringVisitor {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_str<E>(self, value: &str) -> Result<String, E> {
        Ok(value.to_owned())
    }

    fn visit_string<E>(self, value: String) -> Result<String, E> {
        Ok(value)
    }
}

struct BytesVisitor;

impl Visitor<'_> for BytesVisitor {
    type Value = Vec<u8>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("base64")
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Vec<u8>, E> {
        text::base64(value).ok_or_else(|| E::invalid_value(Unexpected::Str(value), &self))
    }
}

struct IntegerVisitor<T>(PhantomData<T>);

impl<T: Integer> Visitor<'_> for IntegerVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(T::EXPECTED)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<T, E> {
        T::try_from(number).map_err(|_| E::invalid_value(Unexpected::Signed(number), &self))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<T, E> {
        T::try_from(number).map_err(|_| E::invalid_value(Unexpected::Unsigned(number), &self))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<T, E> {
        let whole = number::whole(number).and_then(|whole| T::try_from(whole).ok());
        whole.ok_or_else(|| E::invalid_value(Unexpected::Float(number), &self))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<T, E> {
        let whole = number::parse(value).and_then(|whole| T::try_from(whole).ok());
        whole.ok_or_else(|| E::invalid_value(Unexpected::Str(value), &self))
    }
}

struct FloatVisitor;

impl Visitor<'_> for FloatVisitor {
    type Value = f64;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a number")
    }

    fn visit_f64<E>(self, number: f64) -> Result<f64, E> {
        Ok(number)
    }

    #[expect(clippy::cast_precision_loss, reason = "a double is the nearest one")]
    fn visit_i64<E>(self, number: i64) -> Result<f64, E> {
        Ok(number as f64)
    }

    #[expect(clippy::cast_precision_loss, reason = "a double is the nearest one")]
    fn visit_u64<E>(self, number: u64) -> Result<f64, E> {
        Ok(number as f64)
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<f64, E> {
        text::double(value).ok_or_else(|| E::invalid_value(Unexpected::Str(value), &self))
    }
}
