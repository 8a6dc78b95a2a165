//! What one would write by hand: structs with derived serde, axum's extractors and `Json`. Times
//! and ids are ready texts, which favours it. It answers from memory, with the same bytes as the
//! product: `call.rs` makes sure of that.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path as InPath, Query, State};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::routing::get;
use axum::{Json, Router};
use futures::stream::{self, StreamExt};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Outcome;
use super::server::files;

/// A run.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Run {
    id: String,
    object: String,
    agent_id: String,
    agent_version: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    deployment_id: Option<String>,
    status: Status,
    #[serde(skip_serializing_if = "Option::is_none")]
    input: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<Map<String, Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<RunOutput>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<RunError>,
    #[serde(skip_serializing_if = "Option::is_none")]
    required_action: Option<Value>,
    messages: Vec<Message>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Usage>,
    tokens_used: i32,
    latency_ms: i32,
    metadata: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    created_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    started_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    completed_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
    environment: Environment,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session_id: Option<String>,
    attempt: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    incomplete_reason: Option<String>,
    last_seq: i32,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Status {
    Queued,
    InProgress,
    RequiresAction,
    Cancelling,
    Completed,
    Failed,
    Cancelled,
    Incomplete,
    Expired,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Environment {
    Test,
    Live,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RunOutput {
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<Value>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RunError {
    code: String,
    message: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Usage {
    input_tokens: i32,
    output_tokens: i32,
    total_tokens: i32,
    model_calls: i32,
    tool_calls: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    cost_usd: Option<f64>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Message {
    id: String,
    role: String,
    content: String,
    iteration_id: String,
    tool_calls: Vec<ToolCall>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_call_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    created_at: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ToolCall {
    id: String,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    arguments: Option<Map<String, Value>>,
}

/// A page of runs.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Runs {
    object: String,
    data: Vec<Run>,
    has_more: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pagination: Option<Value>,
}

/// What a run is created from.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only read from JSON, as the other side does")]
pub(super) struct NewRun {
    agent_id: String,
    input: Option<Value>,
    query: Option<String>,
    parameters: Option<Map<String, Value>>,
    #[serde(default)]
    stream: bool,
    #[serde(default)]
    background: bool,
    #[serde(default)]
    metadata: BTreeMap<String, String>,
    session_id: Option<String>,
    version: Option<i32>,
    wait: Option<i32>,
}

#[derive(Debug, Deserialize)]
struct Paging {
    limit: Option<usize>,
}

/// What is answered.
struct Kept {
    run: Run,
    bytes: Bytes,
    lists: [(usize, Runs); 2],
}

type Memory = State<Arc<Kept>>;

/// The handlers.
pub(super) fn router(folder: &Path) -> Outcome<Router> {
    let bytes = fs::read(folder.join(files::RUN))?;
    let list = |count| -> Outcome<(usize, Runs)> {
        Ok((count, serde_json::from_slice(&fs::read(folder.join(files::list(count)))?)?))
    };
    let run = serde_json::from_slice(&bytes)?;
    let kept = Kept { run, bytes: bytes.into(), lists: [list(20)?, list(50)?] };
    Ok(Router::new()
        .route("/v1/runs/{id}", get(run_by_id))
        .route("/v1/runs", get(runs).post(create))
        .route("/bytes/{id}", get(bytes_by_id))
        .route("/events", get(events))
        .with_state(Arc::new(kept)))
}

async fn run_by_id(State(kept): Memory, InPath(id): InPath<String>) -> impl IntoResponse {
    if id != kept.run.id {
        return Err(StatusCode::NOT_FOUND);
    }
    Ok(Json(kept.run.clone()))
}

async fn bytes_by_id(State(kept): Memory, InPath(id): InPath<String>) -> impl IntoResponse {
    if id != kept.run.id {
        return Err(StatusCode::NOT_FOUND);
    }
    Ok(([(header::CONTENT_TYPE, "application/json")], kept.bytes.clone()))
}

/// A stream that tells one thing, and stays open.
async fn events() -> impl IntoResponse {
    let first = stream::once(async { Ok::<_, Infallible>(Event::default().event("run.created")) });
    Sse::new(first.chain(stream::pending())).keep_alive(KeepAlive::default())
}

async fn runs(State(kept): Memory, Query(paging): Query<Paging>) -> impl IntoResponse {
    let limit = paging.limit.unwrap_or(20);
    let found = kept.lists.iter().find(|(count, _)| *count == limit);
    found.map(|(_, list)| Json(list.clone())).ok_or(StatusCode::NOT_FOUND)
}

async fn create(State(kept): Memory, Json(new): Json<NewRun>) -> impl IntoResponse {
    if new.agent_id.is_empty() {
        return Err(StatusCode::BAD_REQUEST);
    }
    Ok((StatusCode::CREATED, Json(kept.run.clone())))
}
