//! A process that dies in the middle of a session: the session goes on where it was.

use serde_json::{Value, json};

use super::{run, teller};
use crate::harness::databases::postgres_place;
use crate::harness::process::Program;

/// Impatient, so that the runs of a dead worker are taken over soon.
const IMPATIENT: &str = "
[engine]
heartbeat_ms = 100
lease_ms = 300
poll_ms = 100
[auth]
pepper = 'a pepper for tests, of no worth'
";

async fn goes_on(mut program: Program) {
    let api = program.start().await;
    let slow = json!({"name": "slow", "model": "sim", "sim": {"turns": [
        {"when": "true", "text": "Slow.", "delay_ms": 2000}]}});
    let (slow, teller) = (api.agent(&slow).await, api.agent(&teller()).await);
    let begin = async |agent: &str, input: &str| -> String {
        let (status, run) = api.post("/v1/runs", &run(agent, input)).await;
        assert_eq!(status, 202, "{run}");
        run["id"].as_str().expect("an id").to_owned()
    };
    let first = begin(&slow, "a").await;
    let (second, third) = (begin(&teller, "b").await, begin(&teller, "c").await);
    // The first is driven, or will be; the others wait behind it.
    while api.log(&first).await.len() < 2 {
        tokio::task::yield_now().await;
    }
    program.kill().await;
    let api = program.start().await;
    let fourth = {
        let (_, run) = api.post("/v1/runs", &run(&teller, "d")).await;
        run["id"].as_str().expect("an id").to_owned()
    };
    let fourth = api.settled(&fourth).await;
    let told = fourth["output"]["result"].as_str().expect("a text");
    assert!(told.starts_with("user: a; assistant: Slow.; user: b; assistant: "), "{told}");
    assert!(told.contains("; user: c; ") && told.ends_with("; d"), "{told}");
    let mut ends: Vec<Value> = Vec::new();
    for id in [&first, &second, &third] {
        ends.push(api.settled(id).await);
    }
    ends.push(fourth);
    assert_eq!(ends[0]["attempt"], 2, "it was driven again");
    for pair in ends.windows(2) {
        assert_eq!(pair[0]["status"], "completed");
        assert!(super::goes_before(&pair[0], &pair[1]), "{pair:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_goes_on_after_a_crash_on_sqlite() {
    goes_on(Program::new(IMPATIENT)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_goes_on_after_a_crash_on_postgres() {
    let (store, _place) = postgres_place(None).await;
    goes_on(Program::on(&store.url, IMPATIENT)).await;
}
