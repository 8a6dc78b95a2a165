//! A process is killed at any moment of a call; the call is made again: one effect, and the answer
//! that the first would have been.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::process::{Api, Program};

/// Makes the call; none when nobody answered.
async fn call(api: &Api, path: &str, key: &str, body: &Value) -> Option<(u16, Value)> {
    let request = api.request(Method::POST, path).header("idempotency-key", key).json(body);
    let response = request.send().await.ok()?;
    let status = response.status().as_u16();
    Some((status, response.json().await.ok()?))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_was_cut_off_is_made_once() {
    let mut program = Program::new("");
    let mut api = program.start().await;
    for round in 0..8 {
        let (name, key) = (format!("agent {round}"), format!("key {round}").replace(' ', "-"));
        let mut agent = crate::agents::echo();
        agent["name"] = json!(name);
        let cut = {
            let (api, agent, key) = (api.clone(), agent.clone(), key.clone());
            tokio::spawn(async move { call(&api, "/v1/agents", &key, &agent).await })
        };
        // Some are killed before the change, some between it and its answer, some after.
        for _ in 0..round {
            api.get("/v1/me").await;
        }
        program.kill().await;
        let heard = cut.await.expect("no panic");
        api = program.start().await;
        let (status, again) = call(&api, "/v1/agents", &key, &agent).await.expect("an answer");
        assert_eq!(status, 201, "{again}");
        if let Some((_, first)) = heard {
            assert_eq!(first, again);
        }
        let (_, list) = api.get("/v1/agents?limit=100").await;
        let agents = list["data"].as_array().expect("a list").iter();
        assert_eq!(agents.filter(|agent| agent["name"] == name.as_str()).count(), 1, "{list}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_waited_for_its_run_finds_it_again() {
    let mut program = Program::new("");
    let mut api = program.start().await;
    let slow = json!({
        "name": "Slow", "model": "sim",
        "sim": {"tokens_per_second": 20, "turns": [{"text": "one two three four five six seven"}]},
    });
    let agent = api.agent(&slow).await;
    let body = json!({"agent_id": agent, "input": "x", "wait": 60});
    let cut = {
        let (api, body) = (api.clone(), body.clone());
        tokio::spawn(async move { call(&api, "/v1/runs", "k", &body).await })
    };
    let run = loop {
        let (_, list) = api.get("/v1/runs?idempotency_key=k").await;
        if let Some(run) = list["data"].get(0) {
            break run.clone();
        }
    };
    program.kill().await;
    assert!(cut.await.expect("no panic").is_none());
    api = program.start().await;
    let (status, ended) = call(&api, "/v1/runs", "k", &body).await.expect("an answer");
    assert_eq!((status, &ended["id"]), (201, &run["id"]), "{ended}");
    assert_eq!(ended["status"], "completed", "{ended}");
    let (_, again) = call(&api, "/v1/runs", "k", &body).await.expect("an answer");
    assert_eq!(again, ended);
}
