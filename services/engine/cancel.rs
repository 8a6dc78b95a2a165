//! A run is to stop. Asked for once, it always happens: at once when nobody drives the run, else
//! when its worker confirms it, or by force when the worker does not. Called by the services.

use uuid::Uuid;

use super::Engine;
use super::events::{Change, End};
use super::finish::{Conclusion, conclude};
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
    events: Vec<Durable>,
    /// Who drives the run.
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
        self.publish(asked.run_id, asked.events);
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
    let Some((seq, worker)) = queue::request_cancel(tx, scope, run_id, now).await? else {
        return asked_before(tx, scope, run_id).await;
    };
    let step = moves::Step {
        status: Status::Cancelling.as_str(),
        required_action: None,
        last_seq: Some(seq),
    };
    if !moves::go_on(tx, run_id, step, &sources(Status::Cancelling)).await? {
        return Err(Error::internal(format!("the run {run_id} may not move to cancelling")));
    }
    let draft = Change::to(run_id, Status::Cancelling).draft(Status::Cancelling.event())?;
    let mut events = append(tx, run_id, seq, &[draft], now).await?;
    if worker.is_some() {
        return Ok(AskedCancel { run_id, status: Status::Cancelling, events, worker });
    }
    events.extend(force(tx, run_id, now).await?);
    Ok(AskedCancel { run_id, status: Status::Cancelled, events, worker })
}

/// Ends a run whose cancel was asked for, whoever holds it. No events: it has ended.
pub(super) async fn force(tx: &Tx, run_id: Uuid, now: Timestamp) -> Result<Vec<Durable>> {
    let Some(left) = queue::remove_cancelled(tx, run_id).await? else { return Ok(Vec::new()) };
    let end = End::Cancelled { aborted_calls: Vec::new() };
    let last = Conclusion { drafts: &[], used: moves::Used::default(), end: &end };
    conclude(tx, run_id, left, last, now).await
}

async fn asked_before(tx: &Tx, scope: Scope, run_id: Uuid) -> Result<AskedCancel> {
    let place = moves::place(tx, scope, run_id).await?.ok_or_else(|| runs::not_found(run_id))?;
    match Status::parse(&place.status) {
        Some(status @ (Status::Cancelling | Status::Cancelled)) => {
            Ok(AskedCancel { run_id, status, events: Vec::new(), worker: None })
        }
        _ => {
            let id = ids::format(Kind::Run, run_id);
            let text = format!("run {id} has already ended as {}", place.status);
            Err(Error::new(Reason::RunNotCancellable, text).with("status", place.status))
        }
    }
}
