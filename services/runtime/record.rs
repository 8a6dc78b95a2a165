//! What the journal's rows of a run hold: the requests and results of model and tool calls. Written
//! by the loop, read back by `thread.rs` in a later claim, also of a later version of this program:
//! fields are only ever added.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::engine::attempt::Usage;
use crate::kernel::Timestamp;

/// Request of a model call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ModelRequest {
    /// Id of the message that will come of it.
    pub(crate) message_id: String,
    /// Id of the round.
    pub(crate) iteration_id: String,
}

/// Why a model stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Finish {
    /// It had said all, or asks for tools.
    Done,
    /// It reached the most tokens that it may write.
    Length,
}

/// Result of a model call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ModelResult {
    /// Id of the message.
    pub(crate) message_id: String,
    /// What it said.
    pub(crate) text: String,
    /// What it asks for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) calls: Vec<Asked>,
    /// Why it stopped.
    pub(crate) finish: Finish,
    /// What it cost.
    pub(crate) usage: Usage,
    /// When it answered: since then its tools are asked for.
    #[serde(default)]
    pub(crate) answered_at: Timestamp,
}

impl ModelResult {
    /// Bytes of what it said and asks for.
    pub(crate) fn bytes(&self) -> usize {
        self.text.len() + self.calls.iter().map(Asked::bytes).sum::<usize>()
    }
}

/// A tool call that a model asks for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Asked {
    /// Our id, `call_…`.
    pub(crate) id: String,
    /// Name of the tool.
    pub(crate) name: String,
    /// Arguments; empty when they were no object or too large.
    pub(crate) arguments: Map<String, Value>,
    /// What is wrong with the arguments as the model gave them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) problem: Option<String>,
    /// The provider's id, for the way back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) provider_id: Option<String>,
    /// The provider's signatures, for the way back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) signatures: Vec<String>,
}

impl Asked {
    fn bytes(&self) -> usize {
        let arguments = serde_json::to_string(&self.arguments);
        self.name.len() + arguments.map_or(0, |json| json.len())
    }
}

/// Request of a tool call: for traces; the loop itself knows it from the answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ToolRequest {
    /// Our id.
    pub(crate) call_id: String,
    /// Name of the tool.
    pub(crate) name: String,
    /// Arguments.
    pub(crate) arguments: Map<String, Value>,
    /// When the model asked.
    pub(crate) requested_at: Timestamp,
    /// When the run expires without the output; for client tools.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) deadline: Option<Timestamp>,
}

/// Why a tool did not answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ToolError {
    /// Code, of those at `ToolFailed` in the contract.
    pub(crate) code: String,
    /// What happened.
    pub(crate) message: String,
}

impl ToolError {
    /// An error of this code.
    pub(crate) fn new(code: &str, message: impl Into<String>) -> Self {
        Self { code: code.to_owned(), message: message.into() }
    }
}

/// Result of a tool call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ToolResult {
    /// Id of the message for the model.
    pub(crate) message_id: String,
    /// What it answered; `Null` with an error.
    #[serde(default)]
    pub(crate) result: Value,
    /// Why it did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<ToolError>,
    /// How often it was sent.
    pub(crate) attempts: i32,
    /// Milliseconds from the request to the answer.
    pub(crate) latency_ms: i32,
}

impl ToolResult {
    /// Bytes of what the model is told.
    pub(crate) fn bytes(&self) -> usize {
        content(&self.told()).len()
    }

    /// What the model is told, as a value: the answer, or the error in an object.
    pub(crate) fn told(&self) -> Value {
        match &self.error {
            Some(error) => serde_json::json!({ "error": error }),
            None => self.result.clone(),
        }
    }
}

/// A value as the content of a message: a text as it is, anything else as compact JSON.
pub(crate) fn content(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
