//! REST and server-sent events from a page by `fetch`, which also shows what a page can read of an
//! answer: status, the headers that the server exposes, and failures of every layer.

use serde_json::{Value, json};

use super::{a_waiting_run, app, go_on, long_text, nobody_follows};
use crate::harness::app::App;
use crate::harness::browser::{Client as With, Console, Fetch, Page, Seen};
use crate::harness::doors::Door;
use crate::harness::rest::{Frame, Frames};

fn friend() -> Page {
    With::Plain.of_a_friend()
}

fn bearer(app: &App) -> String {
    format!("Bearer {}", app.admin)
}

/// What the page sees of a call; `body` is sent as JSON.
async fn ask(app: &App, verb: &str, path: &str, body: Option<&Value>) -> Seen {
    let mut headers = json!({"authorization": bearer(app)});
    let mut init = json!({ "method": verb });
    if let Some(body) = body {
        headers["content-type"] = json!("application/json");
        init["body"] = json!(body.to_string());
    }
    init["headers"] = headers;
    let seen = friend().fetch(&format!("{}{path}", app.url), &init).all().await;
    seen.unwrap_or_else(|e| panic!("{verb} {path}: {e:?}"))
}

/// The events up to the next of this kind.
async fn up_to(events: &mut Fetch, frames: &mut Frames, kind: &str) -> Vec<Frame> {
    let mut seen = Vec::new();
    while seen.last().is_none_or(|frame: &Frame| frame.event != kind) {
        match frames.next() {
            Some(frame) => seen.push(frame),
            None => frames.push(events.chunk().await.expect("more").as_bytes()),
        }
    }
    seen
}

#[tokio::test]
async fn a_page_makes_and_changes_things_over_rest() {
    let (_console, app) = (Console::watch(), app().await);
    let agent = json!({"name": "Clerk", "model": "sim", "sim": {"turns": [{"text": "Hi."}]}});
    let made = ask(&app, "POST", "/v1/agents", Some(&agent)).await;
    assert_eq!(made.status, 201, "{made:?}");
    let path = format!("/v1/agents/{}", made.json()["id"].as_str().expect("an id"));
    let changed = ask(&app, "PATCH", &path, Some(&json!({"max_steps": 5}))).await;
    assert_eq!((changed.status, &changed.json()["max_steps"]), (200, &json!(5)));
    assert_eq!(ask(&app, "GET", &path, None).await.json()["version"], 2);
    let head = ask(&app, "HEAD", &path, None).await;
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    assert_eq!(ask(&app, "DELETE", &path, None).await.status, 204);
    let gone = ask(&app, "GET", &path, None).await;
    assert_eq!((gone.status, &gone.json()["error"]["code"]), (404, &json!("agent_not_found")));
}

#[tokio::test]
async fn a_page_reads_failures_of_every_layer() {
    let (_console, app) = (Console::watch(), app().await);
    let large = json!({"name": "x".repeat(2 << 20), "model": "sim"});
    for (verb, path, body, status) in [
        ("GET", "/v1/nothing", None, 404),
        ("PUT", "/v1/agents", None, 405),
        ("POST", "/v1/agents", Some(&large), 413),
        ("GET", "/v1/agents?limit=0", None, 400),
    ] {
        let seen = ask(&app, verb, path, body).await;
        assert_eq!(seen.status, status, "{verb} {path}: {seen:?}");
        let id = &seen.json()["error"]["request_id"];
        assert_eq!(id.as_str(), seen.headers.get("x-request-id").map(String::as_str), "{seen:?}");
        assert_eq!(seen.headers.contains_key("allow"), status == 405, "{seen:?}");
    }
    let init = json!({"headers": {"authorization": "Bearer sk_live_nobody"}});
    let url = format!("{}/v1/agents", app.url);
    let seen = friend().fetch(&url, &init).all().await.expect("an answer");
    assert_eq!((seen.status, &seen.json()["error"]["code"]), (401, &json!("invalid_api_key")));
    assert!(seen.headers["www-authenticate"].starts_with("Bearer"), "{seen:?}");
}

#[tokio::test]
async fn a_page_reads_the_headers_of_grpc() {
    let (_console, app) = (Console::watch(), app().await);
    // An empty message: the run `` is not found, which is told in headers alone.
    let headers = json!({"authorization": bearer(&app), "x-grpc-web": "1",
        "content-type": "application/grpc-web+proto"});
    let init = json!({"method": "POST", "headers": headers, "body": "\0\0\0\0\0"});
    let url = format!("{}/runplane.v1.RunsService/GetRun", app.url);
    let seen = friend().fetch(&url, &init).all().await.expect("an answer");
    assert_eq!((seen.status, seen.body.as_str()), (200, ""), "{seen:?}");
    assert_eq!(seen.headers["grpc-status"], "5", "{seen:?}");
    assert!(seen.headers["grpc-message"].contains("not%20found"), "{seen:?}");
    assert!(seen.headers.contains_key("grpc-status-details-bin"), "{seen:?}");
    assert!(seen.headers["x-request-id"].starts_with("req_"), "{seen:?}");
}

#[tokio::test]
async fn a_page_follows_a_run_over_server_sent_events() {
    let (_console, app) = (Console::watch(), app().await);
    let run = a_waiting_run(&app).await;
    let run_id = run["id"].as_str().expect("an id");
    let headers = json!({"authorization": bearer(&app), "accept": "text/event-stream",
        "last-event-id": "1"});
    let url = format!("{}/v1/runs/{run_id}/events", app.url);
    let mut events = friend().fetch(&url, &json!({ "headers": headers }));
    let head = events.head().await.expect("an answer");
    assert_eq!((head.status, &*head.headers["content-type"]), (200, "text/event-stream"));
    let (mut frames, mut seen) = (Frames::default(), Vec::new());
    for stop in ["run.requires_action", "run.requires_action", "run.completed"] {
        seen.extend(up_to(&mut events, &mut frames, stop).await);
        if stop == "run.requires_action" {
            go_on(&app.door(Door::Rest), run_id).await;
        }
    }
    assert_eq!(seen[0].id, "2", "after the one that the page has seen");
    let tokens = seen.iter().filter(|frame| frame.event == "token");
    let text: String = tokens
        .map(|frame| serde_json::from_str::<Value>(&frame.data).expect("JSON"))
        .map(|data| data["delta"].as_str().expect("a text").to_owned())
        .collect();
    assert_eq!(text, long_text() + "Done.");
    assert!(events.chunk().await.is_none(), "the stream ends with the run");
}

#[tokio::test]
async fn a_page_that_stops_reading_events_is_gone() {
    let (_console, app) = (Console::watch(), app().await);
    let run = a_waiting_run(&app).await;
    let run_id = run["id"].as_str().expect("an id");
    nobody_follows(&app).await;
    let headers = json!({"authorization": bearer(&app), "accept": "text/event-stream"});
    let url = format!("{}/v1/runs/{run_id}/events", app.url);
    let mut events = friend().fetch(&url, &json!({ "headers": headers }));
    events.head().await.expect("an answer");
    events.chunk().await.expect("an event");
    assert_eq!(app.bus.runs(), 1, "the page follows");
    drop(events);
    nobody_follows(&app).await;
}
