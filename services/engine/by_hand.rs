//! A worker that a test moves step by step: the same claims, commits, ends and sweeps as
//! `worker.rs` and `drive.rs` make of their own accord, one at a time. Only builds with the feature
//! `faults` have it. Decides nothing itself.

use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::Engine;
use super::attempt::{Commit, Journal, PendingCall, Stopped};
use super::claim::{JOURNAL_VERSION, Taken};
use super::events::End;
use super::journal::Log;
use super::reap::reap;
use crate::kernel::{Result, Timestamp, ids};
use crate::store::queue::{Lease, Release};
use crate::store::{queue, workers};

/// A worker without a will of its own.
#[derive(Clone)]
pub struct Hand {
    engine: Engine,
    id: Uuid,
}

/// A run that it has taken.
pub struct Held {
    log: Log,
    deadline: Timestamp,
}

impl Engine {
    /// A worker that does nothing by itself.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn by_hand(&self) -> Result<Hand> {
        let (id, now) = (ids::fresh(self.now()), self.now());
        let until = now.plus(self.config().lease());
        let register = self.store().tx("engine.register", move |tx| {
            Box::pin(async move { workers::register(tx, id, JOURNAL_VERSION, now, until).await })
        });
        register.await?;
        Ok(Hand { engine: self.clone(), id })
    }

    /// Ends what is due, once.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn sweep_by_hand(&self) -> Result<()> {
        self.look().await.map(drop)
    }

    /// Reaps a worker that was seen to stand still at `beat`; whether it did.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn reap_by_hand(&self, worker: Uuid, beat: i64) -> Result<bool> {
        let now = self.now();
        let reaped =
            self.store().tx("engine.reap", move |tx| Box::pin(reap(tx, worker, beat, now)));
        Ok(reaped.await?.is_some())
    }
}

impl Hand {
    /// Its id.
    #[must_use]
    pub fn id(&self) -> Uuid {
        self.id
    }

    /// Takes up to `most` runs; `None` when the worker has been reaped.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn claim(&self, most: usize) -> Result<Option<Vec<Held>>> {
        let Some(round) = self.engine.claim(self.id, most).await? else { return Ok(None) };
        Ok(Some(round.taken.into_iter().map(|taken| self.held(taken)).collect()))
    }

    fn held(&self, taken: Taken) -> Held {
        let (cancel, shutdown) = (CancellationToken::new(), CancellationToken::new());
        let (lease, seq) = (taken.claimed.lease, taken.event.seq);
        let log = Log::new(&self.engine, lease, seq, cancel, shutdown);
        Held { log, deadline: taken.run.deadline }
    }

    /// One heartbeat: what the database says is its, and of which a cancel was asked for; `None`
    /// when the worker has been reaped.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn beat(&self) -> Result<Option<Vec<(Lease, bool)>>> {
        let (id, until) = (self.id, self.engine.now().plus(self.engine.config().lease()));
        let beat = self.engine.store().tx("engine.heartbeat", move |tx| {
            Box::pin(async move {
                let alive = workers::advance(tx, id, until).await?;
                Ok(if alive { Some(queue::held(tx, id).await?) } else { None })
            })
        });
        beat.await
    }

    /// Gives back a run that nobody here knows of.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn give_back(&self, lease: Lease) -> Result<()> {
        let now = self.engine.now();
        let release = self.engine.store().tx("engine.release", move |tx| {
            Box::pin(queue::release(tx, lease, Release::Orderly, now))
        });
        release.await.map(drop)
    }
}

impl Held {
    /// The claim.
    #[must_use]
    pub fn lease(&self) -> Lease {
        self.log.lease
    }

    /// One fenced commit.
    ///
    /// # Errors
    /// When the run is no longer the claim's, or the commit makes no sense.
    pub async fn commit(&self, commit: Commit) -> Result<(), Stopped> {
        self.log.commit(commit).await
    }

    /// Ends the run with a result, unless a cancel was asked for, or it is no longer the claim's.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn complete(&self, commit: Commit) -> Result<()> {
        self.log.end(commit, End::Completed(serde_json::Value::Null)).await
    }

    /// Ends the run as cancelled if that was asked for, and else gives it back.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn confirm_cancel(&self) -> Result<()> {
        self.log.end(Commit::default(), End::Cancelled { aborted_calls: Vec::new() }).await
    }

    /// Lets the run wait for these calls.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn park(&self, pending: Vec<PendingCall>) -> Result<()> {
        self.log.park(Commit::default(), pending, self.deadline).await
    }

    /// Gives the run back.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn release(&self, how: Release) -> Result<()> {
        self.log.release(how).await
    }
}
