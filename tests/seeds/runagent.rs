//! Document 001, RunAgent: `Authorization: Bearer` on `/v1`, numbered pages, invoking with a query
//! and the model's settings, a GET that streams, and errors with details.

use serde_json::{Value, json};

use super::curl::{Printed, curl};
use super::{published, saying};
use crate::harness::app::App;

const LIST: &str = r#"curl -H "Authorization: Bearer YOUR_API_KEY" \
https://api.run-agent.ai/v1/agents"#;

const INVOKE: &str = r#"curl -X POST \
-H "Authorization: Bearer YOUR_API_KEY" \
-H "Content-Type: application/json" \
-d '{"query": "Hello"}' \
https://api.run-agent.ai/v1/agents/AGENT_ID/invoke"#;

const STREAM: &str = r#"curl -H "Authorization: Bearer YOUR_API_KEY" \
-H "Accept: text/event-stream" \
https://api.run-agent.ai/v1/agents/123/stream"#;

/// The headers that the page requires of every request.
const REQUIRED: &str = r#"-H "Authorization: Bearer YOUR_API_KEY" \
-H "Content-Type: application/json" \
-H "Accept: application/json""#;

async fn an_echo(app: &App) -> String {
    published(app, saying("Echo", "You said: {{ input }}")).await
}

async fn required(app: &App, rest: &str) -> Printed {
    curl(app, &format!("curl {REQUIRED} {rest}"), &[("YOUR_API_KEY", &app.runner)]).await
}

fn completed(printed: &Printed) -> Value {
    assert_eq!(printed.status, 200, "{printed:?}");
    let run = printed.json();
    assert_eq!((&run["object"], &run["status"]), (&json!("run"), &json!("completed")), "{run}");
    assert!(run["latency_ms"].is_u64() && run["tokens_used"].is_u64(), "numbers: {run}");
    run
}

#[tokio::test]
async fn agents_are_listed_with_a_bearer_key() {
    let app = App::start().await;
    let id = an_echo(&app).await;
    let printed = curl(&app, LIST, &[("YOUR_API_KEY", &app.runner)]).await;
    assert_eq!(printed.status, 200, "{printed:?}");
    assert_eq!(printed.json()["data"][0]["id"], json!(id));
    let wrong = curl(&app, LIST, &[]).await;
    assert_eq!((wrong.status, wrong.code().as_str()), (401, "invalid_api_key"));
}

#[tokio::test]
async fn the_second_page_of_agents_has_its_figures() {
    let app = App::start().await;
    for i in 0..25 {
        published(&app, saying(&format!("Agent {i}"), "x")).await;
    }
    let path = "https://api.run-agent.ai/v1/agents?page=2&limit=20";
    let printed = required(&app, &format!("'{path}'")).await;
    assert_eq!(printed.status, 200, "{printed:?}");
    let page = printed.json();
    assert_eq!(page["pagination"], json!({"page": 2, "limit": 20, "total": 25, "pages": 2}));
    let names: Vec<_> = page["data"].as_array().expect("data").iter().map(|a| &a["name"]).collect();
    assert_eq!(names, ["Agent 4", "Agent 3", "Agent 2", "Agent 1", "Agent 0"]);
}

#[tokio::test]
async fn an_agent_is_invoked_with_a_query() {
    let app = App::start().await;
    let id = an_echo(&app).await;
    let replaced = [("YOUR_API_KEY", &*app.runner), ("AGENT_ID", &*id)];
    let run = completed(&curl(&app, INVOKE, &replaced).await);
    assert_eq!(run["output"]["result"], "You said: Hello");
}

#[tokio::test]
async fn the_body_of_the_page_sets_the_model() {
    let app = App::start().await;
    let id = an_echo(&app).await;
    let body = r#"{
"query": "Your input here",
"parameters": {
"temperature": 0.7,
"max_tokens": 150
}
}"#;
    let url = format!("https://api.run-agent.ai/v1/agents/{id}/invoke");
    let run = completed(&required(&app, &format!("-d '{body}' {url}")).await);
    assert_eq!(run["output"]["result"], "You said: Your input here");
    assert_eq!(run["parameters"], json!({"temperature": 0.7, "max_tokens": 150}));
}

#[tokio::test]
async fn a_get_streams_a_run_to_its_end() {
    let app = App::start().await;
    let id = an_echo(&app).await;
    let replaced = [("YOUR_API_KEY", &*app.runner), ("123", &*id)];
    let asked = STREAM.replace("/stream", "/stream?query=Hello%20there");
    for (command, said) in [(STREAM, "You said: "), (&asked, "You said: Hello there")] {
        let printed = curl(&app, command, &replaced).await;
        assert_eq!(printed.status, 200, "{printed:?}");
        let frames = printed.frames();
        assert_eq!(frames[0].event, "run.created");
        let last = frames.last().expect("a terminal event");
        assert_eq!(last.event, "run.completed");
        let data: Value = serde_json::from_str(&last.data).expect("JSON");
        let result = data["output"]["result"].as_str().expect("a text");
        assert!(result.starts_with(said), "{result}");
    }
}

#[tokio::test]
async fn an_error_names_the_field_and_the_reason() {
    let app = App::start().await;
    let id = an_echo(&app).await;
    let printed = required(&app, "-d '{\"query\": \"x\"}' https://api.run-agent.ai/v1/runs").await;
    assert_eq!((printed.status, printed.code().as_str()), (400, "missing_field"));
    let details = &printed.json()["error"]["details"];
    assert_eq!(*details, json!({"field": "agent_id", "reason": "missing"}));
    let url = format!("https://api.run-agent.ai/v1/agents/{id}/invoke");
    for (body, field) in [
        (r#"{"query": 5}"#, "query"),
        (r#"{"parameters": {"temperature": "hot"}}"#, "parameters.temperature"),
        (r#"{"parameters": {"max_tokens": 0}}"#, "parameters.max_tokens"),
    ] {
        let printed = required(&app, &format!("-d '{body}' {url}")).await;
        assert_eq!(printed.status, 400, "{printed:?}");
        assert_eq!(printed.json()["error"]["details"]["field"], field, "{printed:?}");
    }
    let nobody = required(&app, "https://api.run-agent.ai/v1/agents/123").await;
    assert_eq!((nobody.status, nobody.code().as_str()), (404, "agent_not_found"));
}
