//! The arithmetic of a rate limit: the generic cell rate algorithm. One number is kept of a
//! bucket, the theoretical arrival time (`tat`): the moment at which it will be full again.
//! `local.rs` keeps it in memory, `gcra.lua` does the same sums in Redis. Pure: reads no time,
//! keeps nothing.

use crate::kernel::plan::Rate;

/// Longest time, in microseconds, in which an empty bucket may fill: about 126 years. Moments up to
/// here are whole numbers in Lua too, whose numbers are doubles.
const FILL_MAX_US: i64 = 4_000_000_000_000_000;

/// How a bucket fills, and how much it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Microseconds after which there is one more.
    pub emission_us: i64,
    /// Most that it holds.
    pub capacity: i64,
}

/// What came of asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// True when there was enough.
    pub allowed: bool,
    /// The moment at which the bucket is full again, what was taken included; what is kept.
    pub tat: i64,
    /// How many are left.
    pub remaining: i64,
    /// Microseconds after which there is enough; 0 when there was.
    pub retry_after_us: i64,
    /// Microseconds after which one more is left than now; 0 when the bucket is full.
    pub next_us: i64,
    /// Microseconds after which the bucket is full.
    pub reset_us: i64,
}

impl Pace {
    /// The pace of a rate.
    #[must_use]
    pub fn of(rate: Rate) -> Self {
        let emission_us = rate.emission_us().clamp(1, FILL_MAX_US);
        let capacity = i64::from(rate.burst()).clamp(1, FILL_MAX_US / emission_us);
        Self { emission_us, capacity }
    }

    /// The share of one of so many that divide it, at least one at a time.
    #[must_use]
    pub fn share(self, of: u32) -> Self {
        let of = i64::from(of.max(1));
        let emission_us = self.emission_us.saturating_mul(of).min(FILL_MAX_US);
        let capacity = (self.capacity / of).clamp(1, FILL_MAX_US / emission_us);
        Self { emission_us, capacity }
    }

    /// Microseconds in which an empty bucket fills.
    #[must_use]
    pub fn fill_us(self) -> i64 {
        self.emission_us * self.capacity
    }
}

/// Takes `cost` from a bucket that was last full, or will be, at `tat`.
///
/// A `tat` further away than an empty bucket needs is taken for that of an empty one, and must be
/// kept as such: so neither a clock that went back nor a rate that was raised shuts anybody out.
#[must_use]
pub fn decide(tat: Option<i64>, now: i64, pace: Pace, cost: i64) -> Decision {
    let full = now.saturating_add(pace.fill_us());
    let tat = tat.unwrap_or(now).clamp(now, full);
    let missing_us = pace.emission_us.saturating_mul(cost).saturating_sub(full - tat);
    let allowed = missing_us <= 0;
    let tat = if allowed { tat + pace.emission_us * cost } else { tat };
    let remaining = (full - tat) / pace.emission_us;
    let reset_us = tat - now;
    let next_us = (reset_us - 1).rem_euclid(pace.emission_us) + 1;
    Decision {
        allowed,
        tat,
        remaining,
        retry_after_us: missing_us.max(0),
        next_us: next_us.min(reset_us),
        reset_us,
    }
}

/// How many of `want` every bucket has, each a `tat` and a pace: they are taken from all or none.
#[must_use]
pub fn grant(buckets: impl IntoIterator<Item = (i64, Pace)>, now: i64, want: i64) -> i64 {
    let left = buckets.into_iter().map(|(tat, pace)| decide(Some(tat), now, pace, 0).remaining);
    left.fold(want, i64::min)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const FREE: Rate = Rate::new(100, Duration::from_secs(60), 150);
    const NOW: i64 = 1_750_000_000_000_000;

    #[test]
    fn a_burst_then_one_every_emission() {
        let pace = Pace::of(FREE);
        assert_eq!((pace.emission_us, pace.capacity, pace.fill_us()), (600_000, 150, 90_000_000));
        let mut tat = None;
        for left in (0..150).rev() {
            let taken = decide(tat, NOW, pace, 1);
            assert_eq!((taken.allowed, taken.remaining, taken.retry_after_us), (true, left, 0));
            tat = Some(taken.tat);
        }
        let refused = decide(tat, NOW, pace, 1);
        assert_eq!((refused.allowed, refused.retry_after_us), (false, 600_000));
        assert_eq!(
            (refused.remaining, refused.reset_us, refused.next_us),
            (0, 90_000_000, 600_000)
        );
        assert_eq!(refused.tat, tat.unwrap(), "what is refused takes nothing");
        assert!(!decide(tat, NOW + 599_999, pace, 1).allowed);
        assert!(decide(tat, NOW + 600_000, pace, 1).allowed);
    }

    #[test]
    fn a_full_bucket_waits_for_nothing() {
        let looked = decide(Some(NOW - 7), NOW, Pace::of(FREE), 0);
        assert_eq!((looked.remaining, looked.next_us, looked.reset_us), (150, 0, 0));
    }

    #[test]
    fn a_moment_beyond_reach_is_that_of_an_empty_bucket() {
        let taken = decide(Some(i64::MAX), NOW, Pace::of(FREE), 1);
        assert_eq!((taken.allowed, taken.retry_after_us), (false, 600_000));
    }

    #[test]
    fn more_than_a_bucket_holds_is_never_there() {
        let asked = decide(None, NOW, Pace::of(FREE), 151);
        assert_eq!((asked.allowed, asked.retry_after_us), (false, 600_000));
    }

    #[test]
    fn the_longest_rate_stays_within_what_lua_counts() {
        let slow = Rate::new(1, Duration::from_secs(31 * 86_400), 1_000_000_000);
        let pace = Pace::of(slow);
        assert!(pace.fill_us() <= FILL_MAX_US && pace.capacity > 1000);
        assert!(NOW + pace.fill_us() < 1 << 53);
        assert_eq!(pace.share(u32::MAX).capacity, 1);
        let fast = Pace::of(Rate::new(1_000_000_000, Duration::from_secs(1), 1_000_000_000));
        assert_eq!((fast.emission_us, fast.capacity), (1, 1_000_000_000));
    }

    #[test]
    fn a_share_is_at_least_one() {
        let pace = Pace::of(Rate::new(2, Duration::from_secs(60), 2));
        assert_eq!(pace.share(3), Pace { emission_us: 90_000_000, capacity: 1 });
        assert_eq!(pace.share(0), pace);
    }

    #[test]
    fn a_grant_is_what_the_emptiest_bucket_has() {
        let pace = Pace::of(FREE);
        let (full, half) = (NOW, NOW + 75 * 600_000);
        assert_eq!(grant([(full, pace), (half, pace)], NOW, 100), 75);
        assert_eq!(grant([(full, pace), (half, pace)], NOW, 10), 10);
        assert_eq!(grant([(NOW + 150 * 600_000, pace)], NOW, 10), 0);
    }
}
