//! What this process knows for a moment of buckets in Redis: those that were empty, which need
//! not be asked again at once, and some that were taken ahead for callers who call very often.
//! Called by `mod.rs` around every question to Redis; never asks itself.
//!
//! Of callers who call very often one call at a time asks, for itself, for those that have come
//! meanwhile, and ahead.
//!
//! **Bound.** A caller that calls a set of buckets more than [`HOT_PER_S`] times a second here
//! gets its lease: [`LEASE_MAX`] at a time, or a hundredth of the smallest bucket, that end after
//! a second. All of it has been taken in Redis, so nothing is admitted twice; but what was taken
//! in one second may be used in the next. In any window a set of buckets can thus admit at most
//! one lease for each process more than its plan says. What ends unused is lost to the caller.

use tokio::sync::oneshot;

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

/// What becomes of a call.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "taken apart where it was made")]
pub(super) enum Turn {
    /// It is decided.
    Decided(Verdict),
    /// Redis must be asked for so many.
    Ask(i64),
    /// Another call asks for this one too, and tells.
    Wait(oneshot::Receiver<Turn>),
}

/// A call that asks for others too. When it ends before it was answered, they learn of that.
pub(super) struct Asking<'a> {
    held: &'a Held,
    space: u128,
    buckets: &'a [Bucket],
    is_open: bool,
}

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
    /// Until when somebody asks for a lease, and who waits for the answer.
    asking_us: i64,
    waiting: Vec<oneshot::Sender<Turn>>,
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

    /// What becomes of a call.
    pub(super) fn ask(&self, space: u128, buckets: &[Bucket]) -> Turn {
        let Some(name) = SetName::of(space, buckets) else { return Turn::Ask(1) };
        let now = self.clock.now().0;
        let mut shard = self.sets.lock(space);
        let Some(set) = kept(&mut shard, name, now) else { return Turn::Ask(1) };
        set.count(now);
        if set.is_held(now, buckets) {
            return Turn::Decided(set.decide(now, buckets));
        }
        let lease = lease(buckets);
        if lease < 2 || set.calls.max(set.calls_before) <= HOT_PER_S {
            return Turn::Ask(1);
        }
        // Only one asks ahead, so that there is never more than one lease.
        if now < set.asking_us {
            let (tell, told) = oneshot::channel();
            set.waiting.push(tell);
            return Turn::Wait(told);
        }
        set.asking_us = now + ASKING_US;
        Turn::Ask(lease + count(&set.waiting))
    }

    /// Marks that a call asks, for others too unless it asks for one.
    pub(super) fn asking<'a>(
        &'a self,
        space: u128,
        buckets: &'a [Bucket],
        wanted: i64,
    ) -> Asking<'a> {
        Asking { held: self, space, buckets, is_open: wanted > 1 }
    }

    /// Tells those that wait that there is no answer.
    fn give_up(&self, space: u128, buckets: &[Bucket]) {
        let Some(name) = SetName::of(space, buckets) else { return };
        if let Some(set) = self.sets.lock(space).get_mut(&name) {
            set.asking_us = 0;
            set.waiting.clear();
        }
    }
}

impl Asking<'_> {
    /// Keeps what Redis has answered, and tells what becomes of the call.
    pub(super) fn learn(mut self, answer: &Answer) -> Verdict {
        self.is_open = false;
        let paces = self.buckets.iter().map(|bucket| (bucket, Pace::of(bucket.rate)));
        let known = paces.zip(answer.tats).map(|((bucket, pace), tat)| (bucket, tat, pace));
        // What was taken ahead is still there for this caller.
        let verdict = Verdict::of(known.clone(), answer.now_us, answer.granted.min(1), 1);
        if answer.wanted == 1 && verdict.allowed {
            return verdict;
        }
        let Some(name) = SetName::of(self.space, self.buckets) else { return verdict };
        let now = self.held.clock.now().0;
        let mut shard = self.held.sets.lock(self.space);
        let Some(set) = kept(&mut shard, name, now) else { return verdict };
        let is_news = set.tokens == 0 || !set.is_held(now, self.buckets);
        if is_news {
            let for_us = if verdict.allowed { HOLD_US } else { verdict.retry_after_us() };
            set.tokens = (answer.granted - 1).max(0);
            set.held_us = (now, now + for_us.min(HOLD_US));
            set.ahead_us = answer.now_us - now;
            set.buckets = [None; BUCKETS_MAX];
            for ((_, tat, pace), kept) in known.zip(&mut set.buckets) {
                *kept = Some((pace, tat + pace.emission_us * answer.granted));
            }
        }
        if answer.wanted > 1 {
            set.answer(now, self.buckets, is_news && answer.granted < answer.wanted);
        }
        verdict
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        if self.is_open {
            self.held.give_up(self.space, self.buckets);
        }
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

    /// Tells those that wait: as many as there are tokens; the others, that a bucket is empty, or
    /// one of them, to ask for all that are left.
    fn answer(&mut self, now: i64, buckets: &[Bucket], is_empty: bool) {
        self.asking_us = 0;
        let mut waiting = std::mem::take(&mut self.waiting).into_iter();
        while self.tokens > 0 || is_empty {
            let Some(tell) = waiting.next() else { return };
            // Who waits no more leaves its token to the next.
            if !tell.is_closed() {
                let _gone = tell.send(Turn::Decided(self.decide(now, buckets)));
            }
        }
        // Nothing is left of what was granted: not that a bucket is empty.
        self.held_us = (0, 0);
        while let Some(tell) = waiting.next() {
            let others = count(waiting.as_slice());
            if tell.send(Turn::Ask(lease(buckets) + others)).is_ok() {
                self.asking_us = now + ASKING_US;
                self.waiting = waiting.collect();
                return;
            }
        }
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

fn count(waiting: &[oneshot::Sender<Turn>]) -> i64 {
    i64::try_from(waiting.len()).unwrap_or(i64::MAX)
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
            Turn::Ask(wanted) => wanted,
            other => panic!("{other:?}"),
        }
    }

    fn known(held: &Held, rate: Rate) -> Verdict {
        match held.ask(1, &bucket(rate)) {
            Turn::Decided(verdict) => verdict,
            other => panic!("{other:?}"),
        }
    }

    fn answer(clock: &Clock, wanted: i64, granted: i64, used_us: i64) -> Answer {
        let now_us = clock.now().0 + AHEAD_US;
        Answer { wanted, granted, now_us, tats: [now_us + used_us; BUCKETS_MAX] }
    }

    fn learn(held: &Held, rate: Rate, answer: &Answer) -> Verdict {
        held.asking(1, &bucket(rate), answer.wanted).learn(answer)
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
        let verdict = learn(&held, BIG, &answer(&clock, 10, 10, 0));
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
        learn(&held, BIG, &answer(&clock, 10, 10, 0));
        for _ in 1..LEASE_MAX {
            assert!(known(&held, BIG).allowed);
        }
        assert_eq!(wanted(&held, BIG), LEASE_MAX);
    }

    fn waits(held: &Held) -> oneshot::Receiver<Turn> {
        match held.ask(1, &bucket(BIG)) {
            Turn::Wait(told) => told,
            other => panic!("{other:?}"),
        }
    }

    fn left(told: &mut oneshot::Receiver<Turn>) -> (bool, i64) {
        match told.try_recv() {
            Ok(Turn::Decided(verdict)) => (verdict.allowed, verdict.states()[0].remaining),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn one_asks_for_all_that_wait() {
        let clock = Clock::manual(START);
        let held = Held::new(clock.clone());
        heat(&held, BIG);
        assert_eq!(wanted(&held, BIG), LEASE_MAX);
        let mut waiting: Vec<_> = (0..15).map(|_| waits(&held)).collect();
        drop(waiting.remove(3));
        learn(&held, BIG, &answer(&clock, 10, 10, 0));
        // One has asked, 9 are told, and the next asks for the other 4 and ahead.
        for (i, told) in waiting[..9].iter_mut().enumerate() {
            assert_eq!(left(told), (true, 99_998 - i64::try_from(i).unwrap()));
        }
        assert!(matches!(waiting[9].try_recv(), Ok(Turn::Ask(14))));
        waiting.push(waits(&held));
        // There were only 3 left.
        learn(&held, BIG, &answer(&clock, 14, 3, 99_997_000));
        let told: Vec<_> = waiting[10..].iter_mut().map(left).collect();
        assert_eq!(told, [(true, 1), (true, 0), (false, 0), (false, 0), (false, 0)]);
    }

    #[test]
    fn who_waits_is_told_when_there_is_no_answer() {
        let held = Held::new(Clock::manual(START));
        heat(&held, BIG);
        let ahead = wanted(&held, BIG);
        let buckets = bucket(BIG);
        let asking = held.asking(1, &buckets, ahead);
        let mut told = waits(&held);
        assert!(matches!(told.try_recv(), Err(oneshot::error::TryRecvError::Empty)));
        drop(asking);
        assert!(matches!(told.try_recv(), Err(oneshot::error::TryRecvError::Closed)));
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
        let verdict = learn(&held, SMALL, &empty);
        assert_eq!((verdict.allowed, verdict.retry_after_us()), (false, 400_000));
        clock.advance(Duration::from_micros(399_999));
        let verdict = known(&held, SMALL);
        assert_eq!((verdict.allowed, verdict.retry_after_us()), (false, 1));
        // Another bucket, and the same at another pace, is asked for.
        assert!(matches!(held.ask(2, &bucket(SMALL)), Turn::Ask(1)));
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
        learn(&held, slow, &answer(&clock, 1, 0, 3_600_000_000));
        assert_eq!(known(&held, slow).retry_after_us(), 3_600_000_000);
        clock.advance(Duration::from_secs(1));
        assert_eq!(wanted(&held, slow), 1, "its plan may have changed");
    }
}
