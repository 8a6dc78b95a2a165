//! The worker: takes runs while it has free slots, drives each in a task of its own, beats, sweeps,
//! reaps, and drains when the process stops. Started by `serve` through [`Engine::run`]; one per
//! process.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::attempt::Drive;
use super::claim::{JOURNAL_VERSION, Taken};
use super::drive::Driver;
use super::journal::insist;
use super::reap::Observations;
use super::slots::Stop;
use super::{Engine, complain};
use crate::kernel::{Result, Timestamp, ids};
use crate::store::queue::{Lease, Release};
use crate::store::workers::Beat;
use crate::store::{Tx, queue, workers};

/// Time for a driver to notice that the process stops.
const NOTICE: Duration = Duration::from_secs(1);
/// Heartbeats that find a lease which this process does not know, before it is given back.
const UNKNOWN_BEATS: u32 = 2;

struct Worker {
    engine: Engine,
    drive: Drive,
    id: Uuid,
    tasks: TaskTracker,
    /// The process stops.
    shutdown: CancellationToken,
    observations: Observations,
    /// Leases that the database says are ours, but nobody here drives: beats that saw them.
    unknown: HashMap<Lease, u32>,
}

impl Engine {
    /// Works until `shutdown` fires, then drains: steps under way may end, what has not ended is
    /// given back.
    ///
    /// # Errors
    /// When the database is away at the start; later on it is waited for.
    pub async fn run(&self, drive: Drive, shutdown: CancellationToken) -> Result<()> {
        let mut worker = Worker {
            engine: self.clone(),
            drive,
            id: ids::fresh(self.now()),
            tasks: TaskTracker::new(),
            shutdown,
            observations: Observations::new(self.config().heartbeat()),
            unknown: HashMap::new(),
        };
        worker.register(self.store().is_exclusive()).await?;
        self.takes(true);
        worker.work().await;
        worker.drain().await
    }
}

impl Worker {
    /// Adds this worker. The first of an exclusive database gives back what was leased: its holders
    /// are dead.
    async fn register(&self, first: bool) -> Result<()> {
        let (id, now, sent) = (self.id, self.engine.now(), Instant::now());
        self.engine.bus().listen_for(id);
        let lease_until = now.plus(self.engine.config().lease());
        let register = insist(|_| {
            self.engine.store().tx("engine.register", move |tx| {
                Box::pin(async move {
                    drop_all(tx, first, now).await?;
                    workers::register(tx, id, JOURNAL_VERSION, now, lease_until).await
                })
            })
        });
        register.await?;
        self.engine.beat(sent);
        Ok(())
    }

    async fn work(&mut self) {
        let mut beat = interval(self.engine.config().heartbeat());
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let poll_ms = self.engine.config().poll_ms.max(1);
        let (mut more, mut looked) = (true, Instant::now());
        loop {
            // Replicas that started together need not look together.
            let poll = Duration::from_millis(poll_ms + rand::random_range(0..=poll_ms / 4));
            let wanted = tokio::select! {
                // What must not wait comes first: there may always be more to take.
                biased;
                () = self.shutdown.cancelled() => return,
                _ = beat.tick() => {
                    self.heartbeat().await;
                    more
                }
                () = tokio::time::sleep_until(looked + poll) => {
                    looked = Instant::now();
                    self.look().await || more
                }
                () = std::future::ready(()), if more => true,
                () = self.engine.inner.work.notified() => true,
            };
            more = wanted && self.take().await;
        }
    }

    /// Looks what there is to do that nobody has told of, and ends what is due; true when runs are
    /// ready.
    async fn look(&self) -> bool {
        match self.engine.look().await {
            Ok(ready) => ready,
            Err(error) => {
                complain("look", None, &error);
                false
            }
        }
    }

    /// Takes runs for the free slots; true when more may be had at once.
    async fn take(&mut self) -> bool {
        let free = self.engine.config().concurrent_runs.saturating_sub(self.engine.slots().count());
        if free == 0 || !self.engine.inner.takes.load(Ordering::Relaxed) {
            return false;
        }
        match self.engine.claim(self.id, free).await {
            Ok(Some(round)) => {
                self.engine.slots().looked_into(&round.lanes);
                round.taken.into_iter().for_each(|taken| self.start(taken));
                let full = self.engine.slots().count() >= self.engine.config().concurrent_runs;
                if full && round.more {
                    self.engine.bus().wake();
                }
                round.more && !full
            }
            Ok(None) => {
                self.start_over().await;
                false
            }
            Err(error) => {
                complain("claim", None, &error);
                false
            }
        }
    }

    fn start(&self, taken: Taken) {
        let driver = Driver::new(&self.engine, taken, self.shutdown.clone());
        self.tasks.spawn(driver.run(Arc::clone(&self.drive)));
    }

    async fn heartbeat(&mut self) {
        let (sent, lease) = (Instant::now(), self.engine.config().lease());
        match workers::beat(self.engine.store(), self.id, self.engine.now().plus(lease)).await {
            Ok(Some(Beat { held, others })) => {
                self.engine.beat(sent);
                let processes = u32::try_from(others.len() + 1).unwrap_or(u32::MAX);
                self.engine.inner.processes.store(processes, Ordering::Relaxed);
                self.compare(held).await;
                let reaped = self.engine.reap(&others, &mut self.observations).await;
                self.logged("reap", reaped);
            }
            Ok(None) => self.start_over().await,
            Err(error) => complain("heartbeat", None, &error),
        }
    }

    /// Compares what the database says is ours with what we drive.
    async fn compare(&mut self, held: Vec<(Lease, bool)>) {
        let ours = self.engine.slots().leases();
        for lease in ours.iter().filter(|ours| !held.iter().any(|(held, _)| held == *ours)) {
            self.engine.slots().stop(lease.run_id, Stop::Lost);
        }
        self.unknown.retain(|lease, _| held.iter().any(|(held, _)| held == lease));
        self.engine.slots().owe_only(&held);
        for (lease, cancel_requested) in held {
            if !ours.contains(&lease) {
                self.wonder(lease).await;
            } else if cancel_requested {
                self.engine.slots().cancel(lease.run_id);
            }
        }
    }

    /// A lease that nobody here drives: the answer to a claim was lost, which is not the run's
    /// fault, or a run could not be given back.
    async fn wonder(&mut self, lease: Lease) {
        let beats = self.unknown.entry(lease).or_insert(0);
        *beats += 1;
        if *beats < UNKNOWN_BEATS {
            return;
        }
        let (now, owed) = (self.engine.now(), self.engine.slots().is_owed(lease));
        let how = if owed { Release::Stalled } else { Release::Orderly };
        let release = self.engine.store().tx("engine.release", move |tx| {
            Box::pin(async move { queue::release(tx, lease, how, now).await })
        });
        let released = release.await.map(drop);
        self.logged("release", released);
    }

    /// Others took us for gone: what we drove is theirs, and we begin anew under another id.
    async fn start_over(&mut self) {
        tracing::warn!(worker = %self.id, "reaped; beginning anew");
        self.engine.slots().stop_all(Stop::Lost);
        self.id = ids::fresh(self.engine.now());
        let registered = self.register(false).await;
        self.logged("register", registered);
    }

    async fn drain(mut self) -> Result<()> {
        self.engine.takes(false);
        self.tasks.close();
        let patience = Duration::from_millis(self.engine.config().drain_ms);
        if !self.all_end(patience).await {
            self.engine.slots().cancel_all();
        }
        if !self.all_end(NOTICE).await {
            self.engine.slots().stop_all(Stop::Shutdown);
        }
        self.tasks.wait().await;
        self.resign().await;
        Ok(())
    }

    /// Takes this worker off the list, and with it whatever the database still says is its: the
    /// answer to a claim may have been lost, and whose worker is not on the list no one reaps. When
    /// the database is away, others take the worker for gone, and do the same.
    async fn resign(&self) {
        let (id, now) = (self.id, self.engine.now());
        let resign = insist(|_| {
            self.engine.store().tx("engine.resign", move |tx| {
                Box::pin(async move {
                    // First: a claim that is still being committed holds this row.
                    workers::resign(tx, id).await?;
                    queue::release_all(tx, Some(id), now).await.map(drop)
                })
            })
        });
        let resigned = resign.await;
        self.logged("resign", resigned);
    }

    /// Waits for the tasks, and beats meanwhile: a worker that falls silent loses its runs. False
    /// when some have not ended in time.
    async fn all_end(&mut self, patience: Duration) -> bool {
        let (tasks, over) = (self.tasks.clone(), Instant::now() + patience);
        let mut beat = interval(self.engine.config().heartbeat());
        loop {
            tokio::select! {
                biased;
                () = tasks.wait() => return true,
                () = tokio::time::sleep_until(over) => return false,
                _ = beat.tick() => self.heartbeat().await,
            }
        }
    }

    fn logged(&self, what: &'static str, result: Result<()>) {
        if let Err(error) = result {
            complain(what, None, &error);
        }
    }
}

/// Gives back everything that anybody holds, when all of them are dead.
async fn drop_all(tx: &Tx, dead: bool, now: Timestamp) -> Result<()> {
    if dead {
        workers::remove_all(tx).await?;
        queue::release_all(tx, None, now).await?;
    }
    Ok(())
}
