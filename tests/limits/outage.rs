//! Redis goes away under load: nothing fails because of it, nobody waits for it, what is admitted
//! has a bound, and it is back soon after it can be.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use runplane::cache::limits::{Bucket, Limiter};
use runplane::kernel::Clock;
use runplane::kernel::plan::Rate;
use serde_json::json;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::replicas::{REPLICAS, limiters, links};
use crate::harness::app::{App, Options};
use crate::harness::doors::Door;
use crate::harness::redis::Redis;

/// Longest time to come back.
const BACK: Duration = Duration::from_secs(5);

/// Longest wait for what must come.
const WAIT: Duration = Duration::from_secs(60);

/// One a second, and 60 at once.
const BUCKET: Bucket =
    Bucket { policy: "test", id: 1, rate: Rate::new(60, Duration::from_secs(60), 60) };

/// Limiters that are asked all the time.
struct Load {
    limiters: Vec<Limiter>,
    admitted: Arc<AtomicI64>,
    done: Arc<AtomicBool>,
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
    since_us: i64,
}

/// Asks until it is done.
async fn ask(limiter: Limiter, admitted: Arc<AtomicI64>, done: Arc<AtomicBool>) {
    while !done.load(Ordering::Relaxed) {
        let verdict = limiter.admit(1, &[BUCKET]).await;
        admitted.fetch_add(i64::from(verdict.allowed), Ordering::Relaxed);
        tokio::task::yield_now().await;
    }
}

impl Load {
    async fn start(redis: &Redis) -> Self {
        let links = links(redis);
        let limiters = limiters(&links).await;
        let (admitted, done) = (Arc::new(AtomicI64::new(0)), Arc::new(AtomicBool::new(false)));
        let (stop, mut tasks) = (CancellationToken::new(), Vec::new());
        for link in links {
            let end = stop.clone();
            tasks.push(tokio::spawn(async move { link.run(&end).await }));
        }
        for limiter in &limiters {
            let (of, end) = (limiter.clone(), stop.clone());
            tasks.push(tokio::spawn(async move { of.run(end).await }));
            let callers = (0..4).map(|_| ask(limiter.clone(), admitted.clone(), done.clone()));
            tasks.extend(callers.map(tokio::spawn));
        }
        let since_us = Clock::system().now().0;
        Self { limiters, admitted, done, stop, tasks, since_us }
    }

    /// Waits until every limiter counts in Redis, or none does.
    async fn until(&self, whole: bool, within: Duration) {
        let all = || self.limiters.iter().all(|limiter| limiter.is_whole() == whole);
        let waiting = async {
            while !all() {
                tokio::task::yield_now().await;
            }
        };
        timeout(within, waiting).await.unwrap_or_else(|_| panic!("whole must be {whole}"));
    }

    /// How many calls have waited for Redis.
    fn waits(&self) -> u32 {
        self.limiters.iter().map(Limiter::waits).sum()
    }

    /// Waits until each limiter alone has admitted and refused.
    async fn counts_alone(&self) {
        let waits = self.waits();
        for limiter in &self.limiters {
            for _ in 0..500 {
                let verdict = limiter.admit(1, &[BUCKET]).await;
                self.admitted.fetch_add(i64::from(verdict.allowed), Ordering::Relaxed);
                let share = i64::from(60 / REPLICAS);
                assert_eq!((verdict.degraded, verdict.states()[0].limit), (true, share));
            }
        }
        assert_eq!(self.waits(), waits, "a call has waited for a Redis that is away");
    }

    /// Ends, and checks that at most so many full buckets were admitted, beside what filled.
    async fn end(self, buckets: i64) {
        self.done.store(true, Ordering::Relaxed);
        self.stop.cancel();
        for task in self.tasks {
            task.await.expect("no call fails");
        }
        let filled = (Clock::system().now().0 - self.since_us) / 1_000_000 + 1;
        // In memory and in Redis a bucket fills at the same time.
        let most = 60 * buckets + 2 * filled;
        let admitted = self.admitted.load(Ordering::Relaxed);
        assert!((60..=most).contains(&admitted), "{admitted} admitted, at most {most}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_dies_and_comes_back_empty_harms_nobody() {
    let redis = Redis::start();
    let load = Load::start(&redis).await;
    for _ in 0..2 {
        redis.kill();
        load.until(false, WAIT).await;
        load.counts_alone().await;
        redis.restart();
        load.until(true, BACK).await;
        let verdict = load.limiters[0].admit(1, &[BUCKET]).await;
        load.admitted.fetch_add(i64::from(verdict.allowed), Ordering::Relaxed);
        assert_eq!((verdict.degraded, verdict.states()[0].limit), (false, 60));
    }
    // The bucket that was there, and for each outage one in memory and one that came back full.
    load.end(5).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_stalls_holds_nobody_up() {
    let redis = Redis::start();
    let load = Load::start(&redis).await;
    redis.stall();
    load.until(false, WAIT).await;
    load.counts_alone().await;
    redis.resume();
    load.until(true, BACK).await;
    // The bucket that was there, which came back as it was, and one in memory.
    load.end(2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_starts_and_serves_without_its_redis() {
    let redis = Arc::new(Redis::start());
    redis.kill();
    let plan = "[plans.enterprise]\nrequests = { limit = 100, per = \"1h\", burst = 100 }\n";
    let (config, on) = (plan.to_owned(), Some(Arc::clone(&redis)));
    let app = App::with(Options { config, redis: on, ..Options::default() }).await;
    let list = async |door: Door| {
        let answer = app.door(door).answer("AgentsService/ListAgents", json!({})).await;
        let headers = answer.expect("a list").headers;
        (headers["x-ratelimit-remaining"].clone(), headers.contains_key("x-ratelimit-degraded"))
    };
    for (door, left) in Door::ALL.into_iter().zip(["99", "98", "97"]) {
        assert_eq!(list(door).await, (left.to_owned(), true), "{door:?}");
    }
    redis.restart();
    let back = async { while list(Door::Rest).await.1 {} };
    timeout(WAIT, back).await.expect("it finds its Redis");
    redis.stall();
    for door in Door::ALL {
        list(door).await;
    }
    redis.resume();
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_fails_whatever_becomes_of_redis() {
    let redis = Arc::new(Redis::start());
    // As it is without tests beside it: many calls are late, and count for themselves.
    let (config, on) = ("[redis]\ntimeout_ms = 25".to_owned(), Some(Arc::clone(&redis)));
    let app = App::with(Options { config, redis: on, ..Options::default() }).await;
    let (done, degraded) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicI64::new(0)));
    let callers: Vec<_> = Door::ALL
        .into_iter()
        .map(|door| {
            let (client, done, degraded) = (app.door(door), done.clone(), degraded.clone());
            tokio::spawn(async move {
                while !done.load(Ordering::Relaxed) {
                    let answer = client.answer("AgentsService/ListAgents", json!({})).await;
                    let headers = answer.expect("no call fails").headers;
                    let alone = headers.contains_key("x-ratelimit-degraded");
                    degraded.fetch_add(i64::from(alone), Ordering::Relaxed);
                    assert!(headers["x-ratelimit-limit"] == "1000000", "{headers:?}");
                }
            })
        })
        .collect();
    let until_alone = async || {
        let before = degraded.load(Ordering::Relaxed);
        let waiting = async {
            while degraded.load(Ordering::Relaxed) < before + 30 {
                tokio::task::yield_now().await;
            }
        };
        timeout(WAIT, waiting).await.expect("calls are counted alone");
    };
    redis.kill();
    until_alone().await;
    redis.restart();
    redis.stall();
    until_alone().await;
    redis.resume();
    redis.kill();
    redis.restart();
    done.store(true, Ordering::Relaxed);
    for caller in callers {
        caller.await.expect("no call fails");
    }
    app.stop().await;
}
