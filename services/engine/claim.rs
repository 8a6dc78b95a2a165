//! A worker takes runs: lanes in turn, caps exact, each claim with a new epoch and an event that
//! tells of it. One transaction for as many runs as there is room for. Called by `worker.rs` only.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;
use uuid::Uuid;

use super::Engine;
use super::attempt::{Pinned, Recorded, StepKind, StepStatus, Submitted};
use super::events::{Change, Draft};
use super::state::{CLAIMABLE, Status};
use crate::cache::Durable;
use crate::kernel::spec::AgentSpec;
use crate::kernel::{Error, Result, Scope, Timestamp, faults};
use crate::store::claims::{self, Claimed, Claimer};
use crate::store::moves::Started;
use crate::store::{Tx, agents, events, inbox, lanes, moves, queue, sessions, steps, workers};

/// Version of the journal that this program writes, and the newest that it can read. Whoever
/// changes what stands in it so that older programs misread it adds one.
pub(super) const JOURNAL_VERSION: i32 = 1;

/// What a round of claiming found.
pub(super) struct Round {
    pub(super) taken: Vec<Taken>,
    /// More runs are ready than were taken.
    pub(super) more: bool,
    /// The lanes that were looked into, and whether each may have runs that its cap held back.
    pub(super) lanes: Vec<(Scope, bool)>,
}

/// A run that was taken.
#[derive(Clone)]
pub(super) struct Taken {
    pub(super) run: Started,
    pub(super) claimed: Claimed,
    pub(super) history: Vec<Recorded>,
    pub(super) inbox: HashMap<String, Submitted>,
    pub(super) event: Durable,
}

impl Engine {
    /// Takes up to `most` runs for the worker; `None` when the worker has been reaped.
    pub(super) async fn claim(&self, worker: Uuid, most: usize) -> Result<Option<Round>> {
        let claimer = Claimer { worker, version: JOURNAL_VERSION, now: self.now() };
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let claim =
            self.store().tx("engine.claim", move |tx| Box::pin(claim_in(tx, claimer, most)));
        let round = claim.await?;
        if round.as_ref().is_some_and(|round| !round.taken.is_empty()) {
            faults::point("after_claim");
        }
        Ok(round)
    }

    /// What the loop is told of a run that was taken.
    pub(super) async fn pinned(&self, run: &Started) -> Result<Pinned> {
        let (spec, earlier) = (self.spec(run).await?, self.earlier(run).await?);
        Ok(Pinned {
            run_id: run.run_id,
            scope: run.scope,
            agent_id: run.agent_id,
            session_id: run.session.as_ref().map(|(session, _)| session.id.clone()),
            input: parse(run.input.as_deref())?,
            parameters: serde_json::from_str(&run.parameters).map_err(Error::internal)?,
            created_at: run.created_at,
            deadline: run.deadline,
            bytes_max: self.config().run_bytes_max,
            spec,
            earlier,
        })
    }

    async fn spec(&self, run: &Started) -> Result<Arc<AgentSpec>> {
        let key = (run.agent_id, run.agent_version);
        let known = self.inner.specs.get(&key).await;
        self.meters().looked_up("specs", known.is_some());
        if let Some(spec) = known {
            return Ok(spec);
        }
        let version = agents::pinned(self.store().read(), run.scope, key).await?;
        let spec = Arc::new(agents::spec(&version.spec)?);
        self.inner.specs.insert(key, Arc::clone(&spec)).await;
        Ok(spec)
    }
}

async fn claim_in(tx: &Tx, claimer: Claimer, most: i64) -> Result<Option<Round>> {
    if !workers::hold(tx, claimer.worker).await? {
        return Ok(None);
    }
    let now = claimer.now;
    let (claimed, more, lanes) = take(tx, claimer, most).await?;
    let ids: Vec<Uuid> = claimed.iter().map(|claimed| claimed.lease.run_id).collect();
    let from = CLAIMABLE.map(Status::as_str);
    let started = moves::start(tx, &ids, Status::InProgress.as_str(), &from, now).await?;
    let mut by_run: HashMap<Uuid, Started> =
        started.into_iter().map(|run| (run.run_id, run)).collect();
    let mut taken = Vec::with_capacity(claimed.len());
    for claimed in claimed {
        let Some(run) = by_run.remove(&claimed.lease.run_id) else {
            // It would come up again and again, and stop all others.
            tracing::error!(run_id = %claimed.lease.run_id, "a run in the queue has ended");
            if let Some(session) = queue::leave(tx, claimed.lease).await?.and_then(|l| l.heads) {
                sessions::go_on(tx, &session, now).await?;
            }
            continue;
        };
        taken.push(open(tx, run, claimed, now).await?);
    }
    let rows: Vec<_> = taken.iter().map(row).collect();
    events::append(tx, &rows, now).await?;
    Ok(Some(Round { taken, more, lanes }))
}

fn row(taken: &Taken) -> events::New<'_> {
    let Durable { seq, r#type, data, .. } = &taken.event;
    events::New { run_id: taken.run.run_id, seq: *seq, r#type, data }
}

/// Leases runs, a fair share to each lane.
async fn take(
    tx: &Tx,
    claimer: Claimer,
    most: i64,
) -> Result<(Vec<Claimed>, bool, Vec<(Scope, bool)>)> {
    let lanes = lanes::ready(tx, claimer, most).await?;
    let (mut all, mut more, mut looked) = (Vec::new(), false, Vec::with_capacity(lanes.len()));
    let count = i64::try_from(lanes.len()).unwrap_or(i64::MAX).max(1);
    let share = (most / count).max(1);
    let mut left = most;
    for lane in lanes {
        let room = lane.cap - queue::leased(tx, lane.scope).await?;
        let most = room.min(share).min(left);
        if most <= 0 {
            continue;
        }
        let claimed = if lane.capped {
            choose(tx, claimer, lane.scope, most).await?
        } else {
            claims::claim(tx, claimer, lane, most).await?
        };
        lanes::served(tx, lane.scope, claimer.now).await?;
        let got = i64::try_from(claimed.len()).unwrap_or(most);
        more |= got == most && most < room;
        // What a key's own cap held back is not seen here.
        looked.push((lane.scope, got == room || lane.capped));
        left -= got;
        all.extend(claimed);
    }
    Ok((all, more, looked))
}

/// Leases up to `most` runs of a lane in which runs are ready whose keys have caps of their own: of
/// each key as many as it has room for, in the order that all of them have together.
async fn choose(tx: &Tx, claimer: Claimer, scope: Scope, most: i64) -> Result<Vec<Claimed>> {
    let mut candidates = claims::first(tx, claimer, scope, None, most).await?;
    for key in lanes::capped(tx, claimer, scope, most).await? {
        // Asked again, for now the key is held.
        let room = key.cap - queue::leased_of_key(tx, key.key_id).await?;
        if room > 0 {
            let most = most.min(room);
            candidates.extend(claims::first(tx, claimer, scope, Some(key.key_id), most).await?);
        }
    }
    candidates.sort_unstable();
    candidates.truncate(usize::try_from(most).unwrap_or(usize::MAX));
    let runs: Vec<Uuid> = candidates.iter().map(|candidate| candidate.run_id).collect();
    claims::lease(tx, claimer, &runs).await
}

/// Reads what a claim goes on with, and says which event tells of it.
async fn open(tx: &Tx, run: Started, claimed: Claimed, now: Timestamp) -> Result<Taken> {
    let (run_id, seq) = (run.run_id, claimed.seq);
    let (mut history, mut inbox) = (Vec::new(), HashMap::new());
    let change = Change::to(run_id, Status::InProgress).attempt(run.attempt);
    let mut draft = change.draft(Status::InProgress.event())?;
    if run.attempt > 1 {
        let rows = steps::list(tx, run_id).await?;
        history = rows.into_iter().map(recorded).collect::<Result<_>>()?;
        for row in inbox::list(tx, run_id).await? {
            inbox.insert(row.key, serde_json::from_str(&row.payload).map_err(Error::internal)?);
        }
        // A submitted output leaves no event of its own: after a wait, the wait is the last that
        // was heard of the run.
        let last = events::type_before(tx, run_id, seq).await?;
        if last.as_deref() != Some(Status::RequiresAction.event()) {
            draft = change.discards(discarded(&history)).draft("run.resumed")?;
        }
    }
    let Draft { r#type, data } = draft;
    let event = Durable { seq, r#type, data, at: now };
    Ok(Taken { run, claimed, history, inbox, event })
}

/// The message whose text was streamed, but never committed: the request of its model call names
/// it.
fn discarded(history: &[Recorded]) -> Option<String> {
    let begun = |r: &&Recorded| r.kind == StepKind::Llm && r.status == StepStatus::Started;
    let step = history.iter().rev().find(begun)?;
    Some(step.request.get("message_id")?.as_str()?.to_owned())
}

fn recorded(row: steps::Row) -> Result<Recorded> {
    let kind = match row.kind.as_str() {
        "llm" => StepKind::Llm,
        "tool" => StepKind::Tool,
        other => return Err(Error::internal(format!("a step has the kind {other}"))),
    };
    let status = match row.status {
        0 => StepStatus::Started,
        1 => StepStatus::Ok,
        2 => StepStatus::Error,
        _ => StepStatus::Unknown,
    };
    let (request, result) = (parse(row.request.as_deref())?, parse(row.result.as_deref())?);
    let steps::Row { step, call, attempt, .. } = row;
    Ok(Recorded { step, call, kind, status, attempt, request, result })
}

fn parse(text: Option<&str>) -> Result<Value> {
    text.map_or(Ok(Value::Null), |text| serde_json::from_str(text).map_err(Error::internal))
}
