//! Document 003, AI Agentics: prefixed ids, lists, a run that streams its loop, a tool that the
//! server calls and one that the caller fulfils, polling and cancelling.

use serde_json::{Value, json};

use super::curl::{Printed, curl};
use super::{published, saying};
use crate::harness::app::App;
use crate::harness::rest::Frame;
use crate::runtime::tool_server::{Reply, ToolServer};

const LIST: &str = r#"curl https://api.aiagentics.io/v1/agents \
 -H "Authorization: Bearer sk_live_8fa2…c9" \
 -H "Content-Type: application/json""#;

const RUN: &str = r#"curl https://api.aiagentics.io/v1/runs \
 -H "Authorization: Bearer sk_live_8fa2…c9" \
 -H "Content-Type: application/json" \
 -d '{
 "agent_id": "agt_5fK2",
 "input": "Summarize today\u2019s failed payments",
 "stream": true
 }'"#;

const KEY: &str = "sk_live_8fa2…c9";

async fn call(app: &App, path: &str, body: Option<Value>) -> Printed {
    let body = body.map(|body| format!("-d '{body}'")).unwrap_or_default();
    let command = format!("{} {body}", LIST.replace("/agents", path));
    curl(app, &command, &[(KEY, &app.runner)]).await
}

/// An agent that asks a tool and tells what it answered.
fn with_tool(handler: &Value) -> Value {
    let mut tool = json!({"name": "sql_query"});
    for (kind, value) in handler.as_object().expect("a handler") {
        tool[kind] = value.clone();
    }
    json!({
        "name": "Support agent", "model": "sim", "tools": [tool],
        "sim": {"turns": [
            // Time to begin to listen, as every real model gives it.
            {"delay_ms": 400, "text": "Checking the payments table…",
                "tool_calls": [{"name": "sql_query", "arguments": {"limit": 50}}]},
            {"text": "{{ result.rows }} payments: {{ input }}"},
        ]},
    })
}

fn data(frame: &Frame) -> Value {
    serde_json::from_str(&frame.data).expect("JSON")
}

/// The events of the page's own kinds, in their order; a run of tokens counts once.
fn shown(frames: &[Frame]) -> Vec<&str> {
    let kinds = ["run.created", "token", "tool.requested", "tool.completed", "run.completed"];
    let mut shown: Vec<_> = frames.iter().map(|frame| frame.event.as_str()).collect();
    shown.retain(|event| kinds.contains(event));
    shown.dedup();
    shown
}

fn named<'a>(frames: &'a [Frame], event: &str) -> &'a Frame {
    frames
        .iter()
        .find(|frame| frame.event == event)
        .unwrap_or_else(|| panic!("{event}: {frames:?}"))
}

#[tokio::test]
async fn a_list_has_the_shape_of_the_page() {
    let app = App::start().await;
    let id = published(&app, saying("Support agent", "x")).await;
    let printed = curl(&app, LIST, &[(KEY, &app.runner)]).await;
    assert_eq!(printed.status, 200, "{printed:?}");
    let page = printed.json();
    assert_eq!((&page["object"], &page["has_more"]), (&json!("list"), &json!(false)));
    let agent = &page["data"][0];
    assert!(id.starts_with("agt_") && agent["id"] == json!(id), "{agent}");
    assert_eq!((&agent["name"], &agent["model"]), (&json!("Support agent"), &json!("sim")));
}

#[tokio::test]
async fn a_run_streams_the_loop() {
    let tools = ToolServer::start(vec![("/", vec![Reply::Json(json!({"rows": 7}))])]).await;
    let app = App::start().await;
    let handler = json!({"http": {"url": format!("{}/", tools.url)}});
    let id = published(&app, with_tool(&handler)).await;
    let printed = curl(&app, RUN, &[(KEY, &app.runner), ("agt_5fK2", &id)]).await;
    assert_eq!(printed.status, 200, "{printed:?}");
    let frames = printed.frames();
    let expected =
        ["run.created", "token", "tool.requested", "tool.completed", "token", "run.completed"];
    assert_eq!(shown(&frames), expected);
    assert!(
        data(named(&frames, "run.created"))["id"].as_str().is_some_and(|id| id.starts_with("run_"))
    );
    let requested = data(named(&frames, "tool.requested"));
    assert_eq!(
        (&requested["tool"], &requested["args"]),
        (&json!("sql_query"), &json!({"limit": 50}))
    );
    let completed = data(named(&frames, "tool.completed"));
    assert_eq!(completed["result"], json!({"rows": 7}));
    assert!(completed["latency_ms"].is_u64(), "{completed}");
    let asked = frames.iter().position(|frame| frame.event == "tool.requested").expect("asked");
    let text = |frames: &[Frame]| -> String {
        let tokens = frames.iter().filter(|frame| frame.event == "token").map(data);
        tokens.map(|token| token["delta"].as_str().expect("a delta").to_owned()).collect()
    };
    assert_eq!(text(&frames[..asked]), "Checking the payments table…");
    let last = data(frames.last().expect("a terminal event"));
    assert_eq!(last["status"], "completed");
    let result = "7 payments: Summarize today\u{2019}s failed payments";
    assert_eq!(last["output"]["result"], result);
    assert_eq!(text(&frames[asked..]), result);
    assert_eq!(tools.called().len(), 1);
}

#[tokio::test]
async fn a_tool_of_the_caller_pauses_the_run_until_its_output_comes() {
    let app = App::start().await;
    let id = published(&app, with_tool(&json!({"client": {}}))).await;
    let body = json!({"agent_id": id, "input": "x"});
    let run = call(&app, "/runs", Some(body)).await;
    assert!([201, 202].contains(&run.status), "{run:?}");
    let path = format!("/runs/{}", run.json()["id"].as_str().expect("an id"));
    let waiting = call(&app, &format!("{path}?wait=30"), None).await.json();
    assert_eq!(waiting["status"], "requires_action", "{waiting}");
    let asked = &waiting["required_action"]["tool_calls"][0];
    assert_eq!((&asked["name"], &asked["arguments"]), (&json!("sql_query"), &json!({"limit": 50})));
    let log = call(&app, &format!("{path}/events"), None).await.json();
    let log: Vec<_> = log["data"].as_array().expect("data").iter().map(|e| &e["type"]).collect();
    assert!(log.contains(&&json!("tool.requested")), "{log:?}");
    let outputs = json!({"tool_outputs": [{"tool_call_id": asked["id"], "output": {"rows": 7}}]});
    let resumed = call(&app, &format!("{path}/submit_tool_outputs"), Some(outputs)).await;
    assert_eq!(resumed.status, 200, "{resumed:?}");
    let ended = call(&app, &format!("{path}?wait=30"), None).await.json();
    assert_eq!(ended["status"], "completed", "{ended}");
    assert_eq!(ended["output"]["result"], "7 payments: x");
    assert!(ended["usage"]["total_tokens"].is_u64() && ended["messages"].is_array(), "{ended}");
}

#[tokio::test]
async fn a_run_without_stream_is_polled_until_it_is_completed() {
    let app = App::start().await;
    let id = published(&app, saying("Support agent", "Seven.")).await;
    let run = call(&app, "/runs", Some(json!({"agent_id": id, "input": "x"}))).await;
    let path = format!("/runs/{}", run.json()["id"].as_str().expect("an id"));
    let mut polled = call(&app, &path, None).await.json();
    for _ in 0..10_000 {
        if polled["status"] == "completed" {
            break;
        }
        assert!(["queued", "in_progress"].contains(&polled["status"].as_str().expect("a state")));
        polled = call(&app, &path, None).await.json();
    }
    assert_eq!(polled["output"]["result"], "Seven.");
}

#[tokio::test]
async fn a_run_in_flight_is_cancelled() {
    let app = App::start().await;
    let mut agent = saying("Slow", "x");
    agent["sim"]["turns"][0]["delay_ms"] = json!(60_000);
    let id = published(&app, agent).await;
    let run = call(&app, "/runs", Some(json!({"agent_id": id, "input": "x"}))).await;
    let path = format!("/runs/{}", run.json()["id"].as_str().expect("an id"));
    let cancelled = call(&app, &format!("{path}/cancel"), Some(json!({}))).await;
    assert!([200, 202].contains(&cancelled.status), "{cancelled:?}");
    let ended = call(&app, &format!("{path}?wait=30"), None).await.json();
    assert_eq!(ended["status"], "cancelled", "{ended}");
}
