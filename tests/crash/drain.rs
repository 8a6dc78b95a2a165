//! SIGTERM: what is under way may end, whoever waits is told, and what is not over is given back in
//! order and goes on after the next start.

use std::time::Duration;

use runplane::kernel::Clock;
use runplane::store::{Store, StoreConfig};
use sea_orm::{ConnectionTrait, DbBackend, Statement};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use super::kill::IMPATIENT;
use super::tools::{End, Tools};
use crate::harness::databases;
use crate::harness::process::{Api, Program};

/// One call that is held, then a text of its result.
pub fn holding(tools: &Tools) -> Value {
    json!({
        "name": "holder", "model": "sim", "tools": [tools.tool("held")],
        "sim": {"turns": [
            {"tool_calls": [{"name": "held", "arguments": {"n": 21}}]},
            {"text": "{{ result.n }}"}
        ]}
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_in_flight_may_end_and_who_waits_for_its_run_is_told() {
    let (tools, mut program) = (Tools::start().await, Program::new(""));
    let api = program.start().await;
    let agent_id = api.agent(&holding(&tools)).await;
    let invoked = invoke(&api, &agent_id);
    tools.until(|sent| sent.len() == 1).await;
    assert_eq!(api.get("/readyz").await, (200, json!({"status": "ready"})));

    let begun = Instant::now();
    program.terminate();
    until_draining(&api).await;
    tools.release();
    let (status, run) = invoked.await.expect("an answer");
    assert_eq!((status, &run["status"]), (202, &json!("in_progress")), "{run}");
    assert_eq!(program.ended().await.code(), Some(0), "{}", program.logged);
    assert!(begun.elapsed() < Duration::from_secs(5), "it waits for the end of the drain");
    assert_eq!(stalls(&program).await, [0]);

    let api = program.start().await;
    let run = api.settled(run["id"].as_str().expect("an id")).await;
    assert_eq!((&run["status"], &run["output"]["result"]), (&json!("completed"), &json!("42")));
    let sent = tools.sent();
    assert_eq!(sent.iter().map(|sent| sent.end).collect::<Vec<_>>(), [End::Answered]);
    let log = api.log(run["id"].as_str().expect("an id")).await;
    let kinds: Vec<&str> = log.iter().filter_map(|event| event["type"].as_str()).collect();
    let expected = [
        "run.created",
        "run.in_progress",
        "step",
        "step",
        "tool.requested",
        "tool.completed",
        "step",
        "run.resumed",
        "step",
        "run.completed",
    ];
    assert_eq!(kinds, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_outlasts_the_drain_is_dropped_and_made_again_with_its_key() {
    let (tools, mut program) = (Tools::start().await, Program::new("[engine]\ndrain_ms = 200"));
    let api = program.start().await;
    let agent_id = api.agent(&holding(&tools)).await;
    let invoked = invoke(&api, &agent_id);
    tools.until(|sent| sent.len() == 1).await;
    program.terminate();
    let (status, run) = invoked.await.expect("an answer");
    assert_eq!((status, &run["status"]), (202, &json!("in_progress")), "{run}");
    assert_eq!(program.ended().await.code(), Some(0), "{}", program.logged);
    assert_eq!(stalls(&program).await, [0]);
    tools.until(|sent| sent[0].end == End::Dropped).await;

    tools.release();
    let api = program.start().await;
    let run = api.settled(run["id"].as_str().expect("an id")).await;
    assert_eq!((&run["status"], &run["output"]["result"]), (&json!("completed"), &json!("42")));
    let sent = tools.sent();
    assert_eq!((sent.len(), &sent[0].key), (2, &sent[1].key));
    assert_eq!([sent[0].attempt, sent[1].attempt], [1, 2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_of_a_run_that_goes_on_elsewhere_ends_and_does_not_hold_up_the_stop() {
    let (tools, mut program) = (Tools::start().await, Program::new("[engine]\ndrain_ms = 200"));
    let api = program.start().await;
    let agent_id = api.agent(&holding(&tools)).await;
    let body = json!({"agent_id": agent_id, "input": "x", "stream": true});
    let stream = api.request(reqwest::Method::POST, "/v1/runs").json(&body).send().await;
    let stream = stream.expect("an answer");
    tools.until(|sent| sent.len() == 1).await;
    program.terminate();
    let text = timeout(Duration::from_secs(4), stream.text()).await.expect("the stream ends");
    let text = text.expect("it ends in order");
    assert!(text.contains("event: tool.requested") && !text.contains("stream-error"), "{text}");
    assert_eq!(program.ended().await.code(), Some(0), "{}", program.logged);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_drains_keeps_its_runs_while_another_works() {
    let (store, _place) = databases::postgres_place(None).await;
    let (tools, mut first) = (Tools::start().await, Program::on(&store.url, IMPATIENT));
    let mut second = Program::on(&store.url, IMPATIENT);
    let api = first.start().await;
    let agent_id = api.agent(&holding(&tools)).await;
    let run_id = api.start(&agent_id, &json!("x")).await;
    tools.until(|sent| sent.len() == 1).await;
    first.terminate();
    let other = second.start_with(&api.key).await;
    // As long as several leases of the first.
    let mut paused = holding(&tools);
    paused["tools"] = json!([tools.tool("paused")]);
    paused["sim"]["turns"][0]["tool_calls"] =
        json!([{"name": "paused", "arguments": {"n": 1, "pause_ms": 1500}}]);
    let long = other.start(&other.agent(&paused).await, &json!("x")).await;
    assert_eq!(other.settled(&long).await["output"]["result"], "2");
    tools.release();
    assert_eq!(first.ended().await.code(), Some(0), "{}", first.logged);
    let run = other.settled(&run_id).await;
    assert_eq!((&run["status"], &run["output"]["result"]), (&json!("completed"), &json!("42")));
    assert_eq!(tools.sent().len(), 2, "the held call was made again: {:?}", tools.sent());
}

fn invoke(api: &Api, agent_id: &str) -> tokio::task::JoinHandle<(u16, Value)> {
    let (api, path) = (api.clone(), format!("/v1/agents/{agent_id}/invoke"));
    tokio::spawn(async move { api.post(&path, &json!({"input": "x"})).await })
}

/// Asks until the server says that it drains. A connection that was idle may close under the
/// question.
async fn until_draining(api: &Api) {
    let asking = async {
        loop {
            let answer = api.request(reqwest::Method::GET, "/readyz").send().await;
            let Ok(answer) = answer else { continue };
            if answer.status() == 503 {
                return answer.text().await.expect("a body");
            }
        }
    };
    let told = timeout(Duration::from_secs(10), asking).await.expect("it says that it drains");
    assert_eq!(told, r#"{"status":"draining"}"#);
}

/// The stalls of every run that has not ended, of a program that does not run.
async fn stalls(program: &Program) -> Vec<i32> {
    let url = format!("sqlite:{}", program.folder().join("runplane.db").display());
    let config = StoreConfig { url, ..StoreConfig::default() };
    let store = Store::open(&config, Clock::system()).await.expect("the file is free");
    let query = Statement::from_string(DbBackend::Sqlite, "SELECT stalls FROM run_queue");
    let rows = store.read().query_all_raw(query).await.expect("an answer");
    let stalls = rows.iter().map(|row| row.try_get_by_index(0).expect("a number")).collect();
    store.close().await;
    stalls
}
