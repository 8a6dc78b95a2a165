//! Takes out of an answer what no two runs share: ids, times, durations, secrets. What is left
//! compares.

use std::collections::HashMap;

use serde_json::Value;

/// Gives each id a number in the order of appearance, so that "the same id again" still shows.
#[derive(Default)]
pub struct Redactor {
    seen: HashMap<String, String>,
    counts: HashMap<String, usize>,
}

impl Redactor {
    /// The value with `run_1` for the first id of a run, `TIME` for moments, `0` for durations.
    pub fn redact(&mut self, value: &Value) -> Value {
        match value {
            Value::String(text) => Value::from(self.text(text)),
            Value::Array(items) => items.iter().map(|item| self.redact(item)).collect(),
            Value::Object(fields) => {
                // Noted once a minute: whether it is there already is chance.
                let kept = fields.iter().filter(|(name, _)| *name != "last_used_at");
                let pairs = kept.map(|(name, value)| match name.as_str() {
                    "latency_ms" => (name.clone(), Value::from(0)),
                    // What only its holder may know, and its beginning.
                    // Or what is made of moments.
                    "secret" | "prefix" | "next_cursor" | "etag" if value.is_string() => {
                        (name.clone(), Value::from(name.to_uppercase()))
                    }
                    _ => (name.clone(), self.redact(value)),
                });
                Value::Object(pairs.collect())
            }
            other => other.clone(),
        }
    }

    fn text(&mut self, text: &str) -> String {
        if is_time(text) {
            return "TIME".to_owned();
        }
        let ends_word = |c: char| !c.is_ascii_alphanumeric() && c != '_';
        text.split_inclusive(ends_word)
            .map(|piece| {
                let word = piece.trim_end_matches(ends_word);
                self.word(word) + &piece[word.len()..]
            })
            .collect()
    }

    fn word(&mut self, word: &str) -> String {
        let Some(kind) = id_kind(word) else { return word.to_owned() };
        if let Some(known) = self.seen.get(word) {
            return known.clone();
        }
        let count = self.counts.entry(kind.to_owned()).or_default();
        *count += 1;
        let short = format!("{kind}_{count}");
        self.seen.insert(word.to_owned(), short.clone());
        short
    }
}

/// `run` of `run_` and 26 digits of base32.
fn id_kind(text: &str) -> Option<&str> {
    let (kind, digits) = text.split_once('_')?;
    let id = digits.len() == 26 && digits.bytes().all(|b| b.is_ascii_alphanumeric());
    (id && (3..=4).contains(&kind.len())).then_some(kind)
}

fn is_time(text: &str) -> bool {
    let date = text.get(..4).is_some_and(|year| year.bytes().all(|b| b.is_ascii_digit()));
    date && text.len() >= 20 && text.ends_with('Z') && text.as_bytes()[10] == b'T'
}

#[test]
fn ids_times_and_durations_are_taken_out() {
    let id = "run_01jd8w5zq3v9t2m7k4c6b8n0ap";
    let other = "run_01jd8w5zq3v9t2m7k4c6b8n0aq";
    let value = serde_json::json!({
        "a": [id, other, format!("no {id}, no")], "latency_ms": 7, "run_id": "run_x",
        "at": "2026-01-01T00:00:00.5Z", "last_used_at": "2026-01-01T00:00:00.5Z",
    });
    let expected = serde_json::json!({
        "a": ["run_1", "run_2", "no run_1, no"], "latency_ms": 0, "run_id": "run_x", "at": "TIME",
    });
    assert_eq!(Redactor::default().redact(&value), expected);
}
