//! The bus of several processes, without the processes: what Redis refuses, what is loaded again,
//! and who hears what.

use std::time::Duration;

use runplane::cache::link::Link;
use runplane::cache::{
    Bus, Durable, EventId, Frame, Heard, Received, Subscription, Token, Version,
};
use runplane::kernel::Timestamp;
use runplane::kernel::config::Config;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

use super::WAIT;
use crate::harness::redis::Redis;

/// A process, as far as the bus goes.
struct Process {
    bus: Bus,
    heard: mpsc::UnboundedReceiver<Heard>,
    _stop: DropGuard,
}

impl Process {
    async fn start(redis: &Redis) -> Self {
        let config = Config::with(&redis.config()).expect("a right configuration").redis;
        let link = Link::new(&config).expect("a URL").expect("a Redis");
        link.probe().await;
        let (bus, stop) = (Bus::new(Some(link.clone()), false), CancellationToken::new());
        let (tell, heard) = mpsc::unbounded_channel();
        let (of, end) = (bus.clone(), stop.clone());
        tokio::spawn(async move {
            let heard = move |heard| -> futures::future::BoxFuture<'static, ()> {
                let _gone = tell.send(heard);
                Box::pin(async {})
            };
            tokio::join!(link.run(&end), of.run(heard, &end));
        });
        let mut process = Self { bus, heard, _stop: stop.drop_guard() };
        // Said when it begins to listen.
        process.hears(Heard::Key(None)).await;
        process.hears(Heard::Wake).await;
        process
    }

    async fn hears(&mut self, what: Heard) {
        let heard = timeout(WAIT, self.heard.recv()).await.expect("it is told").expect("a bus");
        assert_eq!(heard, what);
    }

    /// Follows a run, and listens already.
    async fn follow(&self, run_id: Uuid) -> Subscription {
        let mut subscription = self.bus.subscribe(run_id);
        assert_eq!(next(&mut subscription).await, Received::Missed);
        subscription
    }
}

async fn next(subscription: &mut Subscription) -> Received {
    timeout(WAIT, subscription.next()).await.expect("something comes")
}

fn durable(seq: i64, data: &str) -> Frame {
    let (r#type, data) = ("step".into(), data.into());
    Frame::Durable(Durable { seq, r#type, data, at: Timestamp(7) })
}

fn token(seq: i64, n: i64, delta: &str) -> Frame {
    let (id, step_id) = (EventId { seq, n }, "stp_1".into());
    Frame::Token(Token { id, step_id, offset: 0, delta: delta.into(), at: Timestamp(7) })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_come_to_other_processes_as_they_were_and_once() {
    let redis = Redis::start();
    let (writer, reader) = (Process::start(&redis).await, Process::start(&redis).await);
    let run = Uuid::from_u128(1);
    let (mut here, mut there) = (writer.bus.subscribe(run), reader.follow(run).await);
    let frames = [durable(1, "{\"a\":\"b\\nc\"}"), token(1, 1, "a\nb"), durable(2, "{}")];
    for frame in &frames {
        writer.bus.publish(run, frame.clone());
    }
    for frame in frames {
        assert_eq!(next(&mut there).await, Received::Frame(frame.clone()));
        let mut at_home = next(&mut here).await;
        while at_home == Received::Missed {
            at_home = next(&mut here).await;
        }
        assert_eq!(at_home, Received::Frame(frame));
    }
    writer.bus.publish(run, durable(3, &"x".repeat(100_000)));
    assert_eq!(next(&mut there).await, Received::Large(3), "too large: the journal has it");
    let kept = there.kept(EventId::default()).await.expect("Redis is there");
    assert_eq!((kept.tokens.len(), kept.top), (1, EventId::durable(3)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_lost_its_run_cannot_put_a_frame_after_those_of_the_next() {
    let redis = Redis::start();
    let (zombie, owner) = (Process::start(&redis).await, Process::start(&redis).await);
    let (reader, run) = (Process::start(&redis).await, Uuid::from_u128(1));
    let mut subscription = reader.follow(run).await;
    zombie.bus.publish(run, token(1, 1, "old"));
    assert_eq!(next(&mut subscription).await, Received::Frame(token(1, 1, "old")));
    owner.bus.publish(run, durable(2, "{}"));
    assert_eq!(next(&mut subscription).await, Received::Frame(durable(2, "{}")));
    zombie.bus.publish(run, token(1, 2, "never"));
    zombie.bus.publish(Uuid::from_u128(2), durable(1, "{}"));
    // What it said after that has come: what it said before was refused.
    let mut other = reader.follow(Uuid::from_u128(2)).await;
    zombie.bus.publish(Uuid::from_u128(2), durable(2, "{}"));
    while next(&mut other).await != Received::Frame(durable(2, "{}")) {}
    owner.bus.publish(run, token(2, 1, "new"));
    assert_eq!(next(&mut subscription).await, Received::Frame(token(2, 1, "new")));
    let kept = subscription.kept(EventId::default()).await.expect("Redis is there");
    let kept: Vec<_> = kept.tokens.iter().map(|token| &*token.delta).collect();
    assert_eq!(kept, ["old", "new"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_forgets_its_scripts_is_told_them_again() {
    let redis = Redis::start();
    let (writer, reader) = (Process::start(&redis).await, Process::start(&redis).await);
    let mut there = reader.follow(Uuid::max()).await;
    let client = redis::Client::open(redis.url()).expect("a URL");
    let mut way = client.get_multiplexed_async_connection().await.expect("a connection");
    let mut flush = redis::cmd("SCRIPT");
    flush.arg("FLUSH").query_async::<()>(&mut way).await.expect("it forgets");
    writer.bus.publish(Uuid::max(), token(1, 1, "a"));
    assert_eq!(next(&mut there).await, Received::Frame(token(1, 1, "a")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_redis_lost_of_a_live_run_is_sent_again() {
    let redis = Redis::start();
    let (writer, reader) = (Process::start(&redis).await, Process::start(&redis).await);
    let run = Uuid::max();
    let mut there = reader.follow(run).await;
    writer.bus.publish(run, token(1, 1, "a"));
    assert_eq!(next(&mut there).await, Received::Frame(token(1, 1, "a")));
    redis.kill();
    writer.bus.publish(run, token(1, 2, "b"));
    redis.restart();
    // Both are there again, whichever way they come.
    let looking = async {
        loop {
            let kept = there.kept(EventId::default()).await.unwrap_or_default();
            if kept.tokens.len() == 2 {
                return kept;
            }
            tokio::task::yield_now().await;
        }
    };
    let kept = timeout(WAIT, looking).await.expect("it is sent again");
    assert_eq!(kept.top, EventId { seq: 1, n: 2 });
    writer.bus.publish(run, token(1, 3, "c"));
    while next(&mut there).await != Received::Frame(token(1, 3, "c")) {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn words_come_to_whom_they_concern() {
    let redis = Redis::start();
    let (one, mut two) = (Process::start(&redis).await, Process::start(&redis).await);
    let mut three = Process::start(&redis).await;
    let (worker, run) = (Uuid::from_u128(7), Uuid::from_u128(8));
    one.bus.tell_key(Some("abc"));
    for other in [&mut two, &mut three] {
        other.hears(Heard::Key(Some("abc".to_owned()))).await;
    }
    // Many at once are few.
    (0..1000).for_each(|_| one.bus.wake());
    two.hears(Heard::Wake).await;
    three.hears(Heard::Wake).await;
    two.bus.listen_for(worker);
    // It may not listen yet: said until it is heard.
    let saying = async {
        let mut again = tokio::time::interval(Duration::from_millis(50));
        loop {
            again.tick().await;
            one.bus.tell_cancel(worker, run);
        }
    };
    let hearing = async {
        while timeout(WAIT, two.heard.recv()).await.expect("told") != Some(Heard::Cancel(run)) {}
    };
    tokio::select! {
        () = saying => {}
        () = hearing => {}
    }
    one.bus.tell_key(None);
    let mut wakes = 0;
    loop {
        match timeout(WAIT, three.heard.recv()).await.expect("it is told").expect("a bus") {
            Heard::Wake => wakes += 1,
            other => {
                assert_eq!(other, Heard::Key(None), "a cancel is for one worker");
                break;
            }
        }
    }
    assert!(wakes <= 2, "{wakes} more wake-ups");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_holds_something_else_is_in_nobodys_way() {
    let redis = Redis::start();
    let (writer, reader) = (Process::start(&redis).await, Process::start(&redis).await);
    let run = Uuid::from_u128(1);
    let mut there = reader.follow(run).await;
    let client = redis::Client::open(redis.url()).expect("a URL");
    let mut way = client.get_multiplexed_async_connection().await.expect("a connection");
    for key in ["ev", "st"] {
        let mut set = redis::cmd("SET");
        set.arg(format!("runplane:{key}:{run}")).arg("x");
        let () = set.query_async(&mut way).await.expect("set");
    }
    writer.bus.publish(run, durable(1, "{}"));
    assert_eq!(next(&mut there).await, Received::Frame(durable(1, "{}")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn how_far_a_run_is_is_known_longer_than_its_picture_is_kept() {
    let redis = Redis::start();
    let writer = Process::start(&redis).await;
    let run = Uuid::from_u128(1);
    let version = |seq| Version { seq, revision: 1 };
    assert!(writer.bus.keep_picture(run, version(2), false, "new".into()).await);
    assert!(!writer.bus.keep_picture(run, version(1), false, "old".into()).await);
    assert_eq!(writer.bus.picture(run).await.as_deref(), Some(&b"new"[..]));
    let client = redis::Client::open(redis.url()).expect("a URL");
    let mut way = client.get_multiplexed_async_connection().await.expect("a connection");
    let mut left = async |key: &str| {
        let mut ask = redis::cmd("PTTL");
        ask.arg(format!("runplane:{key}:{run}"));
        ask.query_async::<i64>(&mut way).await.expect("an answer")
    };
    assert!(left("pic").await <= 2000);
    assert!(left("st").await > 4000, "who reads slowly must not keep what is older");
}
