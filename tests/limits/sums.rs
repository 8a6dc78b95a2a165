//! The sums: the script in Redis, the limiter in memory and the model that both are held to, which
//! is written as a bucket that fills, and not as they are.

use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use redis::Commands;
use runplane::cache::limits::gcra::{self, Pace};
use runplane::cache::limits::{Bucket, Local};
use runplane::kernel::Clock;
use runplane::kernel::plan::Rate;

use crate::harness::databases::START;
use crate::harness::redis::Redis;

const SCRIPT: &str = include_str!("../../services/cache/limits/gcra.lua");

/// A bucket by its content: how many microseconds of its pace are in it.
#[derive(Debug, Clone, Copy)]
struct Model {
    pace: Pace,
    content_us: i64,
    at_us: i64,
}

impl Model {
    fn full(pace: Pace, at_us: i64) -> Self {
        Self { pace, content_us: pace.fill_us(), at_us }
    }

    fn fill(&mut self, now_us: i64) {
        let content_us = self.content_us + (now_us - self.at_us).max(0);
        (self.content_us, self.at_us) = (content_us.clamp(0, self.pace.fill_us()), now_us);
    }

    fn has(&self) -> i64 {
        self.content_us / self.pace.emission_us
    }

    fn take(&mut self, count: i64) {
        self.content_us -= count * self.pace.emission_us;
    }

    fn full_at(&self) -> i64 {
        self.at_us + self.pace.fill_us() - self.content_us
    }
}

/// A call of some of the buckets, after a time.
#[derive(Debug, Clone)]
struct Step {
    after_us: i64,
    buckets: Vec<usize>,
    wanted: i64,
}

const BUCKETS: usize = 4;

fn paces() -> impl Strategy<Value = Vec<Pace>> {
    let emission = prop_oneof![1..50i64, 50..20_000i64, 1_000_000..40_000_000_000i64];
    let pace = (emission, prop_oneof![1..4i64, 1..200i64]);
    let pace = pace.prop_map(|(emission_us, capacity)| Pace { emission_us, capacity });
    prop::collection::vec(pace, BUCKETS)
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let buckets = prop::sample::subsequence((0..BUCKETS).collect::<Vec<_>>(), 1..=BUCKETS);
    let after = prop_oneof![Just(0i64), 0..30i64, 0..2_000_000i64, 0..4_000_000_000_000i64];
    let step = (after, buckets, prop_oneof![Just(1i64), 1..12i64]);
    let step = step.prop_map(|(after_us, buckets, wanted)| Step { after_us, buckets, wanted });
    prop::collection::vec(step, 1..60)
}

#[test]
fn the_script_does_the_sums_of_the_model() {
    let server = Redis::start();
    let (client, script) = (redis::Client::open(server.url()), redis::Script::new(SCRIPT));
    let mut redis = client.and_then(|client| client.get_connection()).expect("a connection");
    let config = Config { cases: 96, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new(config);
    let starts = prop::collection::vec(prop::option::of(-1.0..2.0f64), BUCKETS);
    let traces = (paces(), starts, steps());
    let run = |redis: &mut redis::Connection, (paces, starts, steps): Trace| {
        let () = redis::cmd("FLUSHALL").query(redis).expect("it is emptied");
        let now = time(redis);
        let key = |i: usize| format!("runplane:{{1}}:test:{i}");
        let mut models: Vec<_> = paces.iter().map(|pace| Model::full(*pace, now)).collect();
        // Some buckets have been used before, or by a faster pace, or long ago.
        for (i, start) in starts.iter().enumerate() {
            let Some(start) = start else { continue };
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_precision_loss,
                reason = "a guess"
            )]
            let tat = now + (paces[i].fill_us() as f64 * start) as i64;
            let () = redis.set(key(i), tat).expect("it is set");
            models[i].content_us = now + paces[i].fill_us() - tat;
        }
        for Step { buckets, wanted, .. } in steps {
            let mut call = script.prepare_invoke();
            call.arg(wanted);
            for i in &buckets {
                call.key(key(*i)).arg(paces[*i].emission_us).arg(paces[*i].capacity);
            }
            let answer: Vec<i64> = call.invoke(redis).expect("an answer");
            let (granted, now) = (answer[0], answer[1]);
            buckets.iter().for_each(|i| models[*i].fill(now));
            let has = buckets.iter().map(|i| models[*i].has()).fold(wanted, i64::min);
            prop_assert_eq!(granted, has);
            let before: Vec<_> = buckets.iter().map(|i| models[*i].full_at()).collect();
            prop_assert_eq!(&answer[2..], &before[..]);
            let pairs = before.iter().zip(buckets.iter().map(|i| paces[*i]));
            prop_assert_eq!(gcra::grant(pairs.map(|(tat, p)| (*tat, p)), now, wanted), granted);
            buckets.iter().for_each(|i| models[*i].take(granted));
            for i in buckets.iter().filter(|_| granted > 0) {
                let kept: Option<i64> = redis.get(key(*i)).expect("it is got");
                let left_ms: i64 = redis.pttl(key(*i)).expect("a time");
                let full_at = models[*i].full_at();
                prop_assert!(kept.is_none_or(|kept| kept == full_at), "{:?}", kept);
                // Minus 2: it has ended since.
                prop_assert!(left_ms != -1, "a key without an end");
                prop_assert!(left_ms <= (full_at - now) / 1000 + 2, "{left_ms} ms");
            }
        }
        Ok(())
    };
    let redis = std::cell::RefCell::new(&mut redis);
    runner.run(&traces, |trace| run(&mut redis.borrow_mut(), trace)).expect("it holds");
}

type Trace = (Vec<Pace>, Vec<Option<f64>>, Vec<Step>);

fn time(redis: &mut redis::Connection) -> i64 {
    let (seconds, micros): (i64, i64) = redis::cmd("TIME").query(redis).expect("a time");
    seconds * 1_000_000 + micros
}

proptest! {
    #![proptest_config(Config { cases: 256, ..Config::default() })]

    #[test]
    fn memory_does_the_sums_of_the_model(
        rates in prop::collection::vec((1..5000u32, 1..90_000u64, 1..200u32), BUCKETS),
        steps in steps(),
    ) {
        let clock = Clock::manual(START);
        let local = Local::new(clock.clone());
        let rate = |(limit, per, burst)| Rate::new(limit, Duration::from_secs(per), burst);
        let rates: Vec<_> = rates.into_iter().map(rate).collect();
        let full = |rate: &Rate| Model::full(Pace::of(*rate), START.0);
        let mut models: Vec<_> = rates.iter().map(full).collect();
        for Step { after_us, buckets, .. } in steps {
            clock.advance(Duration::from_micros(after_us.unsigned_abs()));
            let now = clock.now().0;
            buckets.iter().for_each(|i| models[*i].fill(now));
            let allowed = buckets.iter().all(|i| models[*i].has() > 0);
            let of: Vec<_> = buckets
                .iter()
                .map(|i| Bucket { policy: "test", id: *i as u128, rate: rates[*i] })
                .collect();
            let looked = local.look(1, &of);
            let verdict = local.admit(1, &of);
            prop_assert_eq!((verdict.allowed, looked.allowed), (allowed, allowed));
            let mut longest = 0;
            for (i, state) in buckets.iter().zip(verdict.states()) {
                let model = &mut models[*i];
                let emission_us = model.pace.emission_us;
                let wait = if allowed { 0 } else { (emission_us - model.content_us).max(0) };
                longest = longest.max(wait);
                model.take(i64::from(allowed));
                prop_assert_eq!(state.remaining, model.has());
                prop_assert_eq!(state.reset_at_us, model.full_at());
                prop_assert_eq!(state.retry_after_us, wait);
                // So long, and not a moment less, until there is one more.
                let mut later = *model;
                later.fill(now + state.next_us - 1);
                prop_assert_eq!(later.has(), model.has());
                later.fill(now + state.next_us);
                let full = model.content_us == model.pace.fill_us();
                prop_assert_eq!(later.has(), model.has() + i64::from(!full));
            }
            prop_assert_eq!(verdict.retry_after_us(), longest);
        }
    }
}

#[test]
fn a_rate_that_is_raised_holds_at_once() {
    let clock = Clock::manual(START);
    let local = Local::new(clock.clone());
    let admit = |rate| local.admit(1, &[Bucket { policy: "test", id: 1, rate }]);
    let slow = Rate::new(1, Duration::from_secs(86_400), 5);
    while admit(slow).allowed {}
    let fast = Rate::new(100, Duration::from_secs(1), 10);
    assert_eq!(admit(fast).retry_after_us(), 10_000);
    clock.advance(Duration::from_millis(10));
    assert!(admit(fast).allowed);
    assert!(!admit(fast).allowed);
}

#[test]
fn what_is_full_again_is_not_kept() {
    let clock = Clock::manual(START);
    let local = Local::new(clock.clone());
    let rate = Rate::new(60, Duration::from_secs(60), 60);
    for caller in 0..200_000u32 {
        let space = u128::from(caller);
        assert!(local.admit(space, &[Bucket { policy: "test", id: 0, rate }]).allowed);
        clock.advance(Duration::from_micros(100));
    }
    // One call is forgotten after a second, in which there are 10,000.
    assert!(local.len() < 40_000, "{} are kept", local.len());
}
