//! Generates the words of an enum.

use std::collections::BTreeMap;
use std::fmt::Write;

use heck::ToShoutySnakeCase;
use prost_reflect::EnumDescriptor;

use crate::codegen::{Failure, Model, names};

/// Words of a message for a wrong value, at most.
const WORDS_SHOWN_MAX: usize = 12;

pub fn generate(model: &Model, item: &EnumDescriptor, out: &mut String) -> Result<(), Failure> {
    let path = names::enumeration(model.set.root, item);
    let (mut written, mut read) = (BTreeMap::new(), BTreeMap::new());
    for value in item.values() {
        let word = word(model, item, value.name());
        for name in [word.clone(), value.name().to_owned()] {
            if read.insert(name, value.number()).is_some_and(|number| number != value.number()) {
                return Err(format!("enum {}: two values are {word}", item.full_name()).into());
            }
        }
        written.entry(value.number()).or_insert(word);
    }
    writeln!(out, "impl json::JsonEnum for {path} {{")?;
    writeln!(out, "    const NAME: &'static str = {:?};", item.full_name())?;
    writeln!(out, "    const EXPECTED: &'static str = {:?};\n", expected(&written, item))?;
    writeln!(out, "    fn word(number: i32) -> Option<&'static str> {{\n        match number {{")?;
    for (number, word) in &written {
        writeln!(out, "            {number} => Some({word:?}),")?;
    }
    writeln!(out, "            _ => None,\n        }}\n    }}\n")?;
    writeln!(out, "    fn from_name(name: &str) -> Option<i32> {{\n        match name {{")?;
    for (name, number) in &read {
        writeln!(out, "            {name:?} => Some({number}),")?;
    }
    writeln!(out, "            _ => None,\n        }}\n    }}\n}}\n")?;
    Ok(())
}

/// The word for a value in JSON.
pub fn word(model: &Model, item: &EnumDescriptor, value: &str) -> String {
    match model.set.style.enum_words {
        true => short(item.name(), value),
        false => value.to_owned(),
    }
}

/// The value's name without its type's, in lower case.
fn short(enumeration: &str, value: &str) -> String {
    let prefix = format!("{}_", enumeration.to_shouty_snake_case());
    let rest = value.strip_prefix(&prefix).filter(|rest| !rest.is_empty());
    rest.unwrap_or(value).to_lowercase()
}

/// What a wrong value is answered with: the words, without the one that means unset, or the type if
/// they are many.
fn expected(written: &BTreeMap<i32, String>, item: &EnumDescriptor) -> String {
    let words: Vec<_> = written.values().filter(|word| *word != "unspecified").collect();
    if words.is_empty() || words.len() > WORDS_SHOWN_MAX {
        return format!("a value of {}", item.full_name());
    }
    let words: Vec<_> = words.iter().map(|word| format!("`{word}`")).collect();
    format!("one of {}", words.join(", "))
}
