//! Creates a run: finds the agent, checks the input and the parameters against it, and hands the
//! run to the engine. Nothing is written before everything is right.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use uuid::Uuid;

use super::{Events, Runs, convert, events, get, wait};
use crate::cache::{Doubt, EventId};
use crate::engine::{Interrupted, NewRun, OnLimit, OnSessionBusy, Prepared, RunLimits};
use crate::kernel::call::Changed;
use crate::kernel::caller::{Level, Reach};
use crate::kernel::plan::{Limits, Overrides};
use crate::kernel::spec::AgentSpec;
use crate::kernel::{Caller, Error, Reason, Result, Scope};
use crate::kernel::{ids, json, labels, parameters, text};
use crate::proto::runplane::v1 as pb;
use crate::store::sessions::Session;
use crate::store::{self, Tx};

/// Most bytes of the input, as JSON.
const INPUT_BYTES_MAX: usize = 262_144;
/// Most characters of a conversation's name.
const SESSION_CHARS_MAX: usize = 128;
/// What a key needs to create a run, and to cancel one.
const CREATES: &str = "runs:create";
const CANCELS: &str = "runs:write";

pub(super) async fn create(
    runs: &Runs,
    caller: &Caller,
    request: pb::CreateRunRequest,
    prefer: Option<u32>,
) -> Result<pb::Run> {
    let wait = wait::duration(request.wait, prefer)?;
    let wait = if request.background { Duration::ZERO } else { wait };
    let (scope, run) = begun(runs, caller, request).await?;
    if wait.is_zero() {
        // What was committed, whatever a worker has made of it since.
        return Ok(run);
    }
    match get::settled(runs, scope, get::id(&run.id)?, wait).await {
        // It ended so long ago that it was removed: what was answered then is the answer.
        Err(error) if error.reason == Reason::RunNotFound && caller.call.remembered.is_some() => {
            Ok(run)
        }
        settled => settled,
    }
}

pub(super) async fn stream(
    runs: &Runs,
    caller: &Caller,
    request: pb::CreateRunRequest,
) -> Result<Events> {
    let (scope, run) = begun(runs, caller, request).await?;
    events::follow(runs, (caller, scope), get::id(&run.id)?, EventId::default()).await
}

/// The run as it was committed, and whose it is: just created, or by the same call before.
async fn begun(
    runs: &Runs,
    caller: &Caller,
    request: pb::CreateRunRequest,
) -> Result<(Scope, pb::Run)> {
    let Some(run) = caller.call.remembered::<pb::Run>()? else {
        return start(runs, caller, request).await;
    };
    Ok((get::owner(runs, caller, "runs:create", get::id(&run.id)?).await?, run))
}

async fn start(
    runs: &Runs,
    caller: &Caller,
    request: pb::CreateRunRequest,
) -> Result<(Scope, pb::Run)> {
    let input = input(request.input, request.query)?;
    let metadata = labels::checked(request.metadata)?;
    let session_id = session(request.session_id)?;
    let (scope, (agent_id, version, spec)) =
        agent(runs, caller, &request.agent_id, request.version).await?;
    let on =
        (convert::on_limit(request.on_limit)?, convert::on_session_busy(request.on_session_busy)?);
    let limits = limits(runs, caller, scope, on).await?;
    let given = request.parameters.map(json::from_struct).unwrap_or_default();
    let parameters = parameters::fill(&spec.parameters, &given)?;
    let session = session_id.clone().map(|id| Session { scope, id });
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
        limits,
    };
    let mut row = convert::queued(scope, &new);
    let prepared = Arc::new(runs.engine.prepare(scope, new).await?);
    let created = prepared.created();
    row.id = created.run_id;
    row.created_at = created.created_at.0;
    row.expires_at = Some(created.expires_at.0);
    let run = convert::run(row, Vec::new(), runs.clock.now())?;
    // Also for a caller that goes away while the answer is on its way.
    let doubt = runs.engine.bus().doubts();
    let job = Arc::new(Job {
        prepared: Arc::clone(&prepared),
        caller: caller.clone(),
        session: session.map(|session| (session, runs.engine.session_runs_max())),
        doubt: doubt.clone(),
    });
    let changed = runs.store.change(caller, "create_run", move |tx| {
        let (job, run) = (Arc::clone(&job), run.clone());
        Box::pin(async move {
            let interrupted = job.write(tx).await?;
            let (id, version) = (run.agent_id.clone(), run.agent_version);
            Ok(Changed::new(run.id.clone(), run).after(&(&id, version))?.with(interrupted))
        })
    });
    let changed = changed.await?;
    runs.engine.created(&prepared, changed.more);
    doubt.resolve();
    Ok((scope, changed.answer))
}

/// What creates a run, and what became of others by it.
struct Job {
    prepared: Arc<Prepared>,
    caller: Caller,
    /// Its conversation, and how many runs of that it has to do with.
    session: Option<(Session, i64)>,
    /// Runs that it interrupts.
    doubt: Doubt,
}

impl Job {
    async fn write(&self, tx: &Tx) -> Result<Vec<Interrupted>> {
        let interrupted = self.prepared.write(tx).await?;
        let ids: Vec<Uuid> = interrupted.iter().map(Interrupted::run_id).collect();
        ids.iter().for_each(|run_id| self.doubt.about(*run_id));
        self.check(tx, &ids).await?;
        let now = self.prepared.created().created_at;
        for id in ids {
            let (what, id) = (("RunsService/CancelRun", CANCELS), ids::format(ids::Kind::Run, id));
            store::audit::besides(tx, &self.caller, what, &id, now).await?;
        }
        Ok(interrupted)
    }

    /// Whoever creates a run only cancels others that it could cancel by itself, and joins no
    /// conversation with runs that it does not reach: its run would be told what they have said.
    /// Nobody else joins it before the transaction ends.
    async fn check(&self, tx: &Tx, interrupted: &[Uuid]) -> Result<()> {
        let Some((session, most)) = &self.session else { return Ok(()) };
        let caller = &self.caller;
        if !interrupted.is_empty() {
            let may = caller.may(CANCELS);
            if !may || !store::reach::all(tx, caller, CANCELS, interrupted).await? {
                return Err(narrow(CANCELS));
            }
        }
        // Whoever reaches all of the project is asked nothing.
        if caller.level == Level::Project && caller.reach(CREATES) == Some(Reach::All) {
            return Ok(());
        }
        let around = store::sessions::around(tx, session, *most).await?;
        match store::reach::all(tx, caller, CREATES, &around).await? {
            true => Ok(()),
            false => Err(narrow(CREATES)),
        }
    }
}

/// Says no more of the session than that.
fn narrow(needs: &'static str) -> Error {
    let message = format!("the session has runs for which this key lacks {needs}");
    Error::new(Reason::InsufficientScope, message).with("scope", needs)
}

/// What the run may take: a project's caps are its own plan's, whoever calls.
async fn limits(
    runs: &Runs,
    caller: &Caller,
    scope: Scope,
    on: (OnLimit, OnSessionBusy),
) -> Result<RunLimits> {
    if caller.level == Level::Project {
        return Ok(RunLimits::of(&caller.limits, on));
    }
    let tenant = store::tenants::of_project(runs.store.read(), scope.project).await?;
    let tenant = tenant.ok_or_else(|| Error::internal("an agent without a project"))?;
    let own = Overrides::default();
    let project = runs.plans.limits(&tenant.plan, &tenant.overrides, &own);
    let Limits { key_concurrent_runs, key_queued_runs, key_quota, .. } = *caller.limits;
    let all = project.queued_runs;
    let queued_runs = key_queued_runs.map_or(all, |own| own.min(all));
    let limits = Limits { key_concurrent_runs, queued_runs, key_quota, ..project };
    Ok(RunLimits::of(&limits, on))
}

/// The agent's version that the run is pinned to.
async fn agent(
    runs: &Runs,
    caller: &Caller,
    id: &str,
    version: Option<i32>,
) -> Result<(Scope, (Uuid, i32, AgentSpec))> {
    if id.is_empty() {
        return Err(Error::missing("agent_id"));
    }
    let agent_id = ids::parse(ids::Kind::Agent, id).ok_or_else(|| no_agent(id))?;
    let scope = store::reach::agent(runs.store.read(), caller, "runs:create", agent_id).await?;
    let row = store::agents::get(runs.store.read(), scope, agent_id).await?;
    if !row.published && !caller.may_on("agents:write", agent_id) {
        return Err(no_agent(id));
    }
    let (version, spec) = match version.filter(|version| *version != row.version) {
        None => (row.version, row.spec),
        Some(version) => {
            let which = (agent_id, version);
            let kept = store::agents::get_version(runs.store.read(), scope, which).await;
            let missing = |_| Error::field("version", format!("{id} has no version {version}"));
            (version, kept.map_err(missing)?.spec)
        }
    };
    let spec = serde_json::from_str(&spec).map_err(Error::internal)?;
    Ok((scope, (agent_id, version, spec)))
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
