//! Waiting for a run: to end, or to need its caller. Called by the services for `wait` and `Prefer:
//! wait`.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};
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

impl Until {
    fn is_met(self, status: Status) -> bool {
        let action = self == Self::TerminalOrAction && status == Status::RequiresAction;
        action || status.is_terminal()
    }

    /// The state that the bus tells of, when it is the one; `None` when frames were lost.
    async fn told(self, bus: &mut Subscription) -> Option<Status> {
        loop {
            let Received::Frame(frame) = bus.next().await else { return None };
            let Frame::Durable(Durable { r#type, .. }) = frame else { continue };
            let moved = ALL.into_iter().find(|status| status.event() == &*r#type);
            if let Some(status) = moved.filter(|status| self.is_met(*status)) {
                return Some(status);
            }
        }
    }
}

impl Engine {
    /// Waits at most `most`, and not beyond the end of this process's work; the state that the run
    /// is in then.
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
        let end = Instant::now() + most;
        let mut bus = self.inner.bus.subscribe(run_id);
        loop {
            // Looked at before the run is: what this process has done of it must not be missed.
            let over = self.inner.closing.is_cancelled() || Instant::now() >= end;
            let place = moves::place(self.store().read(), scope, run_id).await?;
            let status = place.as_ref().and_then(|place| Status::parse(&place.status));
            let status = status.ok_or_else(|| runs::not_found(run_id))?;
            if over || until.is_met(status) {
                return Ok(status);
            }
            // Silence is no proof that nothing happened: then the store is asked again.
            let look = end.min(Instant::now() + self.config().idle());
            let told = tokio::select! {
                told = timeout_at(look, until.told(&mut bus)) => told,
                () = self.inner.closing.cancelled() => continue,
            };
            match told {
                Ok(Some(Status::RequiresAction)) | Ok(None) | Err(_) => {}
                Ok(Some(ended)) => return Ok(ended),
            }
        }
    }
}
