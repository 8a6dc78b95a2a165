//! A claim ends: the run ends, waits for its caller, or is given back. Its last commit goes into
//! the same transaction. Called by `worker.rs`; `conclude` also by `cancel.rs` and `sweep.rs`, for
//! runs that nobody drives.

use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::admit::add_tokens;
use super::attempt::{Commit, PendingCall};
use super::events::{Change, Draft, End, RequiredAction};
use super::journal::{Entry, Log, append, insist};
use super::state::{Status, sources};
use super::traced;
use crate::cache::Durable;
use crate::kernel::{Error, Result, Timestamp, faults};
use crate::store::queue::{Lease, Passed, Release};
use crate::store::{Tx, moves, queue, sessions, steps};

/// What is to become of a claimed run.
#[derive(Debug, Clone)]
enum Fate {
    End(End),
    /// Waits until then for these.
    Park(Timestamp, Vec<PendingCall>),
}

/// What came of it.
enum Settled {
    /// The run was no longer ours.
    Fenced,
    /// No cancel was asked for, after all.
    NotCancelled,
    /// Done.
    Done(Concluded),
}

/// What was committed of a run's end.
#[derive(Debug, Default)]
pub(super) struct Concluded {
    /// Its last events.
    pub(super) events: Vec<Durable>,
    /// Another run of its session goes now.
    pub(super) follows: bool,
    /// The state that the run has ended in, and how long it took; `None`: it has not.
    pub(super) ended: Option<(Status, Duration)>,
}

impl Log {
    /// Ends the run.
    pub(super) async fn end(&self, commit: Commit, end: End) -> Result<()> {
        self.settle(commit, Fate::End(end)).await
    }

    /// Lets the run wait for its caller, no longer than `deadline`.
    pub(super) async fn park(
        &self,
        commit: Commit,
        pending: Vec<PendingCall>,
        deadline: Timestamp,
    ) -> Result<()> {
        let until = pending.iter().map(|call| call.deadline).min().unwrap_or(deadline);
        self.settle(commit, Fate::Park(until.min(deadline), pending)).await
    }

    /// Gives the run back.
    pub(super) async fn release(&self, how: Release) -> Result<()> {
        let (lease, now) = (self.lease, self.engine.now());
        self.engine
            .store()
            .tx("engine.release", move |tx| Box::pin(queue::release(tx, lease, how, now)))
            .await?;
        if self.shutdown.is_cancelled() {
            faults::point("in_drain");
        }
        self.engine.ready();
        Ok(())
    }

    async fn settle(&self, mut commit: Commit, fate: Fate) -> Result<()> {
        commit.intents.clear();
        let entry = Arc::new(self.entry(commit)?);
        let (lease, now, fate) = (self.lease, self.engine.now(), Arc::new(fate));
        let ends = matches!(*fate, Fate::End(_));
        if ends {
            faults::point("before_finish");
        }
        let settled = insist(|_| {
            let (entry, fate) = (Arc::clone(&entry), Arc::clone(&fate));
            self.engine.store().tx("engine.finish", move |tx| {
                let (entry, fate) = (Arc::clone(&entry), Arc::clone(&fate));
                Box::pin(async move { settle_in(tx, lease, &entry, (&fate, now)).await })
            })
        });
        match settled.await? {
            Settled::Done(done) => {
                faults::point(if ends { "after_finish_before_publish" } else { "in_park" });
                self.committed(&done.events);
                self.engine.measure(&done);
                traced::settled(&done);
                self.engine.woken(done.follows);
            }
            Settled::NotCancelled => self.release(Release::Orderly).await?,
            // Lost, or done by a try whose answer was lost: followers read it in the journal.
            Settled::Fenced => self.engine.bus().forget_picture(self.lease.run_id),
        }
        Ok(())
    }
}

async fn settle_in(
    tx: &Tx,
    lease: Lease,
    entry: &Entry,
    (fate, now): (&Fate, Timestamp),
) -> Result<Settled> {
    let writer = steps::Writer { run_id: lease.run_id, epoch: lease.epoch, now };
    match fate {
        Fate::Park(until, pending) => {
            let new = i64::try_from(entry.drafts.len() + 1).unwrap_or(i64::MAX);
            let Some(passed) = queue::pass(tx, lease, new, true).await? else {
                return Ok(Settled::Fenced);
            };
            if !passed.cancel_requested {
                entry.end_steps(tx, writer).await?;
                let first = passed.next_seq - new;
                return park(tx, lease, entry, (first, *until, pending, now)).await;
            }
            queue::pass(tx, lease, -new, true).await?;
        }
        Fate::End(End::Cancelled { .. }) => match queue::pass(tx, lease, 0, false).await? {
            None => return Ok(Settled::Fenced),
            Some(passed) if !passed.cancel_requested => return Ok(Settled::NotCancelled),
            Some(_) => {}
        },
        Fate::End(_) => {}
    }
    let Some(passed) = queue::leave(tx, lease).await? else { return Ok(Settled::Fenced) };
    entry.end_steps(tx, writer).await?;
    // Once a cancel was asked for, there is no other end.
    let end = match fate {
        Fate::End(end @ End::Cancelled { .. }) => end.clone(),
        Fate::End(end) if !passed.cancel_requested => end.clone(),
        _ => End::Cancelled { aborted_calls: Vec::new() },
    };
    let last = Conclusion { drafts: &entry.drafts, used: entry.used, end: &end };
    Ok(Settled::Done(conclude(tx, lease.run_id, passed, last, now).await?))
}

async fn park(
    tx: &Tx,
    lease: Lease,
    entry: &Entry,
    (first, until, pending, now): (i64, Timestamp, &[PendingCall], Timestamp),
) -> Result<Settled> {
    let run_id = lease.run_id;
    queue::park(tx, lease, until).await?;
    let action = RequiredAction::new(pending);
    let text = serde_json::to_string(&action).map_err(Error::internal)?;
    let change = Change::to(run_id, Status::RequiresAction).requires(action);
    let mut drafts = entry.drafts.clone();
    drafts.push(change.draft(Status::RequiresAction.event())?);
    let events = append(tx, run_id, first, &drafts, now).await?;
    let last_seq = events.last().map_or(first, |event| event.seq);
    if !entry.used.is_nothing() {
        moves::note(tx, run_id, entry.used, last_seq).await?;
    }
    let step = moves::Step {
        status: Status::RequiresAction.as_str(),
        required_action: Some(&text),
        last_seq: Some(last_seq),
    };
    must(moves::go_on(tx, run_id, step, &sources(Status::RequiresAction)).await?)?;
    Ok(Settled::Done(Concluded { events, follows: false, ended: None }))
}

/// The last that is to be said of a run.
#[derive(Clone, Copy)]
pub(super) struct Conclusion<'a> {
    /// Events before the terminal one.
    pub(super) drafts: &'a [Draft],
    pub(super) used: moves::Used,
    pub(super) end: &'a End,
}

/// Ends a run whose queue row is gone, in the same transaction, and lets the next one of its
/// session go. The session's turns are taken after every row of the run, and before its usage.
pub(super) async fn conclude(
    tx: &Tx,
    run_id: Uuid,
    left: Passed,
    last: Conclusion<'_>,
    now: Timestamp,
) -> Result<Concluded> {
    let Conclusion { drafts, used, end } = last;
    let seq = left.next_seq;
    let error = match end {
        End::Failed { code, message } => Some((code.clone(), message.clone())),
        _ => None,
    };
    let ending = moves::Ending {
        status: end.status().as_str(),
        output: end.output().map(|output| output.to_string()),
        error,
        incomplete_reason: end.incomplete_reason().map(str::to_owned),
        last_seq: seq + i64::try_from(drafts.len()).unwrap_or(i64::MAX),
    };
    let from = sources(end.status());
    let total = moves::end(tx, run_id, ending, used, (&from, now)).await?;
    let total = total.ok_or_else(|| unlawful(run_id, end.status()))?;
    let latency_ms = now.ms_since(total.created_at);
    let change = Change::ended(run_id, end, total.used.into(), latency_ms);
    let mut all = drafts.to_vec();
    all.push(change.draft(end.status().event())?);
    let events = append(tx, run_id, seq, &all, now).await?;
    let follows = match &left.heads {
        Some(session) => sessions::go_on(tx, session, now).await?,
        None => false,
    };
    if left.metered {
        add_tokens(tx, &total).await?;
    }
    let took = Duration::from_millis(u64::try_from(latency_ms).unwrap_or(0));
    Ok(Concluded { events, follows, ended: Some((end.status(), took)) })
}

fn must(moved: bool) -> Result<()> {
    if moved { Ok(()) } else { Err(Error::internal("a run may not move to requires_action")) }
}

fn unlawful(run_id: Uuid, to: Status) -> Error {
    Error::internal(format!("the run {run_id} may not move to {}", to.as_str()))
}
