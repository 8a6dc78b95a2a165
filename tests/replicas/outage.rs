//! Redis goes away while a run is followed at another process: nothing durable is late by more than
//! the look into the journal, no text has a gap, and all is well again soon after Redis is back.

use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, timeout};

use super::told::{Stream, Told};
use super::{IDLE, Two, WAIT, asking, go_on, to_the_end, until};
use crate::harness::doors::Door;

/// Most rounds, so that the last finds Redis well.
const ROUNDS: usize = 40;
/// In which all works again after Redis is back, and a good deal for a busy machine.
const BACK: Duration = Duration::from_secs(30);

struct Followed {
    two: Two,
    run_id: String,
    stream: Stream,
    told: Told,
    rounds: usize,
}

impl Followed {
    async fn start(door: Door) -> Self {
        let two = Two::start("", IDLE).await;
        let agent_id = two.a.agent(&asking(ROUNDS, 40, 100)).await;
        let run_id = two.a.start(&agent_id, &json!("x")).await;
        let stream = Stream::open(&two.b, door, &run_id, "").await;
        let mut followed = Self { two, run_id, stream, told: Told::default(), rounds: 0 };
        followed.round().await;
        followed
    }

    /// Waits until the run asks.
    async fn round(&mut self) {
        self.rounds += 1;
        let Self { stream, told, rounds, .. } = self;
        until(stream, told, "run.requires_action", *rounds).await;
    }

    /// Lets the run go on, and does something to Redis within its next text.
    async fn within(&mut self, what: impl FnOnce(&Two)) {
        go_on(&self.two.a, &self.run_id).await;
        let before = self.told.count("token");
        let reading = until(&mut self.stream, &mut self.told, "token", before + 3);
        // While Redis is away none comes.
        let _away = timeout(Duration::from_secs(1), reading).await;
        what(&self.two);
        self.round().await;
    }

    /// Goes on until a whole text comes live again.
    async fn well_again(&mut self) -> Duration {
        let (since, before) = (Instant::now(), self.told.whole);
        while self.told.whole == before {
            assert!(since.elapsed() < BACK, "no text comes live: {:?}", self.told);
            self.within(|_| ()).await;
        }
        since.elapsed()
    }

    async fn end(self) {
        let Self { two, run_id, stream, told, .. } = self;
        let (status, run) = two.b.post(&format!("/v1/runs/{run_id}/cancel"), &json!({})).await;
        assert!(matches!(status, 200 | 202), "{run}");
        let told = to_the_end(stream, told).await;
        let log = two.a.get(&format!("/v1/runs/{run_id}/events?limit=100")).await.1;
        assert_eq!(told.durable().last(), Some(&"run.cancelled"), "{log}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_dies_and_comes_back_empty_while_a_run_is_followed() {
    let mut followed = Followed::start(Door::Rest).await;
    followed.within(|_| ()).await;
    assert_eq!((followed.told.whole, followed.told.torn), (1, 0));
    followed.within(|two| two.redis.kill()).await;
    let begun = Instant::now();
    followed.within(|_| ()).await;
    println!("a round without Redis took {:?}", begun.elapsed());
    // Back, and empty, in the middle of a text.
    followed.within(|two| two.redis.restart()).await;
    println!("text came live again {:?} after a restart", followed.well_again().await);
    followed
        .within(|two| {
            two.redis.kill();
            two.redis.restart();
        })
        .await;
    followed.well_again().await;
    followed.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_stalls_while_a_run_is_followed() {
    let mut followed = Followed::start(Door::Grpc).await;
    followed.within(|two| two.redis.stall()).await;
    followed.within(|_| ()).await;
    followed.within(|two| two.redis.resume()).await;
    println!("text came live again {:?} after a stall", followed.well_again().await);
    followed.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_start_and_followers_follow_without_their_redis() {
    let two = Two::start("", IDLE).await;
    two.redis.kill();
    let agent_id = two.a.agent(&asking(1, 40, 0)).await;
    let run_id = two.a.start(&agent_id, &json!("x")).await;
    let (mut stream, mut told) =
        (Stream::open(&two.b, Door::GrpcWeb, &run_id, "").await, Told::default());
    until(&mut stream, &mut told, "run.requires_action", 1).await;
    let Two { mut second, a, .. } = two;
    drop(stream);
    second.kill().await;
    let b = second.start_with(&a.key).await;
    let stream = Stream::open(&b, Door::Rest, &run_id, &told.last_id).await;
    go_on(&a, &run_id).await;
    let told = timeout(WAIT, to_the_end(stream, told)).await.expect("it ends");
    assert_eq!(told.durable().last(), Some(&"run.completed"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn text_that_redis_missed_for_long_is_withheld_and_leaves_no_gap() {
    let two = Two::start("", IDLE).await;
    let agent_id = two.a.agent(&asking(1, 1200, 100)).await;
    let run_id = two.a.start(&agent_id, &json!("x")).await;
    let mut here = (Stream::open(&two.a, Door::Rest, &run_id, "").await, Told::default());
    let mut there = (Stream::open(&two.b, Door::Rest, &run_id, "").await, Told::default());
    for (stream, told) in [&mut here, &mut there] {
        until(stream, told, "run.requires_action", 1).await;
    }
    go_on(&two.a, &run_id).await;
    until(&mut there.0, &mut there.1, "token", 3).await;
    two.redis.kill();
    // More than the process that drives the run keeps to send again.
    until(&mut here.0, &mut here.1, "token", 320).await;
    two.redis.restart();
    let here = to_the_end(here.0, here.1).await;
    let there = to_the_end(there.0, there.1).await;
    assert_eq!((here.whole, here.torn), (1, 0), "at home it is whole");
    assert_eq!((there.whole, there.torn), (0, 1), "a beginning came, and then the message");
    assert_eq!(here.durable(), there.durable());
}
