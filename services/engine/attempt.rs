//! One claim of one run, as the function that drives it sees it. Made by `worker.rs`, consumed by
//! `runtime`'s loop. The only way for driving code to change a run: intent before effect, one
//! fenced commit per step.

use std::collections::HashMap;
use std::sync::Arc;

use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::kernel::spec::AgentSpec;
use crate::kernel::{Scope, Timestamp};

/// What drives a run: the agent loop, handed in by `serve`. Ends with what is to become of the
/// run.
pub type Drive = Arc<dyn Fn(Attempt) -> BoxFuture<'static, Outcome> + Send + Sync>;

/// What a run is, pinned at its creation.
#[derive(Debug, Clone)]
pub struct Pinned {
    /// Run.
    pub run_id: Uuid,
    /// Owner.
    pub scope: Scope,
    /// Agent.
    pub agent_id: Uuid,
    /// Conversation.
    pub session_id: Option<String>,
    /// The version that the run was created with.
    pub spec: Arc<AgentSpec>,
    /// What the run works on, as given; `Null` when nothing was.
    pub input: Value,
    /// Values of the agent's parameters, defaults filled in, and the reserved ones that were given.
    pub parameters: Map<String, Value>,
    /// When the run was created.
    pub created_at: Timestamp,
    /// When the run ends as `incomplete`, reason `timeout`.
    pub deadline: Timestamp,
    /// Most bytes of its messages and tool results; beyond it ends as `incomplete`, `max_bytes`.
    pub bytes_max: usize,
    /// What was said in earlier runs of its conversation, oldest first: whole exchanges only, each
    /// run's beginning with its input. The same at every claim.
    pub earlier: Arc<[Earlier]>,
}

/// A message of an earlier run of the same conversation.
#[derive(Debug, Clone, PartialEq)]
pub enum Earlier {
    /// The input; empty when there was none.
    User(String),
    /// What the model said, and the tools that it asked for.
    Assistant(String, Vec<EarlierCall>),
    /// What the model was told of a call.
    Tool(EarlierCall, String),
}

/// A tool call of an earlier run.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct EarlierCall {
    /// Id, `call_…`.
    pub id: String,
    /// Tool.
    pub name: String,
    /// Arguments.
    #[serde(default)]
    pub arguments: Map<String, Value>,
}

/// Kind of a journaled step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepKind {
    /// A model call.
    Llm,
    /// A tool call.
    Tool,
}

/// Where a journaled step stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepStatus {
    /// The intent is written; the effect may have happened.
    Started,
    /// Done, with a result.
    Ok,
    /// Done, with an error as its result.
    Error,
    /// A crash hid the outcome and the step may not be repeated.
    Unknown,
}

/// A journal row. `step` counts the rounds of the loop from 0; `call` is 0 for the model call of
/// the round and 1, 2, … for its tool calls.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// Round.
    pub step: i32,
    /// Call in the round.
    pub call: i32,
    /// Kind.
    pub kind: StepKind,
    /// Where it stands.
    pub status: StepStatus,
    /// How many claims have begun it, from 1.
    pub attempt: i32,
    /// What was intended.
    pub request: Value,
    /// What came of it; `Null` while started.
    pub result: Value,
}

/// The intention to do a step: written before its effect.
#[derive(Debug, Clone)]
pub struct Intent {
    /// Round.
    pub step: i32,
    /// Call in the round.
    pub call: i32,
    /// Kind.
    pub kind: StepKind,
    /// What is intended; a later attempt reads it back. Of a model call, `message_id` names the
    /// message whose live text is void when another attempt goes on.
    pub request: Value,
}

/// The end of a step.
#[derive(Debug, Clone)]
pub struct Finished {
    /// Round.
    pub step: i32,
    /// Call in the round.
    pub call: i32,
    /// `Ok`, `Error` or `Unknown`.
    pub status: StepStatus,
    /// What came of it.
    pub result: Value,
}

/// An event to append. `data` is the JSON of the message that `RunEvent.data` has for the type, in
/// the contract's names.
#[derive(Debug, Clone)]
pub struct NewEvent {
    /// `step`, `tool.requested`, `tool.completed`, `tool.failed`; the engine itself writes every
    /// `run.*`.
    pub r#type: &'static str,
    /// Data.
    pub data: Value,
}

/// What a run used; added to what it had used before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens read.
    pub input_tokens: i32,
    /// Tokens written.
    pub output_tokens: i32,
    /// Model calls answered.
    pub model_calls: i32,
    /// Tool calls answered.
    pub tool_calls: i32,
}

/// One transaction: steps end, events are appended, new intents are written. All or nothing, under
/// the fence.
#[derive(Debug, Clone, Default)]
pub struct Commit {
    /// Steps that end.
    pub finished: Vec<Finished>,
    /// Events, in order.
    pub events: Vec<NewEvent>,
    /// What was used.
    pub usage: Usage,
    /// Steps that begin.
    pub intents: Vec<Intent>,
}

/// A call that waits for the caller.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PendingCall {
    /// Id, `call_…`.
    pub id: String,
    /// Tool.
    pub name: String,
    /// Arguments.
    pub arguments: Map<String, Value>,
    /// When the run expires without its output.
    pub deadline: Timestamp,
}

/// An output that the caller handed over.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Submitted {
    /// The output.
    pub output: Value,
    /// True when the tool failed.
    pub is_error: bool,
}

/// What is to become of a run; committed together with the last `Commit`.
#[derive(Debug)]
pub enum Outcome {
    /// Ends with a result.
    Completed(Commit, Value),
    /// Ends with an error: code and message.
    Failed(Commit, String, String),
    /// Ends by a limit (`max_steps`, `max_tokens`, `max_bytes`, `timeout`), with what there is.
    Incomplete(Commit, &'static str, Option<Value>),
    /// Waits for the outputs of these calls.
    Park(Commit, Vec<PendingCall>),
    /// The cancel token fired and everything in flight was dropped; ids of the calls that were.
    Cancelled(Vec<String>),
    /// The run is no longer ours, or the store is away: leave it as it is, another claim goes on.
    Stopped,
}

/// The run is no longer ours, or the store is away. Driving code returns [`Outcome::Stopped`] at
/// once.
#[derive(Debug, Clone, Copy)]
pub struct Stopped;

/// Writes to one run's journal and live stream. `worker.rs` has the real one.
pub trait Journal: Send + Sync {
    /// One fenced commit.
    fn commit(&self, commit: Commit) -> BoxFuture<'_, Result<(), Stopped>>;
    /// Live text: `delta` begins at byte `offset` of the message `step_id`. Never waits, never
    /// fails; loss is allowed.
    fn token(&self, step_id: &str, offset: usize, delta: &str);
    /// Done while the lease is so young that nobody else can have taken the run: waited for before
    /// what has an effect. A worker that hung finds its lease old, and then the run lost.
    fn hold(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

/// One claim of one run.
pub struct Attempt {
    /// What the run is.
    pub run: Pinned,
    /// Number of the claim, from 1.
    pub number: i32,
    /// Epoch of the claim.
    pub epoch: i64,
    /// The journal, in order of step and call.
    pub history: Vec<Recorded>,
    /// Outputs of client tools by call id.
    pub inbox: HashMap<String, Submitted>,
    /// Fires when the run is cancelled, or the process stops.
    pub cancel: CancellationToken,
    /// Where to write.
    pub journal: Arc<dyn Journal>,
}
