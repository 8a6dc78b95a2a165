//! Waiting for a run: to end, or to need its caller. Called by the services for `wait` and `Prefer:
//! wait`, which read the run each time that something may have happened, and are told how new what
//! they read has to be. Never asks the store in between: `watch.rs` looks for all that wait here.

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
    told: Told,
    /// Frames were lost since the run was last read.
    missed: bool,
    /// Fires when this process drives no run any more.
    closing: CancellationToken,
}

/// What somebody was told of a run: an older state is not to be shown to them, as nobody would tell
/// them again.
#[derive(Debug, Clone, Copy, Default)]
pub struct Told {
    /// Number of the last event; `i64::MAX`: the end, or that nobody knows what was missed.
    pub seq: i64,
    /// When that was; none when nothing was told.
    pub at: Option<Instant>,
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
        let (end, told) = (Instant::now() + most, Told::default());
        Waiter { bus, until, end, told, missed: false, closing }
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
        let read = |_told| async move {
            let place = moves::place(self.store().read(), scope, run_id).await?;
            let status = place.as_ref().and_then(|place| Status::parse(&place.status));
            let status = status.ok_or_else(|| runs::not_found(run_id))?;
            Ok((status, until.is_met(status)))
        };
        self.waiter(run_id, most, until).settled(read).await
    }
}

impl Told {
    fn reach(&mut self, seq: i64) {
        if seq > self.seq {
            *self = Self { seq, at: Some(Instant::now()) };
        }
    }
}

impl Waiter {
    /// What `read` has read last, when it says that this is what is waited for, or when the wait is
    /// over. It is told how new that has to be.
    ///
    /// # Errors
    /// Those of `read`.
    pub async fn settled<T, F>(mut self, read: impl Fn(Told) -> F) -> Result<T>
    where
        F: Future<Output = Result<(T, bool)>>,
    {
        loop {
            // Looked at before the run is: what this process has done of it must not be missed.
            let over = self.closing.is_cancelled() || Instant::now() >= self.end;
            let (run, is_met) = read(self.told()).await?;
            if over || is_met {
                return Ok(run);
            }
            self.changed().await;
        }
    }

    fn told(&mut self) -> Told {
        if std::mem::take(&mut self.missed) {
            return Told { seq: i64::MAX, at: Some(Instant::now()) };
        }
        self.told
    }

    /// Returns when the run may be in the state that is waited for, or when the wait is over.
    async fn changed(&mut self) {
        let (end, closing) = (self.end, self.closing.clone());
        tokio::select! {
            _ = timeout_at(end, self.moved()) => {}
            () = closing.cancelled() => {}
        }
    }

    /// Returns when the bus tells of the state, or that frames were lost.
    async fn moved(&mut self) {
        loop {
            let frame = match self.bus.next().await {
                Received::Frame(frame) => frame,
                Received::Reached(seq) | Received::Large(seq) => return self.told.reach(seq),
                Received::Lagged | Received::Missed => {
                    self.missed = true;
                    return;
                }
            };
            let Frame::Durable(Durable { seq, r#type, .. }) = frame else { continue };
            self.told.reach(seq);
            let moved = ALL.into_iter().find(|status| status.event() == &*r#type);
            if moved.is_some_and(|status| self.until.is_met(status)) {
                return;
            }
        }
    }
}
