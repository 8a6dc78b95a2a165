//! A run is to stop. Asked for once, it always happens: at once when nobody drives the run, else
//! when its worker confirms it, or by force when the worker does not. Called by the services.

use uuid::Uuid;

use super::Engine;
use super::events::{Change, End};
use super::finish::{Concluded, Conclusion, conclude};
use super::journal::append;
use super::state::{Status, sources};
use crate::cache::Durable;
use crate::kernel::ids::{self, Kind};
use crate::kernel::{Error, Reason, Result, Scope, Timestamp, faults};
use crate::store::{Tx, moves, queue, runs};

/// What came of asking for a cancel.
#[derive(Debug)]
pub struct AskedCancel {
    run_id: Uuid,
    status: Status,
    done: Concluded,
    /// Who drives the run.
    worker: Option<Uuid>,
}

impl AskedCancel {
    /// The run.
    pub(super) fn run_id(&self) -> Uuid {
        self.run_id
    }
}

/// A run whose row is locked and says that it is to be cancelled.
#[derive(Debug)]
pub(super) struct Requested {
    run_id: Uuid,
    events: Vec<Durable>,
    /// Who drives it, and will confirm.
    worker: Option<Uuid>,
}

impl Engine {
    /// Cancels a run; the state that it is in now, `cancelling` or `cancelled`. Asking twice
    /// changes nothing.
    ///
    /// # Errors
    /// `run_not_found`; `run_not_cancellable` when the run has ended otherwise.
    pub async fn cancel(&self, scope: Scope, run_id: Uuid) -> Result<Status> {
        let now = self.now();
        let asked: AskedCancel = self
            .store()
            .tx("engine.cancel", move |tx| Box::pin(ask_cancel(tx, scope, run_id, now)))
            .await?;
        let status = asked.status;
        self.cancel_asked(asked);
        Ok(status)
    }

    /// Tells worker and followers of a cancel that was asked for, once that is committed.
    pub fn cancel_asked(&self, asked: AskedCancel) {
        faults::point("in_cancel");
        self.concluded(asked.run_id, asked.done);
        self.slots().cancel(asked.run_id);
        // A word that is lost is made up for by the worker's heartbeat and its next commit.
        if let Some(worker) = asked.worker {
            self.inner.bus.tell_cancel(worker, asked.run_id);
        }
    }
}

/// Asks for the cancel of a run, in a transaction of the caller's; when that is committed,
/// [`Engine::cancel_asked`] is called.
///
/// # Errors
/// `run_not_found`; `run_not_cancellable` when the run has ended otherwise.
pub async fn ask_cancel(
    tx: &Tx,
    scope: Scope,
    run_id: Uuid,
    now: Timestamp,
) -> Result<AskedCancel> {
    match request(tx, scope, run_id, now).await? {
        Some(requested) => complete(tx, requested, now).await,
        None => asked_before(tx, scope, run_id).await,
    }
}

/// Locks the run and says that it is to be cancelled; `None` when it has ended, or this was said
/// before.
pub(super) async fn request(
    tx: &Tx,
    scope: Scope,
    run_id: Uuid,
    now: Timestamp,
) -> Result<Option<Requested>> {
    let asked = queue::request_cancel(tx, scope, run_id, now).await?;
    let Some((seq, worker)) = asked else { return Ok(None) };
    let step = moves::Step {
        status: Status::Cancelling.as_str(),
        required_action: None,
        last_seq: Some(seq),
    };
    if !moves::go_on(tx, run_id, step, &sources(Status::Cancelling)).await? {
        return Err(Error::internal(format!("the run {run_id} may not move to cancelling")));
    }
    let draft = Change::to(run_id, Status::Cancelling).draft(Status::Cancelling.event())?;
    let events = append(tx, run_id, seq, &[draft], now).await?;
    Ok(Some(Requested { run_id, events, worker }))
}

/// Ends a run that is to be cancelled, unless a worker holds it.
pub(super) async fn complete(tx: &Tx, requested: Requested, now: Timestamp) -> Result<AskedCancel> {
    let Requested { run_id, mut events, worker } = requested;
    if worker.is_some() {
        let done = Concluded { events, ..Concluded::default() };
        return Ok(AskedCancel { run_id, status: Status::Cancelling, done, worker });
    }
    let mut last = force(tx, run_id, now).await?;
    events.extend(std::mem::take(&mut last.events));
    let done = Concluded { events, ..last };
    Ok(AskedCancel { run_id, status: Status::Cancelled, done, worker })
}

/// Ends a run whose cancel was asked for, whoever holds it. No events: it has ended.
pub(super) async fn force(tx: &Tx, run_id: Uuid, now: Timestamp) -> Result<Concluded> {
    let left = queue::remove_cancelled(tx, run_id).await?;
    let Some(left) = left else { return Ok(Concluded::default()) };
    let end = End::Cancelled { aborted_calls: Vec::new() };
    let last = Conclusion { drafts: &[], used: moves::Used::default(), end: &end };
    conclude(tx, run_id, left, last, now).await
}

async fn asked_before(tx: &Tx, scope: Scope, run_id: Uuid) -> Result<AskedCancel> {
    let place = moves::place(tx, scope, run_id).await?.ok_or_else(|| runs::not_found(run_id))?;
    match Status::parse(&place.status) {
        Some(status @ (Status::Cancelling | Status::Cancelled)) => {
            Ok(AskedCancel { run_id, status, done: Concluded::default(), worker: None })
        }
        _ => {
            let id = ids::format(Kind::Run, run_id);
            let text = format!("run {id} has already ended as {}", place.status);
            Err(Error::new(Reason::RunNotCancellable, text).with("status", place.status))
        }
    }
}
