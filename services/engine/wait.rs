//! Waiting for a run: to end, or to need its caller. Called by the services for `wait` and `Prefer:
//! wait`, which read the run each time that something may have happened. Never asks the store in
//! between: `watch.rs` looks for all that wait here.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::Engine;
use super::state::{ALL, Status};
use crate::cache::{Durable, Frame, Received, Subscription};
use crate::kernel::{Result, Scope};
use crate::store::{moves, runs};

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// The end.
    Terminal,
    /// The end, or that the run needs its caller.
    TerminalOrAction,
}

/// Somebody who waits for a run.
pub struct Waiter {
    bus: Subscription,
    until: Until,
    end: Instant,
    /// Fires when this process drives no run any more.
    closing: CancellationToken,
}

impl Until {
    fn is_met(self, status: Status) -> bool {
        let action = self == Self::TerminalOrAction && status == Status::RequiresAction;
        action || status.is_terminal()
    }
}

impl Engine {
    /// Waits at most `most`, and not beyond the end of this process's work. Made before the run is
    /// read for the first time.
    #[must_use]
    pub fn waiter(&self, run_id: Uuid, most: Duration, until: Until) -> Waiter {
        let (bus, closing) = (self.inner.bus.subscribe(run_id), self.inner.closing.clone());
        Waiter { bus, until, end: Instant::now() + most, closing }
    }

    /// Waits at most `most`; the state that the run is in then.
    ///
    /// # Errors
    /// `run_not_found`.
    pub async fn wait(
        &self,
        scope: Scope,
        run_id: Uuid,
        most: Duration,
        until: Until,
    ) -> Result<Status> {
        let mut waiter = self.waiter(run_id, most, until);
        loop {
            // Looked at before the run is: what this process has done of it must not be missed.
            let over = waiter.is_over();
            let place = moves::place(self.store().read(), scope, run_id).await?;
            let status = place.as_ref().and_then(|place| Status::parse(&place.status));
            let status = status.ok_or_else(|| runs::not_found(run_id))?;
            if over || until.is_met(status) {
                return Ok(status);
            }
            waiter.changed().await;
        }
    }
}

impl Waiter {
    /// True when there is nothing to wait for any more.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.closing.is_cancelled() || Instant::now() >= self.end
    }

    /// Returns when the run may be in the state that is waited for, or when the wait is over.
    pub async fn changed(&mut self) {
        tokio::select! {
            _ = timeout_at(self.end, told(&mut self.bus, self.until)) => {}
            () = self.closing.cancelled() => {}
        }
    }
}

/// Returns when the bus tells of the state, or that frames were lost.
async fn told(bus: &mut Subscription, until: Until) {
    loop {
        let Received::Frame(frame) = bus.next().await else { return };
        let Frame::Durable(Durable { r#type, .. }) = frame else { continue };
        let moved = ALL.into_iter().find(|status| status.event() == &*r#type);
        if moved.is_some_and(|status| until.is_met(status)) {
            return;
        }
    }
}
