//! Many create runs of one session at once, over one process and over several: one run goes at a
//! time, and each is told all that was said before it.

use futures::future::join_all;
use serde_json::{Value, json};

use super::run_or;
use crate::harness::databases::postgres_copy;
use crate::harness::process::{Api, Program};

const RUNS: usize = 20;
const PEPPER: &str = "[auth]\npepper = \"shared\"\n[engine]\npoll_ms = 100\n";

/// When it began and when it ended, by its events.
struct Span {
    began: String,
    ended: String,
    status: Value,
    /// Messages that it was told.
    told: usize,
}

async fn spans(api: &Api, ids: &[String]) -> Vec<Span> {
    let span = async |id: &String| {
        let run = api.settled(id).await;
        let log = api.log(id).await;
        let at = |event: &Value| event["created_at"].as_str().expect("a time").to_owned();
        let began = log.iter().filter(|event| event["type"] == "run.in_progress");
        let began: Vec<String> = began.map(at).collect();
        let told = run["output"]["result"].as_str().and_then(|text| text.parse().ok());
        Span {
            began: began.first().cloned().unwrap_or_else(|| at(&log[0])),
            ended: log.last().map(at).expect("an end"),
            status: run["status"].clone(),
            told: told.unwrap_or_default(),
        }
    };
    join_all(ids.iter().map(span)).await
}

async fn created(apis: &[Api], agent: &str, busy: &str) -> Vec<String> {
    let create = async |n: usize| {
        let (status, run) =
            apis[n % apis.len()].post("/v1/runs", &run_or(agent, &n.to_string(), busy)).await;
        assert_eq!(status, 202, "{run}");
        run["id"].as_str().expect("an id").to_owned()
    };
    join_all((0..RUNS).map(create)).await
}

async fn crowd(apis: &[Api]) {
    let counter = json!({"name": "counter", "model": "sim", "sim": {"turns": [
        {"when": "true", "text": "{{ history | length }}"}]}});
    let agent = apis[0].agent(&counter).await;
    let ids = created(apis, &agent, "queue").await;
    let mut spans = spans(&apis[0], &ids).await;
    spans.sort_by(|a, b| a.began.cmp(&b.began));
    for (n, span) in spans.iter().enumerate() {
        assert_eq!(span.status, "completed");
        assert_eq!(span.told, 2 * n, "each is told all that was said before it");
    }
    for pair in spans.windows(2) {
        assert!(
            pair[0].ended <= pair[1].began,
            "two runs at once: {} {}",
            pair[0].ended,
            pair[1].began
        );
    }
}

/// Whoever comes last interrupts all that came before.
async fn crowd_that_interrupts(apis: &[Api]) {
    let slow = json!({"name": "slow", "model": "sim", "sim": {"turns": [
        {"when": "true", "text": "one two three", "delay_ms": 100}]}});
    let ids = created(apis, &apis[0].agent(&slow).await, "interrupt").await;
    let spans = spans(&apis[0], &ids).await;
    let ended = spans.iter().filter(|span| span.status == "completed").count();
    let cancelled = spans.iter().filter(|span| span.status == "cancelled").count();
    assert!(ended >= 1 && ended + cancelled == RUNS, "{ended} completed, {cancelled} cancelled");
    let last = spans.iter().max_by(|a, b| a.ended.cmp(&b.ended)).expect("a run");
    assert_eq!(last.status, "completed", "nobody interrupts the last");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_at_once_go_one_after_the_other_over_two_processes() {
    let (config, _place) = postgres_copy().await;
    let mut programs = [Program::on(&config.url, PEPPER), Program::on(&config.url, PEPPER)];
    let first = programs[0].start().await;
    let second = programs[1].start_with(&first.key).await;
    crowd(&[first.clone(), second.clone()]).await;
    crowd_that_interrupts(&[first, second]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_at_once_go_one_after_the_other() {
    let mut program = Program::new("");
    let api = program.start().await;
    crowd(std::slice::from_ref(&api)).await;
    crowd_that_interrupts(&[api]).await;
}
