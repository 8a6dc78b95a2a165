//! Runs of one conversation go one after the other, and each is told what was said before it.

mod busy;
mod crash;
mod crowd;
mod ends;
mod history;
pub mod locks;

use serde_json::{Value, json};

use crate::agents::id;
use crate::harness::app::{App, On, Options};
use crate::harness::doors::{Client, Door};

pub const CREATE: &str = "RunsService/CreateRun";

/// Where what is below the doors is proven.
pub const BOTH: [On; 2] = [On::Sqlite, On::Postgres];

/// An app, and its administrator.
pub async fn app(on: On) -> (App, Client) {
    let app = App::with(Options { on, ..Options::default() }).await;
    let admin = app.door(Door::Rest);
    (app, admin)
}

/// An agent that says what it was told before, and its input.
pub fn teller() -> Value {
    let text = "{% for one in history %}{{ one.role }}: {{ one.content }}; {% endfor %}{{ input }}";
    json!({"name": "teller", "model": "sim", "instructions": "Tell.",
        "sim": {"turns": [{"when": "true", "text": text}]}})
}

/// An agent that asks its caller, and then says what it was told.
pub fn asker() -> Value {
    json!({"name": "asker", "model": "sim", "instructions": "Ask.",
    "tools": [{"name": "ask", "client": {"deadline_seconds": 86_400}}],
    "sim": {"turns": [
        {"text": "Let me ask.", "tool_calls": [{"name": "ask", "arguments": {"n": 1}}]},
        {"text": "They said {{ result }}."}
    ]}})
}

/// An agent whose runs live until they are cancelled.
pub fn sleeper() -> Value {
    json!({"name": "sleeper", "model": "sim",
        "sim": {"turns": [{"when": "true", "text": "Ah.", "delay_ms": 60_000}]}})
}

pub async fn ok(at: &Client, method: &str, fields: Value) -> Value {
    let answer = at.call(method, fields.clone()).await;
    answer.unwrap_or_else(|failure| panic!("{method} {fields}: {failure:?}"))
}

/// Makes an agent, which everybody may run; its id.
pub async fn agent(at: &Client, definition: Value) -> String {
    let agent = id(&ok(at, "AgentsService/CreateAgent", json!({ "agent": definition })).await);
    ok(at, "AgentsService/PublishAgent", json!({ "id": agent })).await;
    agent
}

/// A run of the session `s`, to be created.
pub fn run(agent: &str, input: &str) -> Value {
    json!({"agent_id": agent, "input": input, "session_id": "s", "background": true})
}

/// The same, with what becomes of it when the session is busy.
pub fn run_or(agent: &str, input: &str, on_session_busy: &str) -> Value {
    let mut run = run(agent, input);
    run["on_session_busy"] = json!(on_session_busy);
    run
}

/// Creates a run of the session `s`; its id.
pub async fn begin(at: &Client, agent: &str, input: &str) -> String {
    id(&ok(at, CREATE, run(agent, input)).await)
}

/// The run when it has ended, or asks its caller.
pub async fn settled(at: &Client, run: &str) -> Value {
    ok(at, "RunsService/GetRun", json!({"id": run, "wait": 30})).await
}

/// Waits until a worker drives the run.
pub async fn driven(at: &Client, run: &str) {
    let mut events = at.follow("RunsService/WatchRun", json!({"run_id": run})).await.expect("live");
    while let Some(event) = events.next().await {
        if event.expect("an event").kind == "run.in_progress" {
            return;
        }
    }
    panic!("{run} is not driven");
}

pub async fn status(at: &Client, run: &str) -> Value {
    ok(at, "RunsService/GetRun", json!({"id": run})).await["status"].clone()
}

/// Begins a run that asks its caller, and so holds the session until it is told.
pub async fn hold(at: &Client, asker: &str) -> Value {
    let run = begin(at, asker, "tea?").await;
    let run = settled(at, &run).await;
    assert_eq!(run["status"], "requires_action", "{run}");
    run
}

/// Tells a run what it has asked.
pub async fn tell(at: &Client, run: &Value, output: &str) {
    let call = &run["required_action"]["tool_calls"][0]["id"];
    let outputs = json!([{"tool_call_id": call, "output": output}]);
    let submit = json!({"run_id": run["id"], "tool_outputs": outputs});
    ok(at, "RunsService/SubmitToolOutputs", submit).await;
}

/// The names of all events of a run.
pub async fn kinds(at: &Client, run: &str) -> Vec<String> {
    let list = json!({"run_id": run, "limit": 100});
    let list = ok(at, "RunsService/ListRunEvents", list).await;
    let events = list["data"].as_array().expect("events").clone();
    events.iter().map(|event| event["type"].as_str().expect("a type").to_owned()).collect()
}

/// True when the first run had ended before the second began.
pub fn goes_before(first: &Value, second: &Value) -> bool {
    let at = |run: &Value, name: &str| -> runplane::kernel::Timestamp {
        serde_json::from_value(run[name].clone()).expect("a time")
    };
    at(first, "completed_at") <= at(second, "started_at")
}
