//! What the process tells of itself: one tree of spans for each run, metrics that count rightly, a
//! line for each call; no secret and, unless the operator wants it, nothing that people say. And
//! that nobody waits for a collector.

mod admin;
mod away;
mod calls;
mod lines;
mod metrics;
mod names;
mod secrets;
mod tree;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::harness::collector::Came;
use crate::harness::fake_models::{Dialect, FakeModels, Said, Turn, say};
use crate::harness::process::{Api, Lines};
use crate::harness::tools::Tools;

/// A caller's own span, sampled; and the same, not sampled.
const SAMPLED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const UNSAMPLED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
/// Their trace and their id.
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

/// A provider that asks for a tool first, and then speaks.
async fn provider() -> FakeModels {
    let calls = vec![("c1", "double", json!({"n": 21}).to_string())];
    let asks = Turn::Say(Said { calls, ..Said::default() });
    FakeModels::start(Dialect::Openai, vec![asks, say(&["It is ", "42."])]).await
}

/// What a configuration says of the provider.
fn models(models: &FakeModels) -> String {
    format!(
        "[providers.openai]\nkind = 'openai'\nbase_url = {:?}\napi_key = 'sk-provider-secret'\n",
        models.base_url
    )
}

/// An agent of that provider with that tool.
fn agent(tools: &Tools) -> Value {
    json!({
        "name": "doubler", "model": "openai/gpt-test",
        "instructions": "Be brief, says Zarathustra.",
        "tools": [tools.tool("double")],
    })
}

/// A run of the agent, created with this header; its id.
async fn run(api: &Api, agent_id: &str, traceparent: &str) -> String {
    let body = json!({
        "agent_id": agent_id, "input": "What is twice Methuselah?", "session_id": "a-talk",
    });
    let request = api.request(reqwest::Method::POST, "/v1/runs").json(&body);
    let sent = request.header("traceparent", traceparent).send().await.expect("an answer");
    assert_eq!(sent.status(), 202);
    let run: Value = sent.json().await.expect("JSON");
    run["id"].as_str().expect("an id").to_owned()
}

/// The one span whose name begins so.
fn one<'a>(spans: &'a [Came], start: &str) -> &'a Came {
    let found: Vec<_> = spans.iter().filter(|span| span.name.starts_with(start)).collect();
    assert_eq!(found.len(), 1, "{start}: {found:#?}");
    found[0]
}

/// The address of the admin port, as the log has it.
async fn admin(lines: &Lines) -> String {
    lines.with("\"admin\"", 1).await;
    let all = lines.all();
    let line = all.iter().find(|line| line.contains("\"admin\"")).expect("a line");
    let line: Value = serde_json::from_str(line).expect("JSON");
    format!("http://{}", line["admin"].as_str().expect("an address"))
}

/// A page of metrics, by name and labels.
async fn page(admin: &str) -> (String, BTreeMap<String, f64>) {
    let got = Api::new(admin, "").http.get(format!("{admin}/metrics")).send().await;
    let text = got.expect("an answer").text().await.expect("a page");
    let lines = text.lines().filter(|line| !line.starts_with('#')).map(|line| {
        let (name, value) = line.rsplit_once(' ').expect("a value");
        (name.to_owned(), value.parse().expect("a number"))
    });
    let values = lines.collect();
    (text, values)
}
