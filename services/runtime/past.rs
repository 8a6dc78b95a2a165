//! What was said in earlier runs of a conversation, as models are told it. Made at the start of a
//! claim by `agent_loop`; never changes.

use serde_json::Value;

use super::model::Said;
use super::record::{Asked, ToolResult};
use crate::engine::attempt::{Earlier, EarlierCall};

/// A message of an earlier run.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Past {
    /// The input.
    User(String),
    /// The model's answer.
    Assistant(String, Vec<Asked>),
    /// What came of a call.
    Tool(Box<Asked>, Box<ToolResult>),
}

/// All of it, oldest first.
pub(crate) fn past(earlier: &[Earlier]) -> Vec<Past> {
    let past = |one: &Earlier| match one {
        Earlier::User(text) => Past::User(text.clone()),
        Earlier::Assistant(text, calls) => {
            Past::Assistant(text.clone(), calls.iter().map(asked).collect())
        }
        Earlier::Tool(call, text) => {
            let result = ToolResult {
                message_id: String::new(),
                result: Value::String(text.clone()),
                error: None,
                attempts: 0,
                latency_ms: 0,
            };
            Past::Tool(Box::new(asked(call)), Box::new(result))
        }
    };
    earlier.iter().map(past).collect()
}

fn asked(call: &EarlierCall) -> Asked {
    let EarlierCall { id, name, arguments } = call.clone();
    Asked { id, name, arguments, problem: None, provider_id: None, signatures: Vec::new() }
}

impl Past {
    /// As an entry of the conversation.
    pub(crate) fn said(&self) -> Said<'_> {
        match self {
            Self::User(text) => Said::User(text),
            Self::Assistant(text, calls) => Said::Assistant(text, calls),
            Self::Tool(asked, result) => Said::Tool(asked, result),
        }
    }
}
