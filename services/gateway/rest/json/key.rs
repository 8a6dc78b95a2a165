//! Keys of maps: texts in JSON, whatever they are in Rust. Called by the map shape alone.

use super::{Writer, number};

/// A type that may be the key of a map; in JSON always a text.
pub trait MapKey: Ord + Sized {
    /// What a key is, for messages.
    const EXPECTED: &'static str;

    /// The key as a text, for paths.
    fn name(&self) -> String;

    /// Writes the key in quotes.
    fn write(&self, out: &mut Writer);

    /// Reads the key; none: the text is no such key.
    fn parse(text: &str) -> Option<Self>;
}

impl MapKey for String {
    const EXPECTED: &'static str = "a key";

    fn name(&self) -> String {
        self.clone()
    }

    fn write(&self, out: &mut Writer) {
        out.text(self);
    }

    fn parse(text: &str) -> Option<Self> {
        Some(text.to_owned())
    }
}

impl MapKey for bool {
    const EXPECTED: &'static str = "a key `true` or `false`";

    fn name(&self) -> String {
        self.to_string()
    }

    fn write(&self, out: &mut Writer) {
        out.raw(if *self { b"\"true\"" } else { b"\"false\"" });
    }

    fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

macro_rules! integer_keys {
    ($($integer:ty)*) => {$(
        impl MapKey for $integer {
            const EXPECTED: &'static str = "an integer key in range";

            fn name(&self) -> String {
                self.to_string()
            }

            fn write(&self, out: &mut Writer) {
                out.quoted(*self);
            }

            fn parse(text: &str) -> Option<Self> {
                number::parse(text)?.try_into().ok()
            }
        }
    )*};
}

integer_keys!(i32 i64 u32 u64);
