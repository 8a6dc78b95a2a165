//! What the engine writes into a run's log: the data of every `run.*` event, in the contract's
//! names and order. The loop's own events (`step`, `tool.*`) come ready-made in a commit. Never
//! numbers an event: `journal.rs` does, under the run's row.

use std::sync::Arc;

use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::attempt::{PendingCall, Usage};
use super::state::Status;
use crate::cache::{Durable, EventId, Frame, Token};
use crate::kernel::ids::{self, Kind};
use crate::kernel::{Error, Result, Timestamp};
use crate::store::events;

/// An event as those who follow the run get it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Where it stands in the stream.
    pub id: EventId,
    /// Type, such as `run.created` or `token`.
    pub r#type: Arc<str>,
    /// JSON text; of a durable event, the very bytes that were committed.
    pub data: Arc<str>,
    /// When it was committed, or the token was made.
    pub at: Timestamp,
}

/// An event that is ready to be written: its number is not known yet.
#[derive(Debug, Clone)]
pub(super) struct Draft {
    pub(super) r#type: Arc<str>,
    pub(super) data: Arc<str>,
}

/// What a cancel dropped.
#[derive(Debug, Serialize)]
struct Cancellation {
    aborted_calls: Vec<String>,
}

/// Data of a `run.*` event; what says nothing new is left out.
#[derive(Debug, Default, Serialize)]
pub(super) struct Change {
    id: String,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    agent_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    agent_version: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    required_action: Option<RequiredAction>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Used>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tokens_used: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    latency_ms: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempt: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    incomplete_reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cancellation: Option<Cancellation>,
    #[serde(skip_serializing_if = "Option::is_none")]
    discarded_step_id: Option<String>,
}

/// What a parked run waits for; also kept with the run.
#[derive(Debug, Clone, Serialize)]
pub(super) struct RequiredAction {
    r#type: &'static str,
    tool_calls: Vec<Waiting>,
}

#[derive(Debug, Clone, Serialize)]
struct Waiting {
    id: String,
    name: String,
    arguments: Value,
    kind: &'static str,
    deadline: Timestamp,
}

#[derive(Debug, Clone, Copy, Serialize)]
struct Used {
    input_tokens: i32,
    output_tokens: i32,
    total_tokens: i32,
    model_calls: i32,
    tool_calls: i32,
}

/// How a run ends, and what it ends with.
#[derive(Debug, Clone)]
pub(super) enum End {
    Completed(Value),
    Failed { code: String, message: String },
    Incomplete { reason: String, output: Option<Value> },
    Cancelled { aborted_calls: Vec<String> },
    Expired,
}

impl End {
    pub(super) fn status(&self) -> Status {
        match self {
            Self::Completed(_) => Status::Completed,
            Self::Failed { .. } => Status::Failed,
            Self::Incomplete { .. } => Status::Incomplete,
            Self::Cancelled { .. } => Status::Cancelled,
            Self::Expired => Status::Expired,
        }
    }

    /// `{"result": …}`, when there is a result.
    pub(super) fn output(&self) -> Option<Value> {
        match self {
            Self::Completed(result) => Some(json!({ "result": result })),
            Self::Incomplete { output, .. } => output.as_ref().map(|o| json!({ "result": o })),
            _ => None,
        }
    }

    /// `{"code": …, "message": …}`, when the run failed.
    pub(super) fn error(&self) -> Option<Value> {
        match self {
            Self::Failed { code, message } => Some(json!({ "code": code, "message": message })),
            _ => None,
        }
    }

    /// Which limit ended the run.
    pub(super) fn incomplete_reason(&self) -> Option<&str> {
        match self {
            Self::Incomplete { reason, .. } => Some(reason),
            _ => None,
        }
    }
}

impl Change {
    pub(super) fn to(run_id: Uuid, status: Status) -> Self {
        Self { id: ids::format(Kind::Run, run_id), status: status.as_str(), ..Self::default() }
    }

    pub(super) fn created(run_id: Uuid, agent_id: Uuid, agent_version: i32) -> Self {
        Self {
            agent_id: Some(ids::format(Kind::Agent, agent_id)),
            agent_version: Some(agent_version),
            ..Self::to(run_id, Status::Queued)
        }
    }

    pub(super) fn attempt(mut self, number: i32) -> Self {
        self.attempt = Some(number);
        self
    }

    pub(super) fn discards(mut self, step_id: Option<String>) -> Self {
        self.discarded_step_id = step_id;
        self
    }

    pub(super) fn requires(mut self, action: RequiredAction) -> Self {
        self.required_action = Some(action);
        self
    }

    pub(super) fn ended(run_id: Uuid, end: &End, usage: Usage, latency_ms: i32) -> Self {
        let used = Used::from(usage);
        let cancellation = match end {
            End::Cancelled { aborted_calls } => {
                Some(Cancellation { aborted_calls: aborted_calls.clone() })
            }
            _ => None,
        };
        Self {
            output: end.output(),
            error: end.error(),
            usage: Some(used),
            tokens_used: Some(used.total_tokens),
            latency_ms: Some(latency_ms),
            incomplete_reason: end.incomplete_reason().map(str::to_owned),
            cancellation,
            ..Self::to(run_id, end.status())
        }
    }

    /// The event of this type with this data.
    pub(super) fn draft(&self, r#type: &str) -> Result<Draft> {
        let data = serde_json::to_string(self).map_err(Error::internal)?;
        Ok(Draft { r#type: r#type.into(), data: data.into() })
    }
}

impl RequiredAction {
    pub(super) fn new(pending: &[PendingCall]) -> Self {
        let tool_calls = pending.iter().map(|call| Waiting {
            id: call.id.clone(),
            name: call.name.clone(),
            arguments: Value::Object(call.arguments.clone()),
            kind: "client",
            deadline: call.deadline,
        });
        Self { r#type: "submit_tool_outputs", tool_calls: tool_calls.collect() }
    }
}

impl From<Usage> for Used {
    fn from(usage: Usage) -> Self {
        Self {
            input_tokens: usage.input_tokens,
            output_tokens: usage.output_tokens,
            total_tokens: usage.input_tokens.saturating_add(usage.output_tokens),
            model_calls: usage.model_calls,
            tool_calls: usage.tool_calls,
        }
    }
}

impl From<events::Row> for Durable {
    fn from(row: events::Row) -> Self {
        let events::Row { seq, r#type, data, at, .. } = row;
        Self { seq, r#type: r#type.into(), data: data.into(), at: Timestamp(at) }
    }
}

impl From<Durable> for Event {
    fn from(durable: Durable) -> Self {
        let Durable { seq, r#type, data, at } = durable;
        Self { id: EventId::durable(seq), r#type, data, at }
    }
}

impl From<Token> for Event {
    fn from(token: Token) -> Self {
        let Token { id, step_id, offset, delta, at } = token;
        let data = json!({ "delta": *delta, "step_id": *step_id, "offset": offset }).to_string();
        Self { id, r#type: "token".into(), data: data.into(), at }
    }
}

impl From<Frame> for Event {
    fn from(frame: Frame) -> Self {
        match frame {
            Frame::Durable(durable) => durable.into(),
            Frame::Token(token) => token.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_says_only_what_is_new() {
        let run = Uuid::nil();
        let data = serde_json::to_value(Change::to(run, Status::InProgress).attempt(2)).unwrap();
        let id = ids::format(Kind::Run, run);
        assert_eq!(data, json!({ "id": id, "status": "in_progress", "attempt": 2 }));
    }

    #[test]
    fn the_end_tells_result_usage_and_time() {
        let usage = Usage { input_tokens: 3, output_tokens: 4, model_calls: 1, tool_calls: 0 };
        let change = Change::ended(Uuid::nil(), &End::Completed(json!("hi")), usage, 12);
        let data = serde_json::to_value(change).unwrap();
        assert_eq!(data["status"], "completed");
        assert_eq!(data["output"], json!({ "result": "hi" }));
        assert_eq!(data["tokens_used"], 7);
        assert_eq!(data["usage"]["total_tokens"], 7);
        assert_eq!(data["latency_ms"], 12);
        assert!(data.get("error").is_none() && data.get("cancellation").is_none());
    }
}
