//! What is known of a cluster after faults: what callers were promised, what the tool server and
//! the followers saw, and what the database says at the end. Filled by `cluster.rs` and `load.rs`,
//! judged by `checker.rs`. Plain values: a test can write one down.

use std::collections::BTreeMap;

/// Everything.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// Runs whose creation was answered.
    pub acknowledged: Vec<Acknowledged>,
    /// Runs as the database has them.
    pub runs: BTreeMap<String, Run>,
    /// What is left in the queue.
    pub queue: Vec<Queued>,
    /// Workers as the database has them.
    pub workers: Vec<String>,
    /// The event log, by run.
    pub events: BTreeMap<String, Vec<Event>>,
    /// The journal, by run.
    pub steps: BTreeMap<String, Vec<Step>>,
    /// What the tool server saw.
    pub calls: Vec<Call>,
    /// What followers saw.
    pub heard: Vec<Heard>,
    /// Leased runs of an owner, looked at now and then.
    pub leased: Vec<Leased>,
    /// What was done to the cluster.
    pub faults: Vec<Fault>,
    /// Tools that may be sent once only.
    pub at_most_once: Vec<String>,
    /// Every follower that is not hit by a fault hears every letter live.
    pub whole_text: bool,
}

/// A creation that was answered.
#[derive(Debug, Clone, Default)]
pub struct Acknowledged {
    /// Run.
    pub run_id: String,
    /// Idempotency key that it was asked for with; also a label of the run.
    pub key: String,
    /// What the run says when it completes; empty: anything.
    pub result: String,
}

/// A row of `runs`.
#[derive(Debug, Clone, Default)]
pub struct Run {
    /// State.
    pub status: String,
    /// Idempotency key of its creation, by its label.
    pub key: String,
    /// Its result, when it completed.
    pub result: Option<String>,
    /// Why it failed.
    pub error: Option<String>,
    /// Number of its last event.
    pub last_seq: i64,
    /// Claims.
    pub attempt: i64,
    /// Model and tool calls, tokens read and written.
    pub usage: [i64; 4],
    /// When it was created, in microseconds.
    pub created_us: i64,
    /// When it was first taken.
    pub started_us: Option<i64>,
}

/// A row of `run_queue`.
#[derive(Debug, Clone, Default)]
pub struct Queued {
    /// Run.
    pub run_id: String,
    /// 0 ready, 1 leased, 2 waiting, 3 behind another.
    pub state: i64,
    /// Whose it is.
    pub worker: Option<String>,
}

/// A row of `run_events`.
#[derive(Debug, Clone, Default)]
pub struct Event {
    /// Number.
    pub seq: i64,
    /// Type.
    pub kind: String,
    /// When it was committed, in microseconds.
    pub at_us: i64,
    /// What happened, JSON.
    pub data: serde_json::Value,
}

/// A row of `run_steps`.
#[derive(Debug, Clone, Default)]
pub struct Step {
    /// Idempotency key.
    pub key: String,
    /// `llm` or `tool`.
    pub kind: String,
    /// 0 started, 1 ok, 2 error, 3 unknown.
    pub status: i64,
    /// The claim that wrote last.
    pub epoch: i64,
    /// When it ended, in microseconds.
    pub finished_us: Option<i64>,
    /// Tokens read and written, of a model call.
    pub tokens: [i64; 2],
}

/// A request to the tool server.
#[derive(Debug, Clone, Default)]
pub struct Call {
    /// Idempotency key.
    pub key: String,
    /// Run.
    pub run_id: String,
    /// Tool.
    pub tool: String,
    /// Claim that sent it.
    pub attempt: i64,
    /// When it came, in microseconds.
    pub begun_us: i64,
    /// When it ended, either way.
    pub ended_us: Option<i64>,
}

/// What one follower saw of one run.
#[derive(Debug, Clone, Default)]
pub struct Heard {
    /// Run.
    pub run_id: String,
    /// `sse` or `grpc`.
    pub door: &'static str,
    /// Frames in the order they came.
    pub frames: Vec<Frame>,
    /// When each of its connections began to hear, in microseconds.
    pub connected_us: Vec<i64>,
    /// True when the last stream ended as one does whose run has ended.
    pub ended: bool,
    /// What a follower should never be told.
    pub complaints: Vec<String>,
}

/// A frame of a stream.
#[derive(Debug, Clone, Default)]
pub struct Frame {
    /// Number of the durable event, or of the one before a live frame.
    pub seq: i64,
    /// Number of the live frame after it; 0: durable.
    pub n: i64,
    /// Type.
    pub kind: String,
    /// What it says of text.
    pub text: Text,
    /// Who says it, of a whole message.
    pub role: String,
    /// Which connection it came over, from 1.
    pub connection: usize,
    /// When it came, in microseconds.
    pub at_us: i64,
    /// The data, byte by byte, where the door shows it.
    pub data: String,
}

/// What a frame says of a message's text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Text {
    /// Nothing.
    #[default]
    None,
    /// A piece of it.
    Piece { step_id: String, offset: usize, delta: String },
    /// All of it, committed.
    Whole { step_id: String, content: String },
    /// What was streamed since the last message is void; of this one, if of any.
    Void { step_id: Option<String> },
}

/// How many runs of an owner were leased at a moment.
#[derive(Debug, Clone, Default)]
pub struct Leased {
    /// Owner.
    pub lane: String,
    /// Most that there may be.
    pub cap: i64,
    /// How many there were.
    pub count: i64,
}

/// Something that was done to the cluster.
#[derive(Debug, Clone, Default)]
pub struct Fault {
    /// What.
    pub what: String,
    /// When, in microseconds.
    pub at_us: i64,
    /// Until when; the same where it is a moment.
    pub until_us: i64,
    /// Runs that it found leased to whom it hit.
    pub held: Vec<String>,
}

/// True for the type of an event after which nothing comes.
pub fn is_end(kind: &str) -> bool {
    let state = kind.strip_prefix("run.").unwrap_or_default();
    ["completed", "failed", "cancelled", "incomplete", "expired"].contains(&state)
}
