//! Creates a run: finds the agent, checks the input and the parameters against it, and hands the
//! run to the engine. Nothing is written before everything is right.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use uuid::Uuid;

use super::{Events, Runs, convert, events, get, wait};
use crate::cache::EventId;
use crate::engine::{NewRun, RunLimits};
use crate::kernel::spec::AgentSpec;
use crate::kernel::{Caller, Error, Reason, Result, ids, json, labels, parameters, text};
use crate::proto::runplane::v1 as pb;
use crate::store::{self, tables::run};

/// Most bytes of the input, as JSON.
const INPUT_BYTES_MAX: usize = 262_144;
/// Most characters of a conversation's name.
const SESSION_CHARS_MAX: usize = 128;

pub(super) async fn create(
    runs: &Runs,
    caller: &Caller,
    request: pb::CreateRunRequest,
    prefer: Option<u32>,
) -> Result<pb::Run> {
    let wait = wait::duration(request.wait, prefer)?;
    let wait = if request.background { Duration::ZERO } else { wait };
    let row = start(runs, caller, request).await?;
    if wait.is_zero() {
        // What was committed, whatever a worker has made of it since.
        return convert::run(row, Vec::new(), runs.clock.now());
    }
    get::settled(runs, caller.scope, row.id, wait).await
}

pub(super) async fn stream(
    runs: &Runs,
    caller: &Caller,
    request: pb::CreateRunRequest,
) -> Result<Events> {
    let row = start(runs, caller, request).await?;
    events::follow(runs, caller.scope, row.id, EventId::default()).await
}

/// Creates the run; its row as it was committed.
async fn start(runs: &Runs, caller: &Caller, request: pb::CreateRunRequest) -> Result<run::Model> {
    let input = input(request.input, request.query)?;
    let metadata = labels::checked(request.metadata)?;
    let session_id = session(request.session_id)?;
    let (agent_id, version, spec) = agent(runs, caller, &request.agent_id, request.version).await?;
    let given = request.parameters.map(json::from_struct).unwrap_or_default();
    let parameters = parameters::fill(&spec.parameters, &given)?;
    let new = NewRun {
        agent_id,
        agent_version: version,
        spec: Arc::new(spec),
        input,
        parameters,
        metadata: metadata.into_iter().map(|(name, text)| (name, Value::String(text))).collect(),
        session_id,
        key_id: Some(caller.key_id),
        timeout: None,
        limits: RunLimits::of(&caller.limits, convert::on_limit(request.on_limit)?),
    };
    let mut row = convert::queued(caller.scope, &new);
    let created = runs.engine.create(caller.scope, new).await?;
    row.id = created.run_id;
    row.created_at = created.created_at.0;
    row.expires_at = Some(created.expires_at.0);
    Ok(row)
}

/// The agent's version that the run is pinned to.
async fn agent(
    runs: &Runs,
    caller: &Caller,
    id: &str,
    version: Option<i32>,
) -> Result<(Uuid, i32, AgentSpec)> {
    if id.is_empty() {
        return Err(Error::missing("agent_id"));
    }
    let agent_id = ids::parse(ids::Kind::Agent, id).ok_or_else(|| no_agent(id))?;
    let row = store::agents::get(runs.store.read(), caller.scope, agent_id).await?;
    if !row.published && !caller.may_on("agents:write", agent_id) {
        return Err(no_agent(id));
    }
    let (version, spec) = match version.filter(|version| *version != row.version) {
        None => (row.version, row.spec),
        Some(version) => {
            let which = (agent_id, version);
            let kept = store::agents::get_version(runs.store.read(), caller.scope, which).await;
            let missing = |_| Error::field("version", format!("{id} has no version {version}"));
            (version, kept.map_err(missing)?.spec)
        }
    };
    let spec = serde_json::from_str(&spec).map_err(Error::internal)?;
    Ok((agent_id, version, spec))
}

fn input(input: Option<prost_types::Value>, query: Option<String>) -> Result<Value> {
    let input = match (input.map(json::from_value), query) {
        (Some(_), Some(_)) => {
            let message = "query and input say the same; give one of them";
            return Err(Error::field("query", message));
        }
        (Some(input), None) => input,
        (None, Some(query)) => Value::String(query),
        (None, None) => Value::Null,
    };
    let bytes = input.to_string().len();
    if bytes > INPUT_BYTES_MAX {
        let message = format!("input has {bytes} bytes, at most {INPUT_BYTES_MAX} are allowed");
        return Err(Error::field("input", message).with("limit", INPUT_BYTES_MAX.to_string()));
    }
    Ok(input)
}

fn session(session_id: Option<String>) -> Result<Option<String>> {
    let Some(session_id) = session_id else { return Ok(None) };
    text::storable("session_id", &session_id)?;
    if (1..=SESSION_CHARS_MAX).contains(&session_id.chars().count()) {
        return Ok(Some(session_id));
    }
    let message = format!("session_id must have 1 to {SESSION_CHARS_MAX} characters");
    Err(Error::field("session_id", message).with("limit", SESSION_CHARS_MAX.to_string()))
}

fn no_agent(id: &str) -> Error {
    let shown: String = id.chars().take(64).collect();
    Error::new(Reason::AgentNotFound, format!("agent {shown} not found or not published"))
}
