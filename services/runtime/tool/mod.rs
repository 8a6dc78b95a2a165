//! What a tool call needs before it is made: the tool, and arguments that satisfy its schema. The
//! call itself is in `http.rs`. Called by `agent_loop/tools.rs`; never journals.

pub(crate) mod http;
mod sign;

use std::collections::HashMap;
use std::sync::OnceLock;

use serde_json::{Map, Value};

use super::model::RawCall;
use super::record::{Asked, ToolError};
use crate::kernel::json;
use crate::kernel::schema::Schema;
use crate::kernel::spec::Tool;

/// Most bytes of a call's arguments as JSON.
const ARGUMENT_BYTES_MAX: usize = 64 << 10;
/// Most bytes of a tool's answer that the model is told.
const OUTPUT_BYTES_MAX: usize = 256 << 10;

/// The tools of one agent, their schemas compiled when they are first needed.
pub(crate) struct Tools<'a> {
    by_name: HashMap<&'a str, Entry<'a>>,
}

struct Entry<'a> {
    tool: &'a Tool,
    schema: OnceLock<Result<Option<Schema>, String>>,
}

impl<'a> Tools<'a> {
    /// The tools of an agent.
    pub(crate) fn new(tools: &'a [Tool]) -> Self {
        let entry = |tool: &'a Tool| (tool.name.as_str(), Entry { tool, schema: OnceLock::new() });
        Self { by_name: tools.iter().map(entry).collect() }
    }

    /// The tool of this name.
    pub(crate) fn find(&self, name: &str) -> Option<&'a Tool> {
        self.by_name.get(name).map(|entry| entry.tool)
    }

    /// The tool that a call may be made to: it is there, and the arguments satisfy its schema.
    pub(crate) fn admit(&self, asked: &Asked) -> Result<&'a Tool, ToolError> {
        let Some(entry) = self.by_name.get(asked.name.as_str()) else {
            let mut names: Vec<&str> = self.by_name.keys().copied().collect();
            names.sort_unstable();
            let message = format!("no tool {}; there is: {}", asked.name, names.join(", "));
            return Err(ToolError::new("unknown_tool", message));
        };
        let invalid = |why: &str| ToolError::new("invalid_arguments", why);
        if let Some(problem) = &asked.problem {
            return Err(invalid(problem));
        }
        let compile = || entry.tool.input_schema.as_ref().map(Schema::compile).transpose();
        match entry.schema.get_or_init(compile) {
            Ok(None) => Ok(entry.tool),
            Ok(Some(schema)) => {
                let arguments = Value::Object(asked.arguments.clone());
                schema.check(&arguments).map_err(|why| invalid(&why))?;
                Ok(entry.tool)
            }
            Err(why) => Err(invalid(&format!("the tool's input_schema cannot be used: {why}"))),
        }
    }
}

/// A call as the journal keeps it: under our id, with arguments that are an object and not too
/// large.
pub(crate) fn asked(id: String, raw: RawCall) -> Asked {
    let (arguments, problem) = match raw.arguments {
        Value::Object(arguments) => within(arguments),
        Value::Null => (Map::new(), None),
        Value::String(text) if text.trim().is_empty() => (Map::new(), None),
        other => {
            let start: String = super::record::content(&other).chars().take(200).collect();
            (Map::new(), Some(format!("the arguments are not a JSON object: {start}")))
        }
    };
    Asked {
        id,
        name: raw.name,
        arguments,
        problem,
        provider_id: raw.provider_id,
        signatures: raw.signatures,
    }
}

fn within(arguments: Map<String, Value>) -> (Map<String, Value>, Option<String>) {
    let shallow = |inner: &Value| json::is_within(inner, json::DEPTH_MAX - 1);
    if !arguments.values().all(shallow) {
        let problem = format!("the arguments are nested deeper than {} levels", json::DEPTH_MAX);
        return (Map::new(), Some(problem));
    }
    let bytes = serde_json::to_string(&arguments).map_or(usize::MAX, |text| text.len());
    if bytes <= ARGUMENT_BYTES_MAX {
        return (arguments, None);
    }
    let problem = format!("the arguments have {bytes} bytes, at most {ARGUMENT_BYTES_MAX}");
    (Map::new(), Some(problem))
}

/// An answer cut to what the model is told, with a marker where it was cut. One that is nested too
/// deep for the contract is told as text.
pub(crate) fn bounded(output: Value) -> Value {
    let text = match output {
        Value::String(text) => text,
        other => {
            let text = other.to_string();
            if text.len() <= OUTPUT_BYTES_MAX && json::is_within(&other, json::DEPTH_MAX) {
                return other;
            }
            text
        }
    };
    if text.len() <= OUTPUT_BYTES_MAX {
        return Value::String(text);
    }
    let cut = &text[..text.floor_char_boundary(OUTPUT_BYTES_MAX)];
    Value::String(format!("{cut}\n[cut here: the whole answer has {} bytes]", text.len()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn raw(arguments: Value) -> RawCall {
        RawCall { provider_id: None, name: "t".into(), arguments, signatures: Vec::new() }
    }

    fn admit(tools: Value, raw: RawCall) -> Result<String, String> {
        let tools: Vec<Tool> = serde_json::from_value(tools).unwrap();
        let asked = asked("call_1".into(), raw);
        let admitted = Tools::new(&tools).admit(&asked).map(|tool| tool.name.clone());
        admitted.map_err(|error| error.code)
    }

    #[test]
    fn only_good_arguments_reach_a_tool() {
        let tools = json!([{
            "name": "t",
            "input_schema": {
                "type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}
            },
            "handler": {"kind": "client", "deadline_seconds": 60}
        }]);
        let bad = |code: &str| Err(code.to_owned());
        assert_eq!(admit(tools.clone(), raw(json!({"n": 1}))), Ok("t".to_owned()));
        assert_eq!(admit(tools.clone(), raw(json!({"n": "1"}))), bad("invalid_arguments"));
        assert_eq!(admit(tools.clone(), raw(json!({}))), bad("invalid_arguments"));
        assert_eq!(admit(tools.clone(), raw(json!("{\"n\": 1"))), bad("invalid_arguments"));
        assert_eq!(admit(tools.clone(), raw(json!([1]))), bad("invalid_arguments"));
        let big = json!({"n": 1, "text": "x".repeat(ARGUMENT_BYTES_MAX)});
        assert_eq!(admit(tools, raw(big)), bad("invalid_arguments"));
        assert_eq!(admit(json!([]), raw(json!({}))), bad("unknown_tool"));
    }

    #[test]
    fn no_arguments_are_an_empty_object() {
        for arguments in [json!(null), json!(""), json!({})] {
            let asked = asked("call_1".into(), raw(arguments));
            assert_eq!((asked.arguments, asked.problem), (Map::new(), None));
        }
    }

    #[test]
    fn a_long_answer_is_cut_and_says_so() {
        assert_eq!(bounded(json!({"a": 1})), json!({"a": 1}));
        let long = "é".repeat(OUTPUT_BYTES_MAX);
        let Value::String(cut) = bounded(json!(long)) else { panic!() };
        assert!(cut.len() < OUTPUT_BYTES_MAX + 100 && cut.contains("524288 bytes"));
        assert!(bounded(json!([long])).is_string());
    }
}
