//! What an attacker sends: forged keys, doubled headers, other tenants' names smuggled in, cursors
//! with a flipped byte. Each is refused with its code, nothing is written, and nothing fails.

mod cursors;
mod headers;
mod keys;
mod smuggling;

use serde_json::{Value, json};

use crate::harness::app::App;
use crate::harness::doors::Door;

/// A request as it is written: the answer's status and body.
async fn send(app: &App, line: &str, headers: &[(&str, &[u8])], body: &Value) -> (u16, Value) {
    let (verb, path) = line.split_once(' ').expect("a verb and a path");
    let http = reqwest::Client::builder().no_proxy().build().expect("an HTTP client");
    let mut request = http.request(verb.parse().expect("a verb"), format!("{}{path}", app.url));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    if !body.is_null() {
        request = request.json(body);
    }
    let response = request.send().await.expect("an answer");
    let (status, body) = (response.status().as_u16(), response.text().await.expect("a body"));
    assert!(status < 500, "{line}: {status} {body}");
    (status, serde_json::from_str(&body).unwrap_or(Value::String(body)))
}

fn code(answer: &(u16, Value)) -> (u16, &str) {
    (answer.0, answer.1["error"]["code"].as_str().unwrap_or_default())
}

fn an_agent() -> Value {
    json!({"name": "x", "model": "sim", "sim": {"turns": [{"text": "Hi."}]}})
}

/// Agents and keys that there are.
async fn written(app: &App) -> [Value; 2] {
    let page = json!({"page": 1});
    let admin = app.door(Door::Rest);
    let agents = admin.call("AgentsService/ListAgents", page.clone()).await.expect("agents");
    let keys = admin.call("KeysService/ListKeys", page).await.expect("keys");
    [agents, keys].map(|list| list["pagination"]["total"].clone())
}
