//! The sources' own examples: each `curl` of the five documents that Runplane was made from, word
//! for word but for host, key and ids, does what its page says; one file a document. The pages'
//! tables of endpoints and errors are walked the same way.

mod agentics;
mod agents;
mod airmy;
mod curl;
mod push;
mod runagent;

use serde_json::{Value, json};

use crate::harness::app::App;
use crate::harness::doors::Door;

/// A published agent; gives back its id.
async fn published(app: &App, agent: Value) -> String {
    let id = unpublished(app, agent).await;
    let door = app.door(Door::Rest);
    door.call("AgentsService/PublishAgent", json!({ "id": id })).await.expect("published");
    id
}

/// An agent that nobody may run yet; gives back its id.
async fn unpublished(app: &App, agent: Value) -> String {
    let door = app.door(Door::Rest);
    let made = door.call("AgentsService/CreateAgent", json!({ "agent": agent })).await;
    made.expect("an agent")["id"].as_str().expect("an id").to_owned()
}

/// An agent that answers with a text, a template over the run's input.
fn saying(name: &str, text: &str) -> Value {
    json!({"name": name, "model": "sim", "sim": {"turns": [{"when": "true", "text": text}]}})
}
