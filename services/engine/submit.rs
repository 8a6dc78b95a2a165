//! A caller hands over outputs of client tools, any subset of those that its run waits for. The
//! first output of a call wins; the run goes on when none is missing. Called by the services.

use std::collections::HashSet;
use std::sync::Arc;

use serde_json::{Value, json};
use uuid::Uuid;

use super::Engine;
use super::attempt::Submitted;
use super::state::{Status, sources};
use crate::kernel::ids::{self, Kind};
use crate::kernel::{Error, Reason, Result, Scope, Timestamp, faults};
use crate::store::{Tx, inbox, moves, queue, runs};

/// The output of one call.
#[derive(Debug, Clone)]
pub struct Output {
    /// Id of the call, `call_…`.
    pub call_id: String,
    /// What the tool answered.
    pub output: Value,
    /// True when the tool failed.
    pub is_error: bool,
}

/// What is handed over, and by whom.
#[derive(Debug)]
pub struct Handover {
    scope: Scope,
    run_id: Uuid,
    key_id: Option<Uuid>,
    /// Call ids with their outputs, JSON.
    outputs: Vec<(String, String)>,
}

impl Engine {
    /// Hands over outputs; the state of the run then. Outputs that were handed over before are
    /// ignored. `key_id` is the key of the caller, for the record.
    ///
    /// # Errors
    /// `run_not_found`; `run_not_waiting`; `validation_failed` for a call that the run does not
    /// wait for, and then nothing is
    /// taken.
    pub async fn submit(
        &self,
        scope: Scope,
        run_id: Uuid,
        key_id: Option<Uuid>,
        outputs: Vec<Output>,
    ) -> Result<Status> {
        let handover = Arc::new(Handover::new(scope, run_id, key_id, outputs)?);
        let now = self.now();
        let status = self
            .store()
            .tx("engine.submit", move |tx| {
                let handover = Arc::clone(&handover);
                Box::pin(async move { handover.write(tx, now).await })
            })
            .await?;
        self.submitted(status);
        Ok(status)
    }

    /// Wakes a worker when a run that outputs were handed over to goes on, once that is committed.
    pub fn submitted(&self, status: Status) {
        faults::point("in_submit");
        if status == Status::InProgress {
            self.ready();
        }
    }
}

impl Handover {
    /// Outputs that are ready to be handed over, in a transaction of the caller's or of ours.
    ///
    /// # Errors
    /// `internal_error` when they cannot be written as JSON.
    pub fn new(
        scope: Scope,
        run_id: Uuid,
        key_id: Option<Uuid>,
        outputs: Vec<Output>,
    ) -> Result<Self> {
        let encode = |output: Output| -> Result<(String, String)> {
            let Output { call_id, output, is_error } = output;
            let submitted = Submitted { output, is_error };
            Ok((call_id, serde_json::to_string(&submitted).map_err(Error::internal)?))
        };
        let outputs = outputs.into_iter().map(encode).collect::<Result<_>>()?;
        Ok(Self { scope, run_id, key_id, outputs })
    }

    /// Hands them over; the state of the run then. When that is committed, [`Engine::submitted`]
    /// is called.
    ///
    /// # Errors
    /// Those of [`Engine::submit`].
    pub async fn write(&self, tx: &Tx, now: Timestamp) -> Result<Status> {
        take(tx, self, now).await
    }
}

async fn take(tx: &Tx, handover: &Handover, now: Timestamp) -> Result<Status> {
    let Handover { scope, run_id, key_id, outputs } = handover;
    // The row is locked first: a cancel, an expiry or another hand-over waits.
    let live = queue::lock(tx, *scope, *run_id).await?;
    let place = moves::place(tx, *scope, *run_id).await?.ok_or_else(|| runs::not_found(*run_id))?;
    if !live || place.status != Status::RequiresAction.as_str() {
        return Err(not_waiting(*run_id, &place.status));
    }
    let action: Value = parse(place.required_action.as_deref())?;
    let mut missing = call_ids(&action);
    let known = inbox::list(tx, *run_id).await?;
    for (call_id, payload) in outputs {
        if missing.remove(call_id) {
            let parcel = inbox::Parcel { key: call_id, payload, api_key_id: *key_id };
            inbox::put(tx, *run_id, parcel, now).await?;
        } else if !known.iter().any(|row| row.key == *call_id)
            && !call_ids(&action).contains(call_id)
        {
            let text = format!("{call_id} is not a call that the run waits for");
            let error = Error::new(Reason::ValidationFailed, text);
            return Err(error.with("field", "tool_outputs.tool_call_id"));
        }
    }
    if missing.is_empty() {
        return go_on(tx, *run_id, now).await;
    }
    let left = without(action, &missing).to_string();
    let step = moves::Step {
        status: Status::RequiresAction.as_str(),
        required_action: Some(&left),
        last_seq: None,
    };
    moves::go_on(tx, *run_id, step, &[Status::RequiresAction.as_str()]).await?;
    Ok(Status::RequiresAction)
}

async fn go_on(tx: &Tx, run_id: Uuid, now: Timestamp) -> Result<Status> {
    queue::wake(tx, run_id, now).await?;
    let step =
        moves::Step { status: Status::InProgress.as_str(), required_action: None, last_seq: None };
    if !moves::go_on(tx, run_id, step, &sources(Status::InProgress)).await? {
        return Err(Error::internal(format!("the run {run_id} may not move to in_progress")));
    }
    Ok(Status::InProgress)
}

fn call_ids(action: &Value) -> HashSet<String> {
    let calls = action["tool_calls"].as_array().into_iter().flatten();
    calls.filter_map(|call| Some(call["id"].as_str()?.to_owned())).collect()
}

/// The action with only those calls that are still missing.
fn without(mut action: Value, missing: &HashSet<String>) -> Value {
    if let Some(calls) = action["tool_calls"].as_array_mut() {
        calls.retain(|call| call["id"].as_str().is_some_and(|id| missing.contains(id)));
    }
    json!({ "type": action["type"], "tool_calls": action["tool_calls"] })
}

fn parse(text: Option<&str>) -> Result<Value> {
    text.map_or(Ok(Value::Null), |text| serde_json::from_str(text).map_err(Error::internal))
}

fn not_waiting(run_id: Uuid, status: &str) -> Error {
    let id = ids::format(Kind::Run, run_id);
    let text = format!("run {id} is {status} and waits for no tool outputs");
    Error::new(Reason::RunNotWaiting, text).with("status", status)
}
