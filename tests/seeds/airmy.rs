//! Document 004, AIRMY: `/v2` with a bearer key, a POST of a run that answers with the finished
//! run, and the table of its errors.

use serde_json::{Value, json};

use super::curl::{Printed, curl};
use super::{published, saying};
use crate::harness::app::App;

const RUN: &str = r#"curl -X POST https://api.airmy.dev/v2/runs \
-H "Authorization: Bearer sk-airmy-demo-2026" \
-H "Content-Type: application/json" \
-d '{"agent_id":"ag_01HXYZ","input":{"query":"Summarize Q1 revenue drivers"}}'"#;

async fn call(app: &App, key: &str, rest: &str) -> Printed {
    let command = format!("curl -H \"Authorization: Bearer KEY\" https://api.airmy.dev/v2{rest}");
    curl(app, &command, &[("KEY", key)]).await
}

fn post(path: &str, body: &Value) -> String {
    format!("{path} -H \"Content-Type: application/json\" -d '{body}'")
}

/// An agent that waits for its caller's tool.
fn asking() -> Value {
    json!({"name": "Asking", "model": "sim", "tools": [{"name": "look", "client": {}}],
        "sim": {"turns": [{"tool_calls": [{"name": "look"}]}, {"text": "{{ result }}"}]}})
}

#[tokio::test]
async fn the_finished_run_is_the_answer() {
    let app = App::start().await;
    let agent = saying("Analyst", "Q1 revenue was $4.2M ({{ input.query }})");
    let id = published(&app, agent).await;
    let replaced = [("sk-airmy-demo-2026", &*app.runner), ("ag_01HXYZ", &*id)];
    let printed = curl(&app, RUN, &replaced).await;
    assert!([200, 201].contains(&printed.status), "{printed:?}");
    let run = printed.json();
    assert!(run["id"].as_str().is_some_and(|id| id.starts_with("run_")), "{run}");
    assert_eq!(run["status"], "completed", "{run}");
    let result = "Q1 revenue was $4.2M (Summarize Q1 revenue drivers)";
    assert_eq!(run["output"], json!({ "result": result }));
    assert!(run["latency_ms"].is_u64(), "{run}");
    assert!(run["tokens_used"].as_u64().is_some_and(|tokens| tokens > 0), "{run}");
    let created: prost_types::Timestamp =
        run["created_at"].as_str().expect("a time").parse().expect("RFC 3339");
    assert!(created.seconds > 1_700_000_000, "{run}");
    assert!(run["created_at"].as_str().is_some_and(|at| at.ends_with('Z')), "{run}");
}

#[tokio::test]
async fn a_run_is_listed_read_and_cancelled() {
    let app = App::start().await;
    let id = published(&app, asking()).await;
    let body = json!({"agent_id": id, "input": "x"});
    let run = call(&app, &app.runner, &post("/runs", &body)).await.json();
    assert_eq!(run["status"], "requires_action", "{run}");
    let run = run["id"].as_str().expect("an id");
    let listed = call(&app, &app.reader, "/runs?status=requires_action").await;
    assert_eq!(listed.json()["data"][0]["id"], json!(run));
    let cancelled = call(&app, &app.runner, &format!("/runs/{run} -X DELETE")).await;
    assert!([200, 202].contains(&cancelled.status), "{cancelled:?}");
    let read = call(&app, &app.reader, &format!("/runs/{run}")).await;
    assert_eq!(read.json()["status"], "cancelled");
}

#[tokio::test]
async fn agents_are_managed_below_v2_too() {
    let app = App::start().await;
    let made = call(&app, &app.admin, &post("/agents", &saying("Analyst", "x"))).await;
    assert_eq!(made.status, 201, "{made:?}");
    let path = format!("/agents/{}", made.json()["id"].as_str().expect("an id"));
    let change = post(&path, &json!({"description": "y"}));
    let changed = call(&app, &app.admin, &format!("{change} -X PATCH")).await;
    assert_eq!((changed.status, &changed.json()["description"]), (200, &json!("y")));
    assert_eq!(call(&app, &app.admin, &path).await.json()["version"], 2);
    assert_eq!(call(&app, &app.admin, &format!("{path} -X DELETE")).await.status, 204);
    assert_eq!(call(&app, &app.admin, "/agents").await.json()["data"], json!([]));
}

#[tokio::test]
async fn the_errors_of_the_page_have_its_statuses() {
    let app = App::start().await;
    let id = published(&app, asking()).await;
    let run = call(&app, &app.runner, &post("/runs", &json!({"agent_id": id}))).await.json();
    let outputs = format!("/runs/{}/submit_tool_outputs", run["id"].as_str().expect("an id"));
    let odd = json!({"tool_outputs": [{"tool_call_id": "call_0", "output": 1}]});
    for (key, rest, status, code) in [
        (&app.runner, post("/runs", &json!({})), 400, "missing_field"),
        (
            &app.runner,
            "/runs -H \"Content-Type: application/json\" -d '{'".to_owned(),
            400,
            "malformed_json",
        ),
        (&"nobody".to_owned(), "/runs".to_owned(), 401, "invalid_api_key"),
        (&app.reader, post("/runs", &json!({"agent_id": id})), 403, "insufficient_scope"),
        (&app.runner, post("/agents", &asking()), 403, "insufficient_scope"),
        (&app.runner, "/runs/run_01HXYZ123".to_owned(), 404, "run_not_found"),
        (&app.runner, post(&outputs, &odd), 422, "validation_failed"),
    ] {
        let printed = call(&app, key, &rest).await;
        assert_eq!((printed.status, printed.code().as_str()), (status, code), "{rest}");
    }
    let bare = curl(&app, "curl https://api.airmy.dev/v2/agents", &[]).await;
    assert_eq!((bare.status, bare.code().as_str()), (401, "missing_api_key"));
}
