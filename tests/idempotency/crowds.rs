//! A thousand callers make the same call at once: one run, a thousand equal answers; over three
//! processes on Postgres, and in one on SQLite.

use std::collections::HashSet;

use futures::StreamExt;
use futures::stream::iter;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::databases::postgres_copy;
use crate::harness::process::{Api, Program};

const CALLS: usize = 1000;
const AT_ONCE: usize = 200;
/// So many at once on few connections wait for them; here none is refused for that.
const PEPPER: &str = "[auth]\npepper = \"shared\"\n[store]\nshed_wait_ms = 60000\n";

async fn crowd(apis: &[Api]) {
    let agent = apis[0].agent(&crate::agents::echo()).await;
    let body = json!({"agent_id": agent, "input": "x"});
    let calls = (0..CALLS).map(|n| {
        let (api, body) = (&apis[n % apis.len()], &body);
        async move {
            let request = api.request(Method::POST, "/v1/runs").json(body);
            let response = request.header("idempotency-key", "one").send().await.expect("sent");
            let (status, replayed) =
                (response.status(), response.headers().contains_key("idempotent-replayed"));
            (status.as_u16(), replayed, response.text().await.expect("a body"))
        }
    });
    let answers: Vec<_> = iter(calls).buffer_unordered(AT_ONCE).collect().await;
    let different: HashSet<_> = answers.iter().map(|(status, _, body)| (status, body)).collect();
    assert_eq!(different.len(), 1, "{different:?}");
    assert_eq!(answers[0].0, 202, "{answers:?}");
    assert_eq!(answers.iter().filter(|(_, replayed, _)| !replayed).count(), 1);
    let (_, list) = apis[0].get("/v1/runs?limit=100").await;
    assert_eq!(list["data"].as_array().map(Vec::len), Some(1), "{list}");
    let (_, found) = apis[0].get("/v1/runs?idempotency_key=one").await;
    let answer: Value = serde_json::from_str(&answers[0].2).expect("JSON");
    assert_eq!(found["data"][0]["id"], answer["id"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_equal_calls_of_three_processes_make_one_run() {
    let (config, _place) = postgres_copy().await;
    let mut programs: Vec<_> = (0..3).map(|_| Program::on(&config.url, PEPPER)).collect();
    let first = programs[0].start().await;
    let mut apis = vec![first.clone()];
    for program in &mut programs[1..] {
        apis.push(program.start_with(&first.key).await);
    }
    crowd(&apis).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_equal_calls_make_one_run() {
    let mut program = Program::new("");
    let api = program.start().await;
    crowd(&[api]).await;
}
