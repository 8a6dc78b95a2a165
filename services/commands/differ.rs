//! What is different between two values, field by field, in the words of the contract. Used by
//! `apply`.

use std::collections::BTreeSet;

use super::ordered::Ordered;
use super::table::shortened;

/// Most characters of a value that is shown.
const SHOWN: usize = 60;
/// Most lines of a text that are shown.
const LINES: usize = 12;

/// One field that differs.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub(super) struct Difference {
    /// Path of the field.
    pub(super) field: String,
    /// What is.
    pub(super) from: Option<Ordered>,
    /// What should be.
    pub(super) to: Option<Ordered>,
}

/// The fields that differ.
pub(super) fn differences(from: &Ordered, to: &Ordered) -> Vec<Difference> {
    let mut found = Vec::new();
    compare("", Some(from), Some(to), &mut found);
    found
}

fn compare(field: &str, from: Option<&Ordered>, to: Option<&Ordered>, found: &mut Vec<Difference>) {
    match (from, to) {
        (Some(Ordered::Map(old)), Some(Ordered::Map(new))) => {
            let names: BTreeSet<&str> =
                old.iter().chain(new).map(|(name, _)| name.as_str()).collect();
            let of = |members: &'_ Ordered, name: &str| members.get(name).cloned();
            for name in names {
                let dot = if field.is_empty() { "" } else { "." };
                let path = format!("{field}{dot}{name}");
                let (old, new) = (from.and_then(|m| of(m, name)), to.and_then(|m| of(m, name)));
                compare(&path, old.as_ref(), new.as_ref(), found);
            }
        }
        (Some(Ordered::List(old)), Some(Ordered::List(new))) if old.len() == new.len() => {
            for (at, (old, new)) in old.iter().zip(new).enumerate() {
                compare(&format!("{field}[{at}]"), Some(old), Some(new), found);
            }
        }
        (from, to) if from != to => {
            let (from, to) = (from.cloned(), to.cloned());
            found.push(Difference { field: field.to_owned(), from, to });
        }
        _ => {}
    }
}

impl Difference {
    /// It for people: lines that begin with `~`, `-` and `+`.
    pub(super) fn text(&self) -> String {
        let (from, to) = (text(self.from.as_ref()), text(self.to.as_ref()));
        if !from.contains('\n') && !to.contains('\n') {
            let (from, to) = (shortened(&from, SHOWN), shortened(&to, SHOWN));
            return format!("    ~ {}: {from} -> {to}\n", self.field);
        }
        let (old, new): (Vec<_>, Vec<_>) = (from.lines().collect(), to.lines().collect());
        let same = |(a, b): &(&&str, &&str)| a == b;
        let before = old.iter().zip(&new).take_while(same).count();
        let (old, new) = (&old[before..], &new[before..]);
        let after = old.iter().rev().zip(new.iter().rev()).take_while(same).count();
        let mut shown = format!("    ~ {} from line {}:\n", self.field, before + 1);
        for (sign, lines) in [('-', &old[..old.len() - after]), ('+', &new[..new.len() - after])] {
            for line in lines.iter().take(LINES) {
                shown += &format!("      {sign} {line}\n");
            }
            if lines.len() > LINES {
                shown += &format!("      {sign} … {} lines more\n", lines.len() - LINES);
            }
        }
        shown
    }
}

fn text(value: Option<&Ordered>) -> String {
    match value {
        None => "nothing".to_owned(),
        Some(Ordered::Plain(serde_json::Value::String(text))) if text.contains('\n') => {
            text.clone()
        }
        Some(value) => value.json(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(from: &str, to: &str) -> String {
        let read = |text: &str| serde_json::from_str::<Ordered>(text).unwrap();
        differences(&read(from), &read(to)).iter().map(Difference::text).collect()
    }

    #[test]
    fn a_field_is_named_by_its_path() {
        let from = r#"{"a": 1, "b": {"c": [1, {"d": "x"}]}, "e": [1]}"#;
        let to = r#"{"e": [1, 2], "b": {"c": [1, {"d": "y"}]}, "f": true, "a": 1}"#;
        let expected = "    ~ b.c[1].d: \"x\" -> \"y\"\n    ~ e: [1] -> [1,2]\n    \
            ~ f: nothing -> true\n";
        assert_eq!(told(from, to), expected);
        assert_eq!(told(from, from), "");
    }

    #[test]
    fn of_a_long_text_only_the_lines_that_differ_are_shown() {
        let told = told(r#"{"t": "a\nb\nc\nd"}"#, r#"{"t": "a\nX\nY\nd"}"#);
        let lines = "      - b\n      - c\n      + X\n      + Y\n";
        assert_eq!(told, format!("    ~ t from line 2:\n{lines}"));
    }
}
