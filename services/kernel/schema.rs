//! JSON Schemas (draft 2020-12) of callers: of a parameter, of a tool's arguments. No remote
//! references, patterns in linear time. Compiled when written, to refuse bad ones, and again where
//! values are checked.

use jsonschema::{Draft, PatternOptions, Validator};
use serde_json::{Map, Value};

/// Most bytes of a compiled pattern.
const PATTERN_BYTES_MAX: usize = 1 << 20;
/// Most mistakes of a value that are told.
const MISTAKES_MAX: usize = 3;

/// A compiled schema.
#[derive(Debug)]
pub struct Schema(Validator);

impl Schema {
    /// Compiles a schema.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn compile(schema: &Map<String, Value>) -> Result<Self, String> {
        refuse_endless(schema)?;
        jsonschema::options()
            .with_draft(Draft::Draft202012)
            .with_pattern_options(PatternOptions::regex().size_limit(PATTERN_BYTES_MAX))
            .build(&Value::Object(schema.clone()))
            .map(Self)
            .map_err(|error| error.to_string())
    }

    /// Checks a value.
    ///
    /// # Errors
    /// The first mistakes, each with its place.
    pub fn check(&self, value: &Value) -> Result<(), String> {
        if self.0.is_valid(value) {
            return Ok(());
        }
        let mistakes: Vec<String> = self
            .0
            .iter_errors(value)
            .take(MISTAKES_MAX)
            .map(|error| {
                let place = error.instance_path().to_string();
                if place.is_empty() { error.to_string() } else { format!("{place}: {error}") }
            })
            .collect();
        Err(mistakes.join("; "))
    }
}

/// A reference to the whole schema from its own top level says nothing and never ends.
fn refuse_endless(schema: &Map<String, Value>) -> Result<(), String> {
    match schema.get("$ref").and_then(Value::as_str) {
        Some("#") => Err("$ref of the schema to itself never ends".to_owned()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn compile(schema: Value) -> Result<Schema, String> {
        Schema::compile(schema.as_object().unwrap())
    }

    #[test]
    fn a_mistake_names_its_place() {
        let schema = compile(json!({"properties": {"n": {"type": "integer"}}})).unwrap();
        assert!(schema.check(&json!({"n": 1})).is_ok());
        let mistake = schema.check(&json!({"n": "x"})).unwrap_err();
        assert!(mistake.contains("/n") && mistake.contains("integer"), "{mistake}");
    }

    #[test]
    fn nothing_is_fetched_and_nothing_runs_for_ever() {
        assert!(compile(json!({"$ref": "https://example.com/schema.json"})).is_err());
        assert!(compile(json!({"$ref": "file:///etc/passwd"})).is_err());
        assert!(compile(json!({"$ref": "#"})).is_err());
        assert!(compile(json!({"type": "nonsense"})).is_err());
        let evil = compile(json!({"pattern": "^(a+)+$"})).unwrap();
        assert!(evil.check(&json!(format!("{}b", "a".repeat(50_000)))).is_err());
        assert!(compile(json!({"pattern": "(?=look)"})).is_err());
    }

    #[test]
    fn a_schema_may_describe_a_tree() {
        let schema = compile(json!({
            "type": "object",
            "properties": {"children": {"type": "array", "items": {"$ref": "#"}}}
        }))
        .unwrap();
        assert!(schema.check(&json!({"children": [{"children": []}]})).is_ok());
        assert!(schema.check(&json!({"children": [{"children": 1}]})).is_err());
    }

    #[test]
    fn a_circle_of_references_is_refused_or_ends() {
        let circle = json!({
            "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}},
            "$ref": "#/$defs/a"
        });
        if let Ok(schema) = compile(circle) {
            let _ = schema.check(&json!({}));
        }
    }
}
