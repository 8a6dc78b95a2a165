//! Finds workers that are gone, and gives back what they held. A worker is gone when its lease is
//! over by the clock and its beat stood still for two and a half heartbeats before our own eyes:
//! neither a clock that jumps nor a database that was away reaps anybody. Called by `worker.rs`
//! after its own heartbeat.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

use super::Engine;
use crate::kernel::{Result, Timestamp, faults};
use crate::store::workers::Sight;
use crate::store::{Tx, queue, workers};

/// What one worker has seen of the others.
pub(super) struct Observations {
    heartbeat: Duration,
    looked: Option<Instant>,
    by_worker: HashMap<Uuid, (i64, Instant)>,
}

impl Observations {
    pub(super) fn new(heartbeat: Duration) -> Self {
        Self { heartbeat, looked: None, by_worker: HashMap::new() }
    }

    /// The workers that are gone, each with the beat that it stood still at.
    fn look(&mut self, sights: &[Sight], (at, now): (Instant, Timestamp)) -> Vec<(Uuid, i64)> {
        // Whoever did not look for a while does not know what happened meanwhile.
        let gap = self.looked.is_some_and(|looked| at.duration_since(looked) > self.heartbeat * 2);
        if gap {
            self.by_worker.clear();
        }
        self.looked = Some(at);
        self.by_worker.retain(|id, _| sights.iter().any(|sight| sight.id == *id));
        let patience = self.heartbeat * 5 / 2;
        let mut gone = Vec::new();
        for Sight { id, beat, lease_until } in sights.iter().copied() {
            let seen = self.by_worker.entry(id).or_insert((beat, at));
            if seen.0 != beat {
                *seen = (beat, at);
            } else if lease_until < now && at.duration_since(seen.1) >= patience {
                gone.push((id, beat));
            }
        }
        gone
    }
}

impl Engine {
    /// Notes that the database has confirmed a heartbeat that was sent then.
    pub(super) fn beat(&self, sent: Instant) {
        self.inner.beaten.send_replace(sent);
    }

    /// Waits until no other can take us for gone: seven tenths of a lease after a heartbeat that
    /// was confirmed, the others still wait. By our own clock, which goes on while the process
    /// hangs.
    pub(super) async fn holds(&self) {
        if self.store().is_exclusive() {
            return;
        }
        let young = self.config().lease() * 7 / 10;
        let mut beaten = self.inner.beaten.subscribe();
        // Its sender lives as long as the engine does.
        let _ = beaten.wait_for(|sent| sent.elapsed() < young).await;
    }

    /// Looks at the other workers and reaps those that are gone.
    pub(super) async fn reap(
        &self,
        others: &[Sight],
        observations: &mut Observations,
    ) -> Result<()> {
        let now = self.now();
        for (id, beat) in observations.look(others, (Instant::now(), now)) {
            if let Some(runs) =
                self.store().tx("engine.reap", move |tx| Box::pin(reap(tx, id, beat, now))).await?
            {
                faults::point("in_reap");
                tracing::warn!(worker = %id, runs, "a worker is gone, its runs go on elsewhere");
                self.ready();
            }
        }
        Ok(())
    }
}

pub(super) async fn reap(tx: &Tx, id: Uuid, beat: i64, now: Timestamp) -> Result<Option<u64>> {
    if !workers::remove(tx, id, beat).await? {
        return Ok(None);
    }
    Ok(Some(queue::release_all(tx, Some(id), now).await?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEAT: Duration = Duration::from_secs(3);

    fn sight(beat: i64, lease_over: bool) -> Sight {
        Sight { id: Uuid::max(), beat, lease_until: Timestamp(if lease_over { 0 } else { 2 }) }
    }

    fn gone_after(sights: &[(u64, Sight)]) -> Vec<u64> {
        let (mut observations, start) = (Observations::new(BEAT), Instant::now());
        let look = |(second, sight): &(u64, Sight)| {
            let gone = {
                let at = start + Duration::from_secs(*second);
                observations.look(&[*sight], (at, Timestamp(1)))
            };
            (!gone.is_empty()).then_some(*second)
        };
        sights.iter().filter_map(look).collect()
    }

    #[test]
    fn a_worker_is_gone_when_its_lease_is_over_and_its_beat_stands_still() {
        let still = |second| (second, sight(7, true));
        assert_eq!(gone_after(&[still(0), still(3), still(6), still(8), still(9)]), [8, 9]);
    }

    #[test]
    fn a_worker_that_beats_is_never_gone_whatever_the_clock_says() {
        let beats: Vec<_> = (0..20).map(|i| (i * 3, sight(i as i64 / 2, true))).collect();
        assert!(gone_after(&beats).is_empty());
    }

    #[test]
    fn a_worker_that_stands_still_is_not_gone_before_its_lease_is_over() {
        let still: Vec<_> = (0..9).map(|i| (i * 3, sight(7, i >= 6))).collect();
        assert_eq!(gone_after(&still), [18, 21, 24]);
    }

    #[test]
    fn whoever_slept_begins_to_look_anew() {
        let still = |second| (second, sight(7, true));
        assert_eq!(gone_after(&[still(0), still(60), still(63), still(66), still(69)]), [69]);
    }
}
