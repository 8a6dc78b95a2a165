//! The data of the events that the loop appends, as `Message`, `ToolRequested`, `ToolCompleted` and
//! `ToolFailed` of the contract have it in JSON. Fields that say nothing are left out.

use serde_json::{Map, Value, json};

use super::record::{Asked, ModelResult, ToolRequest, ToolResult, content};
use crate::engine::attempt::NewEvent;
use crate::kernel::Timestamp;

/// A message without calls: of `system` or `user`.
pub(crate) fn said(role: &str, text: &str, ids: (&str, &str), at: Timestamp) -> NewEvent {
    let (id, iteration_id) = ids;
    step(json!({
        "id": id, "role": role, "content": text, "iteration_id": iteration_id, "created_at": at
    }))
}

/// The model's message.
pub(crate) fn replied(reply: &ModelResult, iteration_id: &str, at: Timestamp) -> NewEvent {
    let mut data = json!({
        "id": reply.message_id, "role": "assistant", "content": reply.text,
        "iteration_id": iteration_id, "created_at": at
    });
    if !reply.calls.is_empty() {
        let call =
            |call: &Asked| json!({"id": call.id, "name": call.name, "arguments": call.arguments});
        data["tool_calls"] = reply.calls.iter().map(call).collect();
    }
    step(data)
}

/// What the model is told of a tool.
pub(crate) fn answered(
    asked: &Asked,
    result: &ToolResult,
    iteration_id: &str,
    at: Timestamp,
) -> NewEvent {
    step(json!({
        "id": result.message_id, "role": "tool", "content": content(&result.told()),
        "iteration_id": iteration_id, "tool_call_id": asked.id, "name": asked.name,
        "created_at": at
    }))
}

/// The model asked for a tool. `kind` is `None` when there is no such tool.
pub(crate) fn requested(request: &ToolRequest, kind: Option<&str>, step_id: &str) -> NewEvent {
    let mut data = Map::new();
    data.insert("id".into(), request.call_id.as_str().into());
    data.insert("tool".into(), request.name.as_str().into());
    data.insert("args".into(), Value::Object(request.arguments.clone()));
    if let Some(kind) = kind {
        data.insert("kind".into(), kind.into());
    }
    data.insert("step_id".into(), step_id.into());
    if let Some(deadline) = request.deadline {
        data.insert("deadline".into(), deadline.to_string().into());
    }
    NewEvent { r#type: "tool.requested", data: Value::Object(data) }
}

/// A tool answered, or did not.
pub(crate) fn ended(asked: &Asked, result: &ToolResult) -> NewEvent {
    let (name, key, value) = match &result.error {
        Some(error) => ("tool.failed", "error", json!(error)),
        None => ("tool.completed", "result", result.result.clone()),
    };
    let data = json!({
        "id": asked.id, "tool": asked.name, key: value, "latency_ms": result.latency_ms,
        "attempts": result.attempts
    });
    NewEvent { r#type: name, data }
}

fn step(data: Value) -> NewEvent {
    NewEvent { r#type: "step", data }
}
