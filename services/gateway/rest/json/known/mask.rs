//! `google.protobuf.FieldMask`: paths in one text, comma between, in camelCase by the standard and
//! as in the proto file by the house. Called through the traits of the codec and for query texts.

use prost_types::FieldMask;
use serde::Deserializer;
use serde::de::{Error, Unexpected, Visitor};

use super::super::{Context, Json, Writer};

pub(in super::super) const EXPECTED: &str = "field paths with a comma between";

impl Json for FieldMask {
    fn write_json(&self, out: &mut Writer) {
        let mut text = String::new();
        for path in &self.paths {
            if !text.is_empty() {
                text.push(',');
            }
            if write_camel(path, &mut text).is_none() {
                return out.fault("a field path that camelCase cannot say");
            }
        }
        out.text(&text);
    }

    fn read_json<'de, D: Deserializer<'de>>(source: D, _: &Context) -> Result<Self, D::Error> {
        source.deserialize_str(MaskVisitor { snake: false })
    }
}

pub(in super::super) struct MaskVisitor {
    /// True reads paths as in the proto file too.
    pub snake: bool,
}

impl Visitor<'_> for MaskVisitor {
    type Value = FieldMask;

    fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str(EXPECTED)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<FieldMask, E> {
        parse(text, self.snake).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
    }
}

/// Reads paths; none: one of them is no path, or has an underscore and `snake` is false.
pub(in super::super) fn parse(text: &str, snake: bool) -> Option<FieldMask> {
    if text.is_empty() {
        return Some(FieldMask::default());
    }
    let paths = text.split(',').map(|path| read_path(path, snake));
    Some(FieldMask { paths: paths.collect::<Option<_>>()? })
}

fn read_path(path: &str, snake: bool) -> Option<String> {
    if snake && path == "*" {
        // AIP-134: all fields.
        return Some(path.to_owned());
    }
    let mut read = String::with_capacity(path.len() + 4);
    for character in path.chars() {
        match character {
            'A'..='Z' => {
                read.push('_');
                read.push(character.to_ascii_lowercase());
            }
            '_' if !snake => return None,
            'a'..='z' | '0'..='9' | '.' | '_' => read.push(character),
            _ => return None,
        }
    }
    (!read.is_empty()).then_some(read)
}

fn write_camel(path: &str, text: &mut String) -> Option<()> {
    let mut characters = path.chars();
    while let Some(character) = characters.next() {
        match character {
            '_' => match characters.next() {
                Some(letter @ 'a'..='z') => text.push(letter.to_ascii_uppercase()),
                _ => return None,
            },
            'A'..='Z' => return None,
            _ => text.push(character),
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::rest::json::{Options, to_vec, try_to_vec};

    fn mask(paths: &[&str]) -> FieldMask {
        FieldMask { paths: paths.iter().map(|&path| path.to_owned()).collect() }
    }

    #[test]
    fn paths_change_their_case_both_ways() {
        let some = mask(&["display_name", "a.b_c.d1"]);
        assert_eq!(to_vec(&some), b"\"displayName,a.bC.d1\"");
        assert_eq!(parse("displayName,a.bC.d1", false), Some(some.clone()));
        assert_eq!(parse("display_name,a.bC.d1", true), Some(some));
        assert_eq!(parse("", false), Some(mask(&[])));
        assert_eq!(parse("*", true), Some(mask(&["*"])), "all, by AIP-134");
    }

    #[test]
    fn paths_that_would_not_come_back_are_refused() {
        for path in ["fooBar", "foo__bar", "foo_3_bar", "foo_"] {
            assert!(try_to_vec(&mask(&[path]), &Options::DEFAULT).is_err(), "{path}");
        }
        for text in ["foo_bar", "a,,b", ",", "a b", "a,", "*"] {
            assert_eq!(parse(text, false), None, "{text}");
        }
    }
}
