//! What lasts: data and keys over a restart, on both databases, and what ends only because time
//! passes.

use std::time::Duration;

use runplane::kernel::Clock;
use serde_json::{Value, json};

use crate::agents::{echo, id};
use crate::harness::app::{App, On, Options};
use crate::harness::databases::START;
use crate::harness::doors::{Client, Door};

/// Looks for what is due many times a second, so that a test which moves the clock need not wait.
const EAGER: &str = "[engine]\npoll_ms = 20\noverdue_ms = 20\n";

#[tokio::test]
async fn what_was_made_on_sqlite_is_there_after_a_restart() {
    made_is_there_after_a_restart(On::Sqlite).await;
}

#[tokio::test]
async fn what_was_made_on_postgres_is_there_after_a_restart() {
    made_is_there_after_a_restart(On::Postgres).await;
}

async fn made_is_there_after_a_restart(on: On) {
    let app = App::with(Options { on, ..Options::default() }).await;
    let rest = app.door(Door::Rest);
    let agent = ok(&rest, "AgentsService/CreateAgent", json!({ "agent": echo() })).await;
    let run = json!({"agent_id": agent["id"], "input": "hi"});
    let run = ok(&rest, "AgentsService/InvokeAgent", run).await;
    let watch = json!({"run_id": run["id"]});
    let events = rest.stream("RunsService/WatchRun", watch.clone()).await.expect("events");

    let app = app.restart().await;
    let rest = app.door(Door::Rest);
    let read = |of: &Value| json!({"id": of["id"]});
    assert_eq!(ok(&rest, "AgentsService/GetAgent", read(&agent)).await, agent);
    assert_eq!(ok(&rest, "RunsService/GetRun", read(&run)).await, run);
    let again = rest.stream("RunsService/WatchRun", watch).await.expect("events");
    assert_eq!(again, events);
    let run = json!({"agent_id": agent["id"], "input": "hi"});
    assert_eq!(ok(&rest, "AgentsService/InvokeAgent", run).await["status"], "completed");
}

#[tokio::test]
async fn a_rotated_key_stops_when_its_overlap_has_passed() {
    let app = at_a_standstill().await;
    let admin = app.door(Door::Rest);
    let key = json!({"name": "old", "scopes": ["read"]});
    let old = ok(&admin, "KeysService/CreateKey", key).await;
    let rotate = json!({"id": old["id"], "overlap_seconds": 3600});
    let new = ok(&admin, "KeysService/RotateKey", rotate).await;
    let list = "AgentsService/ListAgents";
    app.advance(Duration::from_secs(3599));
    ok(&with(&app, &old), list, json!({})).await;
    app.advance(Duration::from_secs(2));
    let failure = with(&app, &old).call(list, json!({})).await.expect_err("the overlap is over");
    assert_eq!(failure.code, "invalid_api_key");
    ok(&with(&app, &new), list, json!({})).await;
}

#[tokio::test]
async fn a_key_stops_at_its_expiry() {
    let app = at_a_standstill().await;
    let admin = app.door(Door::Rest);
    let until = START.plus(Duration::from_secs(60)).to_string();
    let key = json!({"name": "short", "scopes": ["read"], "expires_at": until});
    let key = ok(&admin, "KeysService/CreateKey", key).await;
    ok(&with(&app, &key), "AgentsService/ListAgents", json!({})).await;
    app.advance(Duration::from_secs(61));
    let failure = with(&app, &key).call("AgentsService/ListAgents", json!({})).await;
    assert_eq!(failure.expect_err("it has expired").code, "invalid_api_key");
}

#[tokio::test]
async fn a_run_expires_when_its_caller_stays_silent() {
    let app = at_a_standstill().await;
    let rest = app.door(Door::Rest);
    let agent = json!({
        "name": "asks", "model": "sim",
        "tools": [{"name": "ask", "client": {"deadline_seconds": 60}}],
        "sim": {"turns": [{"tool_calls": [{"name": "ask"}]}]},
    });
    let agent = ok(&rest, "AgentsService/CreateAgent", json!({ "agent": agent })).await;
    let run = json!({"agent_id": id(&agent), "input": "x", "wait": 10});
    let run = ok(&rest, "RunsService/CreateRun", run).await;
    assert_eq!(run["status"], "requires_action", "{run}");
    app.advance(Duration::from_secs(61));
    let watch = json!({"run_id": run["id"]});
    let events = rest.stream("RunsService/WatchRun", watch).await.expect("events");
    assert_eq!(events.last().map(|event| event.kind.as_str()), Some("run.expired"));
    let run = ok(&rest, "RunsService/GetRun", json!({"id": run["id"]})).await;
    assert_eq!(run["status"], "expired");
}

/// An app whose clock stands still until the test moves it.
async fn at_a_standstill() -> App {
    let (clock, config) = (Clock::manual(START), EAGER.to_owned());
    App::with(Options { clock, config, ..Options::default() }).await
}

fn with(app: &App, key: &Value) -> Client {
    app.client(Door::Rest, key["secret"].as_str().expect("a secret"))
}

async fn ok(client: &Client, method: &str, fields: Value) -> Value {
    client.call(method, fields).await.unwrap_or_else(|f| panic!("{method}: {f:?}"))
}
