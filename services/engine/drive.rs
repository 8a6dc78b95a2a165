//! One claim of one run, driven to its outcome: calls the function that drives runs, watches over
//! it, and settles what becomes of the run. Called by `worker.rs` only, as a task.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::attempt::{Attempt, Commit, Drive, Journal, Outcome};
use super::claim::Taken;
use super::events::End;
use super::journal::Log;
use super::slots::{Slot, Stop};
use super::{Engine, complain, traced};
use crate::kernel::{Result, Timestamp, text};
use crate::store::queue::Release;

/// How driving ended.
enum Ended {
    /// By itself.
    Outcome(Box<Outcome>),
    /// By a panic, or before it began.
    Broken,
    /// The run's time is over.
    Overdue,
    /// From outside.
    Stopped(Stop),
}

/// A claimed run with its slot.
pub(super) struct Driver {
    engine: Engine,
    taken: Taken,
    log: Arc<Log>,
    stop: watch::Receiver<Stop>,
    deadline: Timestamp,
}

impl Driver {
    /// Takes a slot for the run, and tells followers of the claim.
    pub(super) fn new(engine: &Engine, taken: Taken, shutdown: CancellationToken) -> Self {
        let (lease, cancel) = (taken.claimed.lease, CancellationToken::new());
        let (sender, stop) = watch::channel(Stop::No);
        let log = Log::new(engine, lease, taken.event.seq, cancel.clone(), shutdown);
        log.committed(std::slice::from_ref(&taken.event));
        let deadline = taken.run.deadline;
        let slot = Slot { epoch: lease.epoch, deadline, cancel, stop: sender };
        engine.slots().put(lease.run_id, slot);
        engine.meters().claimed(traced::waited(&taken, engine.now()));
        Self { engine: engine.clone(), taken, log: Arc::new(log), stop, deadline }
    }

    /// Drives the run, and settles it.
    pub(super) async fn run(self, drive: Drive) {
        let span = traced::attempt(&self.engine.inner.attempts, &self.taken);
        self.work(drive).instrument(span).await;
    }

    async fn work(mut self, drive: Drive) {
        let ended = self.drive(drive).await;
        let lease = self.log.lease;
        if let Err(error) = self.settle(ended).await {
            complain("settle", Some(lease.run_id), &error);
            // When that fails too, the heartbeat finds the lease.
            if self.log.release(Release::Stalled).await.is_err() {
                self.engine.slots().owe(lease);
            }
        }
        let full = self.engine.slots().count() >= self.engine.config().concurrent_runs;
        self.engine.slots().remove(lease);
        self.engine.inner.bus.retire(lease.run_id);
        // There is room again, here or in the run's lane.
        if full || self.engine.slots().holds_back(self.taken.run.scope) {
            self.engine.ready();
        }
    }

    async fn drive(&mut self, drive: Drive) -> Ended {
        let most = self.engine.config().stalls_max;
        if self.taken.claimed.stalls > most + 1 {
            let text = format!("no progress in {} attempts", self.taken.claimed.stalls - 1);
            let failed = Outcome::Failed(Commit::default(), "run_stalled".to_owned(), text);
            return Ended::Outcome(Box::new(failed));
        }
        if self.engine.now() >= self.deadline {
            return Ended::Overdue;
        }
        let attempt = match self.attempt().await {
            Ok(attempt) => attempt,
            Err(error) => {
                complain("begin", Some(self.log.lease.run_id), &error);
                return Ended::Broken;
            }
        };
        let log = Arc::clone(&self.log);
        let driving = AssertUnwindSafe(async move { drive(attempt).await }).catch_unwind();
        tokio::select! {
            biased;
            stop = stopped(&mut self.stop) => match stop {
                Stop::Overdue => Ended::Overdue,
                stop => Ended::Stopped(stop),
            },
            outcome = driving => outcome.map_or_else(
                |_| {
                    tracing::error!(run_id = %log.lease.run_id, "driving the run panicked");
                    Ended::Broken
                },
                |outcome| Ended::Outcome(Box::new(outcome)),
            ),
            () = log.live.run() => Ended::Broken,
        }
    }

    async fn attempt(&mut self) -> Result<Attempt> {
        let run = self.engine.pinned(&self.taken.run).instrument(traced::claim()).await?;
        traced::pinned(&run);
        Ok(Attempt {
            run,
            number: self.taken.run.attempt,
            epoch: self.log.lease.epoch,
            history: std::mem::take(&mut self.taken.history),
            inbox: std::mem::take(&mut self.taken.inbox),
            cancel: self.log.cancel.clone(),
            journal: Arc::clone(&self.log) as Arc<dyn Journal>,
        })
    }

    async fn settle(&self, ended: Ended) -> Result<()> {
        let log = &self.log;
        let outcome = match ended {
            Ended::Outcome(outcome) => *outcome,
            Ended::Overdue => Outcome::Incomplete(Commit::default(), "timeout", None),
            Ended::Stopped(Stop::Shutdown) => return log.release(Release::Orderly).await,
            Ended::Stopped(_) => return Ok(()),
            Ended::Broken => return log.release(Release::Stalled).await,
        };
        match outcome {
            Outcome::Completed(commit, result) => log.end(commit, End::Completed(result)).await,
            Outcome::Failed(commit, code, message) => {
                log.end(commit, End::Failed { code, message: text::stored(message) }).await
            }
            Outcome::Incomplete(commit, reason, output) => {
                log.end(commit, End::Incomplete { reason: reason.to_owned(), output }).await
            }
            Outcome::Park(commit, pending) => log.park(commit, pending, self.deadline).await,
            Outcome::Cancelled(aborted_calls) => {
                log.end(Commit::default(), End::Cancelled { aborted_calls }).await
            }
            Outcome::Stopped if log.shutdown.is_cancelled() => log.release(Release::Orderly).await,
            Outcome::Stopped => log.release(Release::Stalled).await,
        }
    }
}

async fn stopped(stop: &mut watch::Receiver<Stop>) -> Stop {
    stop.wait_for(|stop| *stop != Stop::No).await.map_or(Stop::Lost, |stop| *stop)
}
