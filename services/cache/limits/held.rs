//! What this process knows for a moment of buckets in Redis: those that were empty, which need
//! not be asked again at once, and some that were taken ahead for callers who call very often.
//! Called by `mod.rs` around every question to Redis; never asks itself.
//!
//! **Bound.** A caller that calls a set of buckets more than [`HOT_PER_S`] times a second here
//! gets its lease: [`LEASE_MAX`] at a time, or a hundredth of the smallest bucket, that end after
//! a second. All of it has been taken in Redis, so nothing is admitted twice; but what was taken
//! in one second may be used in the next. In any window a set of buckets can thus admit at most
//! one lease for each process more than its plan says. What ends unused is lost to the caller.

use std::ops::ControlFlow;

use super::gcra::Pace;
use super::redis::Answer;
use super::shards::{Shard, Shards};
use super::{BUCKETS_MAX, Bucket, Name, Verdict};
use crate::kernel::Clock;

/// Calls in a second, in this process, above which a lease is taken.
const HOT_PER_S: u32 = 50;

/// Most of a lease.
const LEASE_MAX: i64 = 10;

/// Microseconds that a lease holds, and at most that an empty bucket is believed empty: what was
/// changed in Redis or in the plan holds after this.
const HOLD_US: i64 = 1_000_000;

/// Microseconds after which an unanswered question for a lease is given up.
const ASKING_US: i64 = 1_000_000;

/// Sets of buckets that are known at once.
const SETS_MAX: usize = 1 << 17;

/// The buckets of a call, as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct SetName {
    first: Name,
    last: &'static str,
    len: usize,
}

/// What is known of a set of buckets.
#[derive(Debug, Default)]
struct Set {
    /// How many are left of the lease. 0 while it holds: one of the buckets is empty.
    tokens: i64,
    /// From when, and until when this holds, by this process's clock.
    held_us: (i64, i64),
    /// How far the clock of Redis is ahead of ours.
    ahead_us: i64,
    /// Of each bucket its pace, and when it is full by the clock of Redis.
    buckets: [Option<(Pace, i64)>; BUCKETS_MAX],
    /// Since when calls are counted, how many there are, and were in the second before.
    counted_us: i64,
    calls: u32,
    calls_before: u32,
    /// Until when somebody asks for a lease.
    asking_us: i64,
}

/// All that this process knows.
#[derive(Debug)]
pub(super) struct Held {
    clock: Clock,
    sets: Shards<SetName, Set>,
}

impl Held {
    /// Knows nothing yet.
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, sets: Shards::new(SETS_MAX) }
    }

    /// What becomes of a call; or for how many Redis must be asked.
    pub(super) fn ask(&self, space: u128, buckets: &[Bucket]) -> ControlFlow<Verdict, i64> {
        let Some(name) = SetName::of(space, buckets) else { return ControlFlow::Continue(1) };
        let now = self.clock.now().0;
        let mut shard = self.sets.lock(space);
        let Some(set) = kept(&mut shard, name, now) else { return ControlFlow::Continue(1) };
        set.count(now);
        if set.is_held(now, buckets) {
            return ControlFlow::Break(set.decide(now, buckets));
        }
        let lease = lease(buckets);
        if lease < 2 || now < set.asking_us || set.calls.max(set.calls_before) <= HOT_PER_S {
            return ControlFlow::Continue(1);
        }
        // Only one asks ahead, so that there is never more than one lease.
        set.asking_us = now + ASKING_US;
        ControlFlow::Continue(lease)
    }

    /// Keeps what Redis has answered, and tells what becomes of the call.
    pub(super) fn learn(&self, space: u128, buckets: &[Bucket], answer: &Answer) -> Verdict {
        let paces = || buckets.iter().map(|bucket| (bucket, Pace::of(bucket.rate)));
        let asked = paces().zip(answer.tats).map(|((bucket, pace), tat)| (bucket, tat, pace));
        // What was taken ahead is still there for this caller.
        let verdict = Verdict::of(asked, answer.now_us, answer.granted.min(1), 1);
        let now = self.clock.now().0;
        let for_us = match answer.granted {
            0 => verdict.retry_after_us().min(HOLD_US),
            1 if answer.wanted == 1 => return verdict,
            _ => HOLD_US,
        };
        let Some(name) = SetName::of(space, buckets) else { return verdict };
        let mut shard = self.sets.lock(space);
        let Some(set) = kept(&mut shard, name, now) else { return verdict };
        if answer.wanted > 1 {
            set.asking_us = 0;
        }
        if answer.granted == 1 || set.tokens > 0 && set.is_held(now, buckets) {
            return verdict;
        }
        set.tokens = (answer.granted - 1).max(0);
        set.held_us = (now, now + for_us);
        set.ahead_us = answer.now_us - now;
        set.buckets = [None; BUCKETS_MAX];
        for (((_, pace), tat), kept) in paces().zip(answer.tats).zip(&mut set.buckets) {
            *kept = Some((pace, tat + pace.emission_us * answer.granted));
        }
        verdict
    }
}

impl SetName {
    fn of(space: u128, buckets: &[Bucket]) -> Option<Self> {
        let (first, last) = (buckets.first()?.name(space), buckets.last()?.policy);
        Some(Self { first, last, len: buckets.len() })
    }
}

impl Set {
    fn count(&mut self, now: i64) {
        let since = now.saturating_sub(self.counted_us);
        if !(0..HOLD_US).contains(&since) {
            self.calls_before = if (0..2 * HOLD_US).contains(&since) { self.calls } else { 0 };
            (self.counted_us, self.calls) = (now, 0);
        }
        self.calls += 1;
    }

    /// True when what is known still holds, of buckets with these paces.
    fn is_held(&self, now: i64, buckets: &[Bucket]) -> bool {
        let pace = |kept: &Option<(Pace, i64)>| kept.map(|(pace, _)| pace);
        let same = || self.buckets.iter().map(pace).zip(buckets);
        // A clock that went back is before the beginning.
        (self.held_us.0..self.held_us.1).contains(&now)
            && same().all(|(pace, bucket)| pace == Some(Pace::of(bucket.rate)))
    }

    /// The verdict on a call by what is known: allowed with one of the lease, or refused.
    fn decide(&mut self, now: i64, buckets: &[Bucket]) -> Verdict {
        let cost = i64::from(self.tokens == 0);
        if self.tokens == 1 {
            self.held_us = (0, 0);
        }
        self.tokens = (self.tokens - 1).max(0);
        let known = buckets.iter().zip(self.buckets.iter().flatten());
        let left = |pace: &Pace| pace.emission_us * self.tokens;
        let asked = known.map(|(bucket, (pace, tat))| (bucket, tat - left(pace), *pace));
        Verdict::of(asked, now + self.ahead_us, 0, cost)
    }
}

/// What is known of a set, which may be nothing yet.
fn kept(shard: &mut Shard<SetName, Set>, name: SetName, now: i64) -> Option<&mut Set> {
    if shard.get_mut(&name).is_none() {
        let idle = |set: &Set| !(0..2 * HOLD_US).contains(&(now - set.counted_us));
        shard.put(name, Set::default(), now, |set| idle(set) && set.held_us.1 <= now);
    }
    shard.get_mut(&name)
}

/// How many are taken ahead.
fn lease(buckets: &[Bucket]) -> i64 {
    let smallest = buckets.iter().map(|bucket| Pace::of(bucket.rate).capacity).min();
    (smallest.unwrap_or_default() / 100).min(LEASE_MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::kernel::Timestamp;
    use crate::kernel::plan::Rate;

    const START: Timestamp = Timestamp(1_750_000_000_000_000);
    /// Redis is 7 seconds ahead of us.
    const AHEAD_US: i64 = 7_000_000;
    const BIG: Rate = Rate::new(60_000, Duration::from_secs(60), 100_000);
    const SMALL: Rate = Rate::new(60, Duration::from_secs(60), 150);

    fn bucket(rate: Rate) -> [Bucket; 1] {
        [Bucket { policy: "test", id: 1, rate }]
    }

    fn wanted(held: &Held, rate: Rate) -> i64 {
        match held.ask(1, &bucket(rate)) {
            ControlFlow::Continue(wanted) => wanted,
            ControlFlow::Break(verdict) => panic!("{verdict:?}"),
        }
    }

    fn known(held: &Held, rate: Rate) -> Verdict {
        match held.ask(1, &bucket(rate)) {
            ControlFlow::Break(verdict) => verdict,
            ControlFlow::Continue(wanted) => panic!("asks for {wanted}"),
        }
    }

    fn answer(clock: &Clock, wanted: i64, granted: i64, used_us: i64) -> Answer {
        let now_us = clock.now().0 + AHEAD_US;
        Answer { wanted, granted, now_us, tats: [now_us + used_us; BUCKETS_MAX] }
    }

    /// As many calls as make it hot.
    fn heat(held: &Held, rate: Rate) {
        for _ in 0..HOT_PER_S {
            assert_eq!(wanted(held, rate), 1);
        }
    }

    #[test]
    fn who_calls_often_has_a_lease_of_a_second() {
        let clock = Clock::manual(START);
        let held = Held::new(clock.clone());
        heat(&held, BIG);
        assert_eq!(wanted(&held, BIG), LEASE_MAX);
        assert_eq!(wanted(&held, BIG), 1, "another asks for the lease");
        let verdict = held.learn(1, &bucket(BIG), &answer(&clock, 10, 10, 0));
        assert_eq!((verdict.allowed, verdict.states()[0].remaining), (true, 99_999));
        for left in (99_996..=99_998).rev() {
            let verdict = known(&held, BIG);
            assert_eq!((verdict.allowed, verdict.states()[0].remaining), (true, left));
        }
        clock.advance(Duration::from_millis(500));
        // By the clock of Redis.
        let state = known(&held, BIG).states()[0];
        assert_eq!(state.reset_at_us, START.0 + AHEAD_US + 500_000);
        clock.advance(Duration::from_millis(500));
        assert_eq!(wanted(&held, BIG), LEASE_MAX, "what is left has ended");
    }

    #[test]
    fn a_lease_that_is_used_up_is_asked_for_again() {
        let clock = Clock::manual(START);
        let held = Held::new(clock.clone());
        heat(&held, BIG);
        assert_eq!(wanted(&held, BIG), LEASE_MAX);
        held.learn(1, &bucket(BIG), &answer(&clock, 10, 10, 0));
        for _ in 1..LEASE_MAX {
            assert!(known(&held, BIG).allowed);
        }
        assert_eq!(wanted(&held, BIG), LEASE_MAX);
        // Nobody answers: the next is asked for a second later.
        assert_eq!(wanted(&held, BIG), 1);
        clock.advance(Duration::from_secs(1));
        assert_eq!(wanted(&held, BIG), LEASE_MAX);
    }

    #[test]
    fn a_small_bucket_has_no_lease_and_neither_has_a_calm_caller() {
        let clock = Clock::manual(START);
        let held = Held::new(clock.clone());
        heat(&held, SMALL);
        assert_eq!(wanted(&held, SMALL), 1);
        clock.advance(Duration::from_secs(2));
        for _ in 0..1000 {
            clock.advance(Duration::from_micros(1_000_000 / u64::from(HOT_PER_S)));
            assert_eq!(wanted(&held, BIG), 1);
        }
    }

    #[test]
    fn an_empty_bucket_is_believed_until_it_has_one() {
        let clock = Clock::manual(START);
        let held = Held::new(clock.clone());
        assert_eq!(wanted(&held, SMALL), 1);
        let empty = answer(&clock, 1, 0, 149_400_000);
        let verdict = held.learn(1, &bucket(SMALL), &empty);
        assert_eq!((verdict.allowed, verdict.retry_after_us()), (false, 400_000));
        clock.advance(Duration::from_micros(399_999));
        let verdict = known(&held, SMALL);
        assert_eq!((verdict.allowed, verdict.retry_after_us()), (false, 1));
        // Another bucket, and the same at another pace, is asked for.
        assert!(matches!(held.ask(2, &bucket(SMALL)), ControlFlow::Continue(1)));
        assert_eq!(wanted(&held, BIG), 1);
        clock.advance(Duration::from_micros(1));
        assert_eq!(wanted(&held, SMALL), 1);
    }

    #[test]
    fn an_empty_bucket_is_asked_again_after_a_second() {
        let slow = Rate::new(1, Duration::from_secs(3600), 1);
        let clock = Clock::manual(START);
        let held = Held::new(clock.clone());
        assert_eq!(wanted(&held, slow), 1);
        held.learn(1, &bucket(slow), &answer(&clock, 1, 0, 3_600_000_000));
        assert_eq!(known(&held, slow).retry_after_us(), 3_600_000_000);
        clock.advance(Duration::from_secs(1));
        assert_eq!(wanted(&held, slow), 1, "its plan may have changed");
    }
}
