//! What a process looks for in the store, and is told by others, so that followers and workers need
//! not ask one by one. The look covers all runs that are followed here, in few questions: the owner
//! of a run may die between a commit and telling of it, and Redis may lose what was told. Run by
//! `serve`, or by whoever has an engine without one.

use std::collections::HashMap;
use std::sync::atomic::Ordering;

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{Engine, complain};
use crate::kernel::{Result, faults};
use crate::store::events;

impl Engine {
    /// Looks at the runs that are followed here every `idle_ms`, until `stop`. Followers that are
    /// behind are told by the bus; a run that has left the queue has ended.
    pub async fn watch(&self, stop: &CancellationToken) {
        let looking = async {
            let mut ticks = interval(self.config().look());
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            while !faults::without("idle_poll") {
                ticks.tick().await;
                if let Err(error) = self.look_after_followers().await {
                    complain("look after followers", None, &error);
                }
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = looking => {}
        }
    }

    async fn look_after_followers(&self) -> Result<()> {
        let followed = self.inner.bus.followed();
        let live = events::reached(self.store().read(), &followed).await?;
        let live: HashMap<Uuid, i64> = live.into_iter().collect();
        for run_id in followed {
            self.inner.bus.reached(run_id, live.get(&run_id).copied().unwrap_or(i64::MAX));
        }
        Ok(())
    }

    /// There may be work: the worker of this process looks.
    pub fn wake(&self) {
        self.inner.work.notify_one();
    }

    /// Tells who may take it that a run is ready: the worker of this process, and those of others
    /// when this one has no room. Called after the commit.
    pub fn ready(&self) {
        self.wake();
        if !self.inner.takes.load(Ordering::Relaxed)
            || self.slots().count() >= self.config().concurrent_runs
        {
            self.inner.bus.wake();
        }
    }

    /// Says whether this process takes runs; from the start it does.
    pub fn takes(&self, takes: bool) {
        self.inner.takes.store(takes, Ordering::Relaxed);
    }

    /// Stops a run that is driven here because another process was asked to cancel it.
    pub fn cancel_heard(&self, run_id: Uuid) {
        self.slots().cancel(run_id);
    }
}
