//! What one process tells another about runs: that one is to stop, and that one is ready.

use serde_json::json;

use super::told::{Stream, Told};
use super::{IDLE, Two, asking, to_the_end, until, words};
use crate::harness::doors::Door;

/// Confirms no cancel by its heartbeat, and forces none.
const DEAF: &str = "[engine]\nheartbeat_ms = 3600000\nlease_ms = 7200000\ncancel_ms = 3600000\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_is_cancelled_at_another_process_than_its_own() {
    let two = Two::start(DEAF, IDLE).await;
    let agent = json!({
        "name": "slow", "model": "sim",
        "sim": {"tokens_per_second": 5, "turns": [{"text": words(5000)}]},
    });
    let run_id = two.a.start(&two.a.agent(&agent).await, &json!("x")).await;
    let (mut stream, mut told) =
        (Stream::open(&two.a, Door::Rest, &run_id, "").await, Told::default());
    until(&mut stream, &mut told, "token", 1).await;
    // Its text takes a quarter of an hour: only a word from the other process stops it.
    let (status, run) = two.b.post(&format!("/v1/runs/{run_id}/cancel"), &json!({})).await;
    assert_eq!((status, &run["status"]), (202, &json!("cancelling")), "{run}");
    let told = to_the_end(stream, told).await;
    let kinds = told.durable();
    assert_eq!(kinds[kinds.len() - 2..], ["run.cancelling", "run.cancelled"]);
    assert_eq!(two.b.settled(&run_id).await["status"], "cancelled");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_without_room_wakes_another() {
    let full = "[engine]\nconcurrent_runs = 1\nheartbeat_ms = 3600000\nlease_ms = 7200000\n\
        poll_ms = 3600000\n";
    let two = Two::start(full, IDLE).await;
    let slow = json!({
        "name": "slow", "model": "sim",
        "sim": {"tokens_per_second": 5, "turns": [{"text": words(5000)}]},
    });
    let taken = two.a.start(&two.a.agent(&slow).await, &json!("x")).await;
    let (mut stream, mut told) =
        (Stream::open(&two.a, Door::Rest, &taken, "").await, Told::default());
    until(&mut stream, &mut told, "token", 1).await;
    // Nobody looks for work by itself within an hour.
    let quick = two.a.agent(&asking(1, 3, 0)).await;
    for _ in 0..3 {
        let run_id = two.a.start(&quick, &json!("x")).await;
        let stream = Stream::open(&two.a, Door::Rest, &run_id, "").await;
        let (mut stream, mut told) = (stream, Told::default());
        until(&mut stream, &mut told, "run.requires_action", 1).await;
    }
}
