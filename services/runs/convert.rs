//! Rows and events to messages: the only file here that knows both.

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::engine::events::Event;
use crate::engine::{NewRun, OnLimit, OnSessionBusy};
use crate::kernel::ids::{self, Kind};
use crate::kernel::{Environment, Error, Result, Scope, Timestamp, json};
use crate::proto::codec::{Json, JsonError, List, Options, Plain, from_slice, from_slice_as};
use crate::proto::runplane::v1 as pb;
use crate::store::tables::run;

/// The message of a run. `now` dates the latency of one that lives.
pub(super) fn run(row: run::Model, messages: Vec<pb::Message>, now: Timestamp) -> Result<pb::Run> {
    let created = Timestamp(row.created_at);
    let ended = row.completed_at.map(Timestamp);
    let total = row.input_tokens.saturating_add(row.output_tokens);
    let error = row
        .error_code
        .map(|code| pb::RunError { code, message: row.error_message.unwrap_or_default() });
    Ok(pb::Run {
        id: ids::format(Kind::Run, row.id),
        object: "run".to_owned(),
        agent_id: ids::format(Kind::Agent, row.agent_id),
        agent_version: row.agent_version,
        deployment_id: None,
        status: status(&row.status).into(),
        input: row.input.map(|text| value(&text)).transpose()?.map(json::to_value),
        parameters: Some(json::to_struct(object(&row.parameters)?)),
        output: row.output.map(|text| message(text.as_bytes())).transpose()?,
        error,
        required_action: row.required_action.map(|text| message(text.as_bytes())).transpose()?,
        messages,
        usage: Some(pb::Usage {
            input_tokens: row.input_tokens,
            output_tokens: row.output_tokens,
            total_tokens: total,
            model_calls: row.model_calls,
            tool_calls: row.tool_calls,
            cost_usd: None,
        }),
        tokens_used: total,
        latency_ms: ended.unwrap_or(now).ms_since(created),
        metadata: labels(&row.metadata)?,
        created_at: Some(created.into()),
        started_at: row.started_at.map(|at| Timestamp(at).into()),
        completed_at: ended.map(Into::into),
        expires_at: row.expires_at.map(|at| Timestamp(at).into()),
        environment: environment(&row.environment).into(),
        key_id: row.key_id.map(|id| ids::format(Kind::Key, id)),
        session_id: row.session_id,
        attempt: row.attempt,
        incomplete_reason: row.incomplete_reason,
        last_seq: i32::try_from(row.last_seq).unwrap_or(i32::MAX),
    })
}

/// What becomes of a run that would be one too many.
pub(super) fn on_limit(asked: i32) -> Result<OnLimit> {
    match pb::OnLimit::try_from(asked) {
        Ok(pb::OnLimit::Queue | pb::OnLimit::Unspecified) => Ok(OnLimit::Queue),
        Ok(pb::OnLimit::Reject) => Ok(OnLimit::Reject),
        Err(_) => Err(Error::field("on_limit", "on_limit must be queue or reject")),
    }
}

/// What becomes of a run whose session is busy.
pub(super) fn on_session_busy(asked: i32) -> Result<OnSessionBusy> {
    match pb::OnSessionBusy::try_from(asked) {
        Ok(pb::OnSessionBusy::Queue | pb::OnSessionBusy::Unspecified) => Ok(OnSessionBusy::Queue),
        Ok(pb::OnSessionBusy::Reject) => Ok(OnSessionBusy::Reject),
        Ok(pb::OnSessionBusy::Interrupt) => Ok(OnSessionBusy::Interrupt),
        Err(_) => {
            let message = "on_session_busy must be queue, reject or interrupt";
            Err(Error::field("on_session_busy", message))
        }
    }
}

/// The row of a run that has just been created, before it has an id and its times.
pub(super) fn queued(scope: Scope, new: &NewRun) -> run::Model {
    run::Model {
        id: uuid::Uuid::nil(),
        project_id: scope.project,
        environment: scope.environment.as_str().to_owned(),
        agent_id: new.agent_id,
        agent_version: new.agent_version,
        session_id: new.session_id.clone(),
        key_id: new.key_id,
        status: "queued".to_owned(),
        input: (!new.input.is_null()).then(|| new.input.to_string()),
        parameters: Value::Object(new.parameters.clone()).to_string(),
        output: None,
        error_code: None,
        error_message: None,
        required_action: None,
        input_tokens: 0,
        output_tokens: 0,
        model_calls: 0,
        tool_calls: 0,
        metadata: Value::Object(new.metadata.clone()).to_string(),
        incomplete_reason: None,
        attempt: 0,
        created_at: 0,
        started_at: None,
        completed_at: None,
        expires_at: None,
        last_seq: 1,
        revision: 0,
    }
}

/// The message of an event. Its data was written in the contract's own JSON, so that this reads it
/// as any caller could.
pub(super) fn event(event: &Event) -> Result<pb::RunEvent> {
    Ok(pb::RunEvent {
        id: event.id.to_string(),
        r#type: event.r#type.to_string(),
        created_at: Some(event.at.into()),
        data: Some(data(&event.r#type, event.data.as_bytes())?),
    })
}

/// The message of stored JSON.
pub(super) fn message<M: Json>(text: &[u8]) -> Result<M> {
    from_slice(text).map_err(misread)
}

/// True when the run has ended, or waits for its caller.
pub(super) fn has_settled(run: &pb::Run) -> bool {
    run.completed_at.is_some() || run.status() == pb::RunStatus::RequiresAction
}

/// The messages of the thread.
pub(super) fn thread(text: &[u8]) -> Result<Vec<pb::Message>> {
    from_slice_as::<List<Plain>, _>(text, &Options::DEFAULT).map_err(misread)
}

/// The word for a state in the store.
pub(super) fn status_word(status: pb::RunStatus) -> Option<&'static str> {
    use pb::RunStatus as S;
    Some(match status {
        S::Unspecified => return None,
        S::Queued => "queued",
        S::InProgress => "in_progress",
        S::RequiresAction => "requires_action",
        S::Cancelling => "cancelling",
        S::Completed => "completed",
        S::Failed => "failed",
        S::Cancelled => "cancelled",
        S::Incomplete => "incomplete",
        S::Expired => "expired",
    })
}

fn status(word: &str) -> pb::RunStatus {
    let all = (1..=9).filter_map(|n| pb::RunStatus::try_from(n).ok());
    let mut named = all.filter(|status| status_word(*status) == Some(word));
    named.next().unwrap_or(pb::RunStatus::Unspecified)
}

fn data(kind: &str, text: &[u8]) -> Result<pb::run_event::Data> {
    use pb::run_event::Data as D;
    Ok(match kind {
        "run.created" => D::RunCreated(message(text)?),
        "run.in_progress" => D::RunInProgress(message(text)?),
        "run.requires_action" => D::RunRequiresAction(message(text)?),
        "run.resumed" => D::RunResumed(message(text)?),
        "run.cancelling" => D::RunCancelling(message(text)?),
        "run.completed" => D::RunCompleted(message(text)?),
        "run.failed" => D::RunFailed(message(text)?),
        "run.cancelled" => D::RunCancelled(message(text)?),
        "run.incomplete" => D::RunIncomplete(message(text)?),
        "run.expired" => D::RunExpired(message(text)?),
        "step" => D::Step(message(text)?),
        "tool.requested" => D::ToolRequested(message(text)?),
        "tool.completed" => D::ToolCompleted(message(text)?),
        "tool.failed" => D::ToolFailed(message(text)?),
        "token" => D::Token(message(text)?),
        other => return Err(Error::internal(format!("stored event of unknown type {other}"))),
    })
}

fn misread(error: JsonError) -> Error {
    Error::internal(format!("stored JSON: {error}"))
}

fn environment(word: &str) -> pb::Environment {
    match Environment::parse(word) {
        Some(Environment::Test) => pb::Environment::Test,
        Some(Environment::Live) => pb::Environment::Live,
        None => pb::Environment::Unspecified,
    }
}

fn value(text: &str) -> Result<Value> {
    stored(text)
}

fn object(text: &str) -> Result<Map<String, Value>> {
    stored(text)
}

fn labels(text: &str) -> Result<std::collections::BTreeMap<String, String>> {
    stored(text)
}

fn stored<T: for<'de> Deserialize<'de>>(text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(Error::internal)
}
