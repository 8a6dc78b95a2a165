//! HTTP tools: what is sent, what is made of the answer, what is refused.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use runplane::kernel::models::ModelTable;
use runplane::runtime::RuntimeConfig;
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::ledger::{Bench, Ledger, SECRET, START, completed};
use super::tool_server::{Called, Reply, ToolServer};

/// An agent that calls one tool and says what came of it.
fn agent(tool: &Value) -> Value {
    json!({
        "tools": [tool],
        "sim": {"turns": [
            {"tool_calls": [{"name": tool["name"], "arguments": {"q": "é", "n": 1}}]},
            {"text": "{{ result | tojson }}"}
        ]}
    })
}

/// What the tool's event says, after these replies, and what was called.
async fn ended(replies: Vec<Reply>) -> (&'static str, Value, Vec<Called>) {
    let server = ToolServer::start(vec![("/t", replies)]).await;
    let (_, ledger) = Bench::new(agent(&server.tool("t", "/t")), json!("go")).drive().await;
    let mut events = ledger.events().into_iter();
    let (name, data) = events
        .find(|(name, _)| matches!(*name, "tool.completed" | "tool.failed"))
        .expect("the tool ended");
    (name, data, server.called())
}

fn raw(status: u16, body: &str) -> Reply {
    Reply::Raw(status, "text/plain", None, body.to_owned())
}

#[tokio::test]
async fn a_call_says_who_calls_and_is_signed() {
    let server = ToolServer::start(vec![]).await;
    let bench = Bench::new(agent(&server.tool("t", "/hook?x=1")), json!("go"));
    let (_, ledger) = bench.drive().await;
    let call = server.called().remove(0);
    let run = runplane::kernel::ids::format(runplane::kernel::ids::Kind::Run, bench.run.run_id);
    let id = ledger.event("tool.requested")["id"].as_str().expect("an id").to_owned();
    let at = (START.0 / 1_000_000).to_string();
    for (name, value) in [
        ("idempotency-key", format!("{run}/0/1")),
        ("x-runplane-run", run),
        ("x-agent-attempt", "1".to_owned()),
        ("x-agent-epoch", "10".to_owned()),
        ("content-type", "application/json".to_owned()),
        ("webhook-id", id.clone()),
        ("webhook-timestamp", at.clone()),
    ] {
        assert_eq!(call.header(name), value, "{name}");
    }
    assert_eq!(
        serde_json::from_slice::<Value>(&call.body).expect("JSON"),
        json!({"q": "é", "n": 1})
    );
    let key = STANDARD.decode(&SECRET["whsec_".len()..]).expect("a key");
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(&key).expect("a mac");
    mac.update(format!("{id}.{at}.").as_bytes());
    mac.update(&call.body);
    let signature = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
    assert_eq!(call.header("webhook-signature"), signature);
}

#[tokio::test]
async fn an_answer_is_json_or_text() {
    let json_text = |text: &str| Reply::Raw(200, "application/json", None, text.to_owned());
    for (reply, result) in [
        (Reply::Json(json!({"a": [1, 2]})), json!({"a": [1, 2]})),
        (json_text("{not json"), json!("{not json")),
        (raw(200, "{\"a\": 1}"), json!("{\"a\": 1}")),
        (raw(201, "made"), json!("made")),
        (Reply::Raw(204, "text/plain", None, String::new()), Value::Null),
        (Reply::Raw(200, "application/problem+json", None, "7".into()), json!(7)),
    ] {
        let (name, data, called) = ended(vec![reply]).await;
        assert_eq!((name, &data["result"], called.len()), ("tool.completed", &result, 1));
    }
}

#[tokio::test]
async fn a_passing_failure_is_retried() {
    for status in [408, 429, 500, 502, 503] {
        let busy = Reply::Raw(status, "text/plain", Some("0"), String::new());
        let (name, data, called) = ended(vec![busy, Reply::Json(json!("ok"))]).await;
        assert_eq!(
            (name, &data["attempts"], called.len()),
            ("tool.completed", &json!(2), 2),
            "{status}"
        );
        let keys: Vec<&str> = called.iter().map(|c| c.header("idempotency-key")).collect();
        assert_eq!(keys[0], keys[1]);
    }
    let (name, _, called) = ended(vec![Reply::Reset, Reply::Json(json!("ok"))]).await;
    assert_eq!((name, called.len()), ("tool.completed", 2));
}

#[tokio::test]
async fn retries_have_an_end() {
    let (name, data, called) = ended(vec![raw(503, "busy")]).await;
    assert_eq!((name, called.len(), &data["attempts"]), ("tool.failed", 3, &json!(3)));
    assert_eq!(
        data["error"],
        json!({"code": "tool_error", "message": "the handler answered 503: busy"})
    );
}

#[tokio::test]
async fn a_refusal_is_told_and_not_retried() {
    for status in [301, 400, 401, 404, 422] {
        let (name, data, called) = ended(vec![raw(status, &"no ".repeat(5000))]).await;
        assert_eq!((name, called.len()), ("tool.failed", 1), "{status}");
        let message = data["error"]["message"].as_str().expect("a message");
        assert!(message.starts_with(&format!("the handler answered {status}: no no")), "{message}");
        assert!(message.len() < 4200, "{}", message.len());
    }
}

#[tokio::test]
async fn what_the_handler_asks_to_wait_is_waited() {
    let busy = Reply::Raw(429, "text/plain", Some("0"), String::new());
    let server = ToolServer::start(vec![("/t", vec![busy, Reply::Json(json!(1))])]).await;
    let hour =
        RuntimeConfig { retry_base_ms: 3_600_000, ..super::ledger::config(ModelTable::default()) };
    let bench = Bench::with(agent(&server.tool("t", "/t")), json!("go"), hour);
    assert_eq!(completed(&bench.drive().await.0), json!("1"));
}

#[tokio::test]
async fn a_silent_handler_times_out() {
    let server = ToolServer::start(vec![("/t", vec![Reply::Silence])]).await;
    let mut tool = server.tool("t", "/t");
    tool["handler"]["timeout_seconds"] = json!(1);
    let (outcome, ledger) = Bench::new(agent(&tool), json!("go")).drive().await;
    assert!(completed(&outcome).as_str().expect("text").contains("tool_timeout"));
    assert_eq!(ledger.event("tool.failed")["error"]["message"], "no answer within 1 seconds");
    assert_eq!(server.called().len(), 1);
}

#[tokio::test]
async fn a_silent_handler_that_may_be_called_once_leaves_the_outcome_unknown() {
    let server = ToolServer::start(vec![("/t", vec![Reply::Silence])]).await;
    let mut tool = server.tool("t", "/t");
    tool["handler"]["timeout_seconds"] = json!(1);
    tool["handler"]["delivery"] = json!("at_most_once");
    let (_, ledger) = Bench::new(agent(&tool), json!("go")).drive().await;
    assert_eq!(ledger.event("tool.failed")["error"]["code"], "outcome_unknown");
    assert_eq!(server.called().len(), 1);
}

#[tokio::test]
async fn a_call_that_broke_half_way_and_may_be_made_once_is_unknown() {
    let server = ToolServer::start(vec![("/t", vec![Reply::Reset])]).await;
    let mut tool = server.tool("t", "/t");
    tool["handler"]["delivery"] = json!("at_most_once");
    let (_, ledger) = Bench::new(agent(&tool), json!("go")).drive().await;
    assert_eq!(ledger.event("tool.failed")["error"]["code"], "outcome_unknown");
    assert_eq!(server.called().len(), 1);
}

#[tokio::test]
async fn a_handler_that_failed_and_may_be_called_once_is_not_called_again() {
    let replies = vec![raw(503, "busy"), Reply::Json(json!(1))];
    let server = ToolServer::start(vec![("/t", replies)]).await;
    let mut tool = server.tool("t", "/t");
    tool["handler"]["delivery"] = json!("at_most_once");
    let (_, ledger) = Bench::new(agent(&tool), json!("go")).drive().await;
    assert_eq!(ledger.event("tool.failed")["error"]["code"], "tool_error");
    assert_eq!(server.called().len(), 1);
}

#[tokio::test]
async fn a_private_address_is_blocked_by_its_number_and_by_its_name() {
    let server = ToolServer::start(vec![]).await;
    let port = server.url.rsplit(':').next().expect("a port").to_owned();
    for host in ["127.0.0.1", "2130706433", "[::ffff:127.0.0.1]", "localhost"] {
        let mut tool = server.tool("t", "/t");
        tool["handler"]["url"] = json!(format!("http://{host}:{port}/t"));
        let closed =
            RuntimeConfig { retry_base_ms: 1, ..RuntimeConfig::new(ModelTable::default(), vec![]) };
        let (_, ledger) = Bench::with(agent(&tool), json!("go"), closed).drive().await;
        assert_eq!(ledger.event("tool.failed")["error"]["code"], "blocked_address", "{host}");
    }
    assert!(server.called().is_empty());
    let mut tool = server.tool("t", "/t");
    tool["handler"]["url"] = json!(format!("http://localhost:{port}/t"));
    let (_, ledger) = Bench::new(agent(&tool), json!("go")).drive().await;
    ledger.event("tool.completed");
}

#[tokio::test]
async fn no_redirect_is_followed() {
    let server = ToolServer::start(vec![]).await;
    let (name, data, called) = ended(vec![raw(302, "elsewhere")]).await;
    assert_eq!((name, called.len()), ("tool.failed", 1), "{data}");
    assert!(server.called().is_empty());
}

#[tokio::test]
async fn an_answer_has_bounds() {
    let (name, data, called) = ended(vec![raw(200, &"x".repeat(2 << 20))]).await;
    assert_eq!((name, called.len()), ("tool.failed", 1));
    assert!(data["error"]["message"].as_str().expect("text").contains("1048576"));
    let (name, data, _) = ended(vec![raw(200, &"x".repeat(300 << 10))]).await;
    assert_eq!(name, "tool.completed");
    assert!(
        data["result"]
            .as_str()
            .expect("text")
            .ends_with("[cut here: the whole answer has 307200 bytes]")
    );
}

#[tokio::test]
async fn at_most_eight_calls_are_under_way_at_once() {
    let go = Arc::new(Notify::new());
    let server =
        ToolServer::start(vec![("/t", vec![Reply::Wait(Arc::clone(&go), json!(1))])]).await;
    let calls = vec![json!({"name": "t"}); 10];
    let agent = json!({
        "tools": [server.tool("t", "/t")],
        "sim": {"turns": [{"tool_calls": calls}, {"text": "done"}]}
    });
    let bench = Bench::new(agent, json!("go"));
    let ledger = Ledger::of(Vec::new(), None);
    let (outcome, ()) = tokio::join!(bench.claim(&ledger), async {
        server.arrivals(8).await;
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert_eq!(server.called().len(), 8);
        while ledger.usage().tool_calls < 9 {
            go.notify_one();
            tokio::task::yield_now().await;
        }
        go.notify_one();
    });
    assert_eq!(completed(&outcome), json!("done"));
    assert_eq!(server.called().len(), 10);
}
