//! What nobody drives still ends in time: runs that waited too long, cancels that no worker
//! confirms, and driven runs whose driver does not notice its deadline. Called by `worker.rs`, each
//! time it looks for work.

use std::time::Duration;

use serde_json::Value;
use uuid::Uuid;

use super::cancel::force;
use super::claim::JOURNAL_VERSION;
use super::events::End;
use super::finish::{Concluded, Conclusion, conclude};
use super::slots::Stop;
use super::{Engine, complain};
use crate::kernel::{Error, Result, Timestamp};
use crate::store::{Tx, moves, queue};

impl Engine {
    /// Looks what there is to do that nobody has told of, and ends what is due; true when runs are
    /// ready.
    pub(super) async fn look(&self) -> Result<bool> {
        let now = self.now();
        self.slots().stop_overdue(before(now, self.config().overdue_ms));
        let since = before(now, self.config().cancel_ms);
        let seen = queue::outlook(self.store().read(), JOURNAL_VERSION, since, now).await?;
        if seen.due {
            self.sweep(since, now).await?;
        }
        Ok(seen.ready)
    }

    /// One run that cannot be ended keeps none of the others from it.
    async fn sweep(&self, since: Timestamp, now: Timestamp) -> Result<()> {
        for run_id in queue::due(self.store().read(), now).await? {
            let expired =
                self.store().tx("engine.expire", move |tx| Box::pin(expire(tx, run_id, now))).await;
            match expired {
                Ok(done) => self.concluded(run_id, done),
                Err(error) => complain("expire", Some(run_id), &error),
            }
        }
        for run_id in queue::unconfirmed(self.store().read(), since).await? {
            let forced = self
                .store()
                .tx("engine.force_cancel", move |tx| Box::pin(force(tx, run_id, now)))
                .await;
            self.slots().stop(run_id, Stop::Lost);
            match forced {
                Ok(done) => self.concluded(run_id, done),
                Err(error) => complain("force a cancel", Some(run_id), &error),
            }
        }
        Ok(())
    }
}

fn before(now: Timestamp, ms: u64) -> Timestamp {
    let micros = i64::try_from(Duration::from_millis(ms).as_micros()).unwrap_or(i64::MAX);
    Timestamp(now.0.saturating_sub(micros))
}

/// Ends a run that waited too long: for its caller as `expired`, past its own deadline, or behind
/// another run, as `incomplete`.
async fn expire(tx: &Tx, run_id: Uuid, now: Timestamp) -> Result<Concluded> {
    let left = queue::expire(tx, run_id, now).await?;
    let Some(left) = left else { return Ok(Concluded::default()) };
    let action = moves::required_action(tx, run_id).await?;
    let end = match earliest(action.as_deref())? {
        Some(deadline) if deadline <= now => End::Expired,
        // It waits for no call, so it waits behind another run.
        _ => End::Incomplete { reason: "timeout".to_owned(), output: None },
    };
    let last = Conclusion { drafts: &[], used: moves::Used::default(), end: &end };
    conclude(tx, run_id, left, last, now).await
}

fn earliest(action: Option<&str>) -> Result<Option<Timestamp>> {
    let Some(action) = action else { return Ok(None) };
    let action: Value = serde_json::from_str(action).map_err(Error::internal)?;
    let calls = action["tool_calls"].as_array().into_iter().flatten();
    let deadlines = calls.map(|call| serde_json::from_value(call["deadline"].clone()));
    let deadlines: Vec<Timestamp> = deadlines.collect::<Result<_, _>>().map_err(Error::internal)?;
    Ok(deadlines.into_iter().min())
}
