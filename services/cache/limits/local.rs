//! Buckets in this process's memory: all there is without Redis, and what counts while Redis is
//! away. Called by `mod.rs`, and by the gateway for what is counted here alone. Asks nobody.

use super::gcra::{self, Pace};
use super::shards::Shards;
use super::{Bucket, Name, Verdict};
use crate::kernel::Clock;

/// Buckets kept at once; one that is full is not kept. Some 100 MB at the very most.
const BUCKETS_MAX: usize = 1 << 20;

/// Limits of this process.
#[derive(Debug)]
pub struct Local {
    clock: Clock,
    /// When each bucket is full again.
    tats: Shards<Name, i64>,
}

impl Local {
    /// With every bucket full.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self { clock, tats: Shards::new(BUCKETS_MAX) }
    }

    /// Takes one from each bucket, or none from any when one is empty.
    pub fn admit(&self, space: u128, buckets: &[Bucket]) -> Verdict {
        self.take(space, buckets, 1, 1)
    }

    /// How the buckets are, taking nothing: allowed when each has one.
    pub fn look(&self, space: u128, buckets: &[Bucket]) -> Verdict {
        let mut verdict = self.take(space, buckets, 0, 1);
        verdict.allowed = verdict.states().iter().all(|state| state.remaining > 0);
        verdict
    }

    /// The same as [`Local::admit`], with the share of one of so many processes.
    pub(super) fn admit_share(&self, space: u128, buckets: &[Bucket], of: u32) -> Verdict {
        self.take(space, buckets, 1, of)
    }

    /// How many buckets are not full, or were not when it was last looked.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tats.len()
    }

    /// True when no bucket is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn take(&self, space: u128, buckets: &[Bucket], cost: i64, of: u32) -> Verdict {
        let now = self.clock.now().0;
        let mut shard = self.tats.lock(space);
        let tat = |bucket: &Bucket| shard.get(&bucket.name(space)).copied().unwrap_or(now);
        let pace = |bucket: &Bucket| Pace::of(bucket.rate).share(of);
        let asked = buckets.iter().map(|bucket| (bucket, tat(bucket), pace(bucket)));
        let granted = gcra::grant(asked.clone().map(|(_, tat, pace)| (tat, pace)), now, cost);
        let verdict = Verdict::of(asked, now, granted, cost);
        for (bucket, state) in buckets.iter().zip(verdict.states()) {
            let (name, tat) = (bucket.name(space), state.reset_at_us);
            // What was too far away comes nearer, even when nothing is taken.
            if granted > 0 || shard.get(&name).is_some_and(|kept| *kept > tat) {
                shard.put(name, tat, now, |tat| *tat <= now);
            }
        }
        verdict
    }
}
