//! Values from one text, as a path segment or a query parameter carries them. Called by the
//! generated binders, and by the JSON readers where JSON has a text too. Never sees a percent sign:
//! decoding comes before.

use base64::Engine;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use prost_types::{Duration, FieldMask, Timestamp};

use super::known::{duration, mask, timestamp};
use super::{JsonEnum, number, scalar};

/// Reads both paddings, and a tail with spare bits.
const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
const BASE64: GeneralPurpose = GeneralPurpose::new(&STANDARD, LENIENT);
const BASE64_URL: GeneralPurpose = GeneralPurpose::new(&URL_SAFE, LENIENT);

/// A text that is not of the type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected}")]
pub struct TextError {
    /// What would have been right.
    pub expected: &'static str,
}

/// A type that one text can carry.
pub trait Text: Sized {
    /// What a text must be, for messages.
    const EXPECTED: &'static str;

    /// Reads the text; none: it is of another type.
    fn parse(text: &str) -> Option<Self>;
}

/// Reads a text.
pub fn read<T: Text>(text: &str) -> Result<T, TextError> {
    T::parse(text).ok_or(TextError { expected: T::EXPECTED })
}

/// Reads a text as the number of an enum: a word, a full value name, or a number, known or not.
pub fn read_enum<E: JsonEnum>(text: &str) -> Result<i32, TextError> {
    let number = E::from_name(text).or_else(|| number::parse(text)?.try_into().ok());
    number.ok_or(TextError { expected: E::EXPECTED })
}

impl Text for String {
    const EXPECTED: &'static str = "a text";

    fn parse(text: &str) -> Option<Self> {
        Some(text.to_owned())
    }
}

impl Text for bool {
    const EXPECTED: &'static str = "`true` or `false`";

    fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

impl Text for Vec<u8> {
    const EXPECTED: &'static str = "base64";

    fn parse(text: &str) -> Option<Self> {
        base64(text)
    }
}

impl Text for f64 {
    const EXPECTED: &'static str = "a number";

    fn parse(text: &str) -> Option<Self> {
        double(text)
    }
}

impl Text for f32 {
    const EXPECTED: &'static str = "a number within a 32-bit float";

    fn parse(text: &str) -> Option<Self> {
        match double(text)? {
            number if number.is_finite() => {
                text.parse().ok().filter(|float: &f32| float.is_finite())
            }
            number => scalar::narrow(number),
        }
    }
}

impl Text for Timestamp {
    const EXPECTED: &'static str = timestamp::EXPECTED;

    fn parse(text: &str) -> Option<Self> {
        timestamp::parse(text)
    }
}

impl Text for Duration {
    const EXPECTED: &'static str = duration::EXPECTED;

    fn parse(text: &str) -> Option<Self> {
        duration::parse(text)
    }
}

impl Text for FieldMask {
    const EXPECTED: &'static str = mask::EXPECTED;

    fn parse(text: &str) -> Option<Self> {
        mask::parse(text, true)
    }
}

macro_rules! integers {
    ($($integer:ty, $expected:literal;)*) => {$(
        impl Text for $integer {
            const EXPECTED: &'static str = $expected;

            fn parse(text: &str) -> Option<Self> {
                number::parse(text)?.try_into().ok()
            }
        }
    )*};
}

integers! {
    i32, "a 32-bit integer";
    u32, "an unsigned 32-bit integer";
    i64, "a 64-bit integer";
    u64, "an unsigned 64-bit integer";
}

/// Reads base64 of either alphabet, padded or not.
pub(super) fn base64(text: &str) -> Option<Vec<u8>> {
    let engine = if text.contains(['-', '_']) { &BASE64_URL } else { &BASE64 };
    engine.decode(text).ok()
}

/// Reads a number, or one of the three words for what is none; a number beyond the range of a
/// double is refused.
pub(super) fn double(text: &str) -> Option<f64> {
    match text {
        "NaN" => Some(f64::NAN),
        "Infinity" => Some(f64::INFINITY),
        "-Infinity" => Some(f64::NEG_INFINITY),
        _ if number::is_number(text) => text.parse().ok().filter(|number: &f64| number.is_finite()),
        _ => None,
    }
}
