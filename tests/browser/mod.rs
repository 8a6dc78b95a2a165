//! What web pages can do, in a real browser and from another origin than the server's: calls by the
//! two clients that pages use for gRPC-Web, plain `fetch`, and who is refused. Below the browser:
//! the same by hand, where each byte can be chosen.

mod calls;
mod cookies;
mod frames;
mod origins;
mod plain;

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::timeout;

use crate::harness::app::{App, Options};
use crate::harness::browser::friends;
use crate::harness::doors::{Client, Door, Event, Follow};

/// A server that lets pages of friends call.
async fn app() -> App {
    App::with(Options { config: friends(), ..Options::default() }).await
}

/// What a patient agent says: enough for more than one frame of live text.
fn long_text() -> String {
    "One two three. ".repeat(200)
}

/// An agent that asks its caller, says something, asks again, and says the rest: while it waits for
/// an output, its run stands still, for as long as the test likes.
async fn a_patient_agent(app: &App) -> String {
    let agent = json!({
        "name": "patient", "model": "sim", "tools": [{"name": "ask", "client": {}}],
        "sim": {"turns": [
            {"when": "turn == 0", "tool_calls": [{"name": "ask"}]},
            {"when": "turn == 1", "text": long_text(), "tool_calls": [{"name": "ask"}]},
            {"text": "Done."},
        ]},
    });
    let door = app.door(Door::Rest);
    let made = door.call("AgentsService/CreateAgent", json!({ "agent": agent })).await;
    made.expect("an agent")["id"].as_str().expect("an id").to_owned()
}

/// A run that waits for its first output.
async fn a_waiting_run(app: &App) -> Value {
    let run = json!({"agent_id": a_patient_agent(app).await, "input": "x", "wait": 30});
    let run = app.door(Door::Rest).call("RunsService/CreateRun", run).await.expect("a run");
    assert_eq!(run["status"], "requires_action", "{run}");
    run
}

/// Hands over the output that a run waits for.
async fn go_on(caller: &Client, run_id: &str) {
    let run = caller.call("RunsService/GetRun", json!({ "id": run_id })).await.expect("the run");
    let call = &run["required_action"]["tool_calls"][0]["id"];
    assert!(call.is_string(), "{run} waits for nothing");
    let outputs = json!([{"tool_call_id": call, "output": "yes"}]);
    let outputs = json!({"run_id": run_id, "tool_outputs": outputs});
    caller.call("RunsService/SubmitToolOutputs", outputs).await.expect("the run goes on");
}

/// The events up to the next of this kind.
async fn up_to(follow: &mut Follow, kind: &str) -> Vec<Event> {
    let mut events = Vec::new();
    while events.last().is_none_or(|event: &Event| event.kind != kind) {
        let next = follow.next().await.unwrap_or_else(|| panic!("no {kind} after {events:?}"));
        events.push(next.expect("an event"));
    }
    events
}

/// The live text among events, and the number of its pieces, which go on from one another.
fn live_text(events: &[Event]) -> (String, usize) {
    let (mut text, mut pieces) = (String::new(), 0);
    for event in events.iter().filter(|event| event.kind == "token") {
        assert_eq!(event.data["offset"], text.len(), "{event:?}");
        text += event.data["delta"].as_str().expect("a text");
        pieces += 1;
    }
    (text, pieces)
}

/// Waits until nobody follows a run any more.
async fn nobody_follows(app: &App) {
    let gone = async {
        while app.bus.runs() > 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(60), gone).await.expect("somebody still follows");
}
