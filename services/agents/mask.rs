//! Applies a field mask to a definition: the fields that it names are taken from the new one, all
//! others stay.

use serde_json::{Map, Value};

use crate::kernel::{Error, Result};
use crate::proto::codec::{from_slice, to_vec};
use crate::proto::runplane::v1 as pb;

/// Fields that a caller may change.
const MUTABLE: [&str; 11] = [
    "name",
    "description",
    "instructions",
    "model",
    "model_settings",
    "sim",
    "parameters",
    "tools",
    "max_steps",
    "timeout_seconds",
    "metadata",
];

/// Fields that only the server sets; a mask may name them, and nothing happens.
const OUTPUT_ONLY: [&str; 8] =
    ["id", "object", "published", "version", "environment", "created_at", "updated_at", "etag"];

/// Fields whose own fields a mask may name, and those.
const NESTED: [(&str, &[&str]); 2] = [
    (
        "model_settings",
        &[
            "temperature",
            "top_p",
            "max_tokens",
            "stop_sequences",
            "seed",
            "timeout_seconds",
            "max_retries",
        ],
    ),
    ("sim", &["turns", "tokens_per_second"]),
];

/// The current definition with the fields of `new` that the mask names; without a mask, with those
/// that `new` sets.
pub(super) fn merge(current: &pb::Agent, new: &pb::Agent, paths: &[String]) -> Result<pb::Agent> {
    let (mut merged, new) = (object(current)?, object(new)?);
    for path in named(paths, &new)? {
        set(&mut merged, &new, path);
    }
    let text = Value::Object(merged).to_string();
    from_slice(text.as_bytes()).map_err(|e| Error::field(e.path.clone(), e.to_string()))
}

fn object(agent: &pb::Agent) -> Result<Map<String, Value>> {
    serde_json::from_slice(&to_vec(agent)).map_err(Error::internal)
}

/// The paths to apply, each checked.
fn named<'a>(paths: &'a [String], new: &'a Map<String, Value>) -> Result<Vec<&'a str>> {
    if paths.is_empty() {
        let set = |name: &&&str| new.get(**name).is_some_and(|value| !is_empty(value));
        return Ok(MUTABLE.iter().filter(set).copied().collect());
    }
    let mut named = Vec::with_capacity(paths.len());
    for path in paths {
        let (head, rest) = path.split_once('.').map_or((path.as_str(), ""), |(h, r)| (h, r));
        match head {
            "*" if rest.is_empty() => named.extend(MUTABLE),
            _ if OUTPUT_ONLY.contains(&head) => {}
            _ if MUTABLE.contains(&head) && rest.is_empty() => named.push(head),
            _ if nested(head, rest) => named.push(path.as_str()),
            _ => {
                let shown: String = path.chars().take(64).collect();
                let message = format!("update_mask names {shown}, which cannot be changed");
                return Err(
                    Error::field("update_mask", message).with("allowed", MUTABLE.join(", "))
                );
            }
        }
    }
    Ok(named)
}

fn nested(head: &str, rest: &str) -> bool {
    NESTED.iter().any(|(name, fields)| *name == head && fields.contains(&rest))
}

/// Values that JSON shows although nobody set them.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(b) => !b,
        Value::String(text) => text.is_empty(),
        Value::Array(values) => values.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Number(_) => false,
    }
}

fn set(to: &mut Map<String, Value>, from: &Map<String, Value>, path: &str) {
    let Some((head, rest)) = path.split_once('.') else {
        match from.get(path) {
            Some(value) => to.insert(path.to_owned(), value.clone()),
            None => to.remove(path),
        };
        return;
    };
    let from = from.get(head).and_then(Value::as_object);
    let to = to.entry(head).or_insert_with(|| Value::Object(Map::new()));
    if let Value::Object(to) = to {
        set(to, from.unwrap_or(&Map::new()), rest);
    }
}
