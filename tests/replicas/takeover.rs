//! The process that drives a run dies; its followers elsewhere go on with the next one.

use serde_json::json;

use super::told::{Stream, Told};
use super::{Two, asking, go_on, to_the_end, until};
use crate::harness::doors::Door;

/// Finds a dead worker soon.
const QUICK: &str = "[engine]\nheartbeat_ms = 200\nlease_ms = 1000\npoll_ms = 200\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_elsewhere_goes_on_when_the_process_of_its_run_is_killed() {
    let Two { redis: _redis, mut first, mut second, a, b, _place } = Two::start(QUICK, QUICK).await;
    // Only one is there when the run is taken.
    second.kill().await;
    let agent_id = a.agent(&asking(1, 200, 50)).await;
    let run_id = a.start(&agent_id, &json!("x")).await;
    let mut at_a = Stream::open(&a, Door::Rest, &run_id, "").await;
    let mut told = Told::default();
    until(&mut at_a, &mut told, "run.requires_action", 1).await;
    go_on(&a, &run_id).await;
    until(&mut at_a, &mut told, "token", 3).await;
    let b = b.at(&second.start_with(&a.key).await.url);
    let mut streams = Vec::new();
    for door in Door::ALL {
        let (mut stream, mut told) = (Stream::open(&b, door, &run_id, "").await, Told::default());
        until(&mut stream, &mut told, "token", 3).await;
        streams.push((stream, told));
    }
    first.kill().await;
    for (stream, told) in streams {
        let told = to_the_end(stream, told).await;
        let kinds = told.durable();
        assert_eq!(kinds.last(), Some(&"run.completed"), "{kinds:?}");
        assert_eq!(told.count("run.resumed"), 1, "{kinds:?}");
        assert_eq!((told.whole, told.torn), (1, 0), "the text of the second attempt: {kinds:?}");
    }
}
