//! A run that one process drives, followed at another: every event, every piece of text, from any
//! position; and what is left of it in Redis.

use futures::future::join_all;
use redis::AsyncCommands;
use serde_json::json;
use tokio::time::timeout;

use super::told::{Stream, Told};
use super::{IDLE, Two, WAIT, asking, go_on, to_the_end, until};
use crate::harness::doors::Door;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_is_followed_at_another_process_over_every_door_with_every_token() {
    let two = Two::start("", IDLE).await;
    let agent_id = two.a.agent(&asking(2, 150, 100)).await;
    let run_id = two.a.start(&agent_id, &json!("x")).await;
    let mut streams = vec![Stream::lines(&two.a, &run_id).await];
    streams.push(Stream::lines(&two.b, &run_id).await);
    for door in Door::ALL {
        streams.push(Stream::open(&two.b, door, &run_id, "").await);
    }
    let mut followers = Vec::new();
    for mut stream in streams {
        let mut told = Told::default();
        until(&mut stream, &mut told, "run.requires_action", 1).await;
        followers.push((stream, told));
    }
    go_on(&two.a, &run_id).await;
    let told = join_all(followers.into_iter().map(|(mut stream, mut told)| async {
        until(&mut stream, &mut told, "run.requires_action", 2).await;
        (stream, told)
    }));
    let followers = told.await;
    go_on(&two.a, &run_id).await;
    let told = join_all(followers.into_iter().map(|(stream, told)| to_the_end(stream, told))).await;
    let log = two.b.log(&run_id).await;
    for told in &told {
        assert_eq!(told.seq, log.len() as i64);
        assert_eq!((told.whole, told.torn), (2, 0), "every token: {:?}", told.durable());
    }
    for (told, at) in told.iter().zip(["the process that drives the run", "another process"]) {
        let mut lags = told.lags_us.clone();
        lags.sort_unstable();
        let at_part = |n: usize| lags[(lags.len() - 1) * n / 100];
        let (half, most) = (at_part(50), at_part(99));
        println!("text at {at}: {half} µs in the middle, {most} µs at p99, of {}", lags.len());
    }
    every_key_ends(&two, &run_id).await;
}

/// Everything in Redis has our prefix, and ends some time.
async fn every_key_ends(two: &Two, run_id: &str) {
    let client = redis::Client::open(two.redis.url()).expect("a URL");
    let mut redis = client.get_multiplexed_async_connection().await.expect("a connection");
    let keys: Vec<String> = redis.keys("*").await.expect("keys");
    let streams = keys.iter().filter(|key| key.starts_with("runplane:ev:")).count();
    assert_eq!(streams, 1, "the run {run_id}: {keys:?}");
    for key in keys {
        assert!(key.starts_with("runplane:"), "{key}");
        let left: i64 = redis.pttl(&key).await.expect("a time");
        assert!((1..=600_000).contains(&left) || !key.contains(":ev:"), "{key}: {left} ms");
        assert!(left > 0, "{key} stays for ever");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_resumes_within_live_text_at_another_process() {
    let two = Two::start("", IDLE).await;
    let agent_id = two.a.agent(&asking(1, 300, 60)).await;
    for (door, from_event) in Door::ALL.into_iter().zip([false, true, false]) {
        let run_id = two.a.start(&agent_id, &json!("x")).await;
        let mut stream = Stream::open(&two.a, door, &run_id, "").await;
        let mut told = Told::default();
        until(&mut stream, &mut told, "run.requires_action", 1).await;
        go_on(&two.a, &run_id).await;
        until(&mut stream, &mut told, "token", 10).await;
        drop(stream);
        // Within the text, or from the event before it.
        let mut after = told.last_id.clone();
        if from_event {
            (after, told) = (told.seq.to_string(), Told::after(told.seq));
        }
        let mut stream = Stream::open(&two.b, door, &run_id, &after).await;
        let (before, seq) = (told.count("token"), told.seq);
        until(&mut stream, &mut told, "token", before + 5).await;
        assert_eq!(told.seq, seq, "still within the text");
        let (last, live) = (told.last_id.clone(), told.live_text());
        let told = to_the_end(stream, told).await;
        assert_eq!((told.whole, told.torn), (1, 0), "{door:?}: the text goes on where it was");
        // When it is committed, the text is superseded.
        let again =
            to_the_end(Stream::open(&two.b, door, &run_id, &last).await, Told::after(seq)).await;
        assert_eq!((again.count("token"), again.seq), (0, told.seq), "{live:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_says_when_to_come_back_and_that_it_lives() {
    let mut two = Two::start("", IDLE).await;
    let agent_id = two.a.agent(&asking(1, 5, 60)).await;
    let run_id = two.a.start(&agent_id, &json!("x")).await;
    let request = two.b.request(reqwest::Method::GET, &format!("/v1/runs/{run_id}/events"));
    let stream = request.header("accept", "text/event-stream").send().await;
    let (mut stream, mut text) = (stream.expect("a stream"), String::new());
    let reading = async {
        while !text.contains("\n\n: ping\n\n") {
            let chunk = stream.chunk().await.expect("no failure").expect("no end");
            text.push_str(std::str::from_utf8(&chunk).expect("UTF-8"));
        }
    };
    timeout(WAIT, reading).await.expect("a sign of life");
    assert!(text.starts_with("retry: 1000\nid: 1\nevent: run.created\n"), "{text}");
    two.second.terminate();
    let rest = timeout(WAIT, stream.text()).await.expect("it ends").expect("in order");
    assert!(rest.ends_with("retry: 500\n\n"), "{rest}");
    assert_eq!(two.second.ended().await.code(), Some(0), "{}", two.second.logged);
}
