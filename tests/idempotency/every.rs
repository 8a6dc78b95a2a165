//! Every method of the contract that changes something, read from the descriptors, made twice at
//! each door: one effect, one answer, one line in the audit log. A method that is not known here
//! fails the test, so that a new one is covered on the day it is written.

use std::collections::BTreeMap;

use runplane::proto::rest::METHODS;
use serde_json::{Value, json};

use super::log::entries;
use crate::harness::app::App;
use crate::harness::doors::{Client, Door};

/// Calls that change something, each of something of its own.
struct Calls {
    app: App,
    door: Door,
}

impl Calls {
    async fn at(door: Door) -> Self {
        Self { app: App::start().await, door }
    }

    fn admin(&self) -> Client {
        self.app.door(self.door)
    }

    /// Who calls a method.
    fn caller(&self, action: &str) -> Client {
        let (service, _) = action.split_once('/').expect("Service/Method");
        match service {
            "OrganisationsService" | "ProjectsService" => {
                self.app.client(self.door, &self.app.operator)
            }
            _ => self.admin(),
        }
    }

    async fn made(&self, action: &str, fields: Value) -> Value {
        let made = self.caller(action).call(action, fields).await;
        made.unwrap_or_else(|failure| panic!("{action}: {failure:?}"))
    }

    async fn id(&self, action: &str, fields: Value) -> Value {
        self.made(action, fields).await["id"].clone()
    }

    async fn agent(&self) -> Value {
        self.id("AgentsService/CreateAgent", json!({"agent": crate::agents::echo()})).await
    }

    async fn key(&self) -> Value {
        self.id("KeysService/CreateKey", json!({"name": "a"})).await
    }

    async fn organisation(&self) -> Value {
        self.id("OrganisationsService/CreateOrganisation", json!({"name": "o"})).await
    }

    async fn project(&self) -> Value {
        let new = json!({"organisation_id": self.organisation().await, "name": "p"});
        self.id("ProjectsService/CreateProject", new).await
    }

    /// A run that waits for the output of a call, and the call.
    async fn waiting(&self) -> (Value, Value) {
        let calls = json!([{"name": "approve", "arguments": {}}]);
        let asker = json!({
            "name": "Asker", "model": "sim", "tools": [{"name": "approve", "client": {}}],
            "sim": {"turns": [{"tool_calls": calls}, {"text": "done"}]},
        });
        let agent = self.id("AgentsService/CreateAgent", json!({ "agent": asker })).await;
        let new = json!({"agent_id": agent, "input": "x", "wait": 60});
        let run = self.made("RunsService/CreateRun", new).await;
        let call = run["required_action"]["tool_calls"][0]["id"].clone();
        assert!(call.is_string(), "{run}");
        (run["id"].clone(), call)
    }

    /// A request that nobody has made before.
    async fn fields(&self, action: &str) -> Value {
        match action {
            "AgentsService/CreateAgent" => json!({"agent": crate::agents::echo()}),
            "AgentsService/UpdateAgent" => json!({
                "id": self.agent().await, "agent": {"name": "b"}, "update_mask": "name",
                "if_version": 1,
            }),
            "AgentsService/DeleteAgent"
            | "AgentsService/PublishAgent"
            | "AgentsService/UnpublishAgent" => json!({"id": self.agent().await}),
            "AgentsService/InvokeAgent"
            | "AgentsService/RunAgent"
            | "AgentsService/StreamAgent"
            | "RunsService/CreateRun"
            | "RunsService/StreamRun" => json!({"agent_id": self.agent().await, "input": "x"}),
            "RunsService/CancelRun" => json!({"id": self.waiting().await.0}),
            "RunsService/SubmitToolOutputs" | "RunsService/StreamToolOutputs" => {
                let (run, call) = self.waiting().await;
                json!({"run_id": run, "tool_outputs": [{"tool_call_id": call, "output": "yes"}]})
            }
            "KeysService/CreateKey" => json!({"name": "k", "scopes": ["run"]}),
            "KeysService/UpdateKey" => {
                json!({"id": self.key().await, "key": {"name": "b"}, "update_mask": "name"})
            }
            "KeysService/RotateKey"
            | "KeysService/RegenerateKey"
            | "KeysService/RevokeKey"
            | "KeysService/DeleteKey" => json!({"id": self.key().await}),
            "AuthService/CreateToken" | "AuthService/CreateSession" => json!({"scopes": ["run"]}),
            "AuthService/DeleteSession" => json!({}),
            "OrganisationsService/CreateOrganisation" => json!({"name": "o"}),
            "OrganisationsService/UpdateOrganisation" => {
                let id = self.organisation().await;
                json!({"id": id, "organisation": {"name": "b"}, "update_mask": "name"})
            }
            "OrganisationsService/DeleteOrganisation" => json!({"id": self.organisation().await}),
            "ProjectsService/CreateProject" => {
                json!({"organisation_id": self.organisation().await, "name": "p"})
            }
            "ProjectsService/UpdateProject" => {
                json!({"id": self.project().await, "project": {"name": "b"}, "update_mask": "name"})
            }
            "ProjectsService/DeleteProject" => json!({"id": self.project().await}),
            other => panic!("{other} changes something: say here how it is called"),
        }
    }
}

/// What a caller hears: headers, and the answer or the durable events.
async fn heard(caller: &Client, action: &str, fields: &Value) -> (BTreeMap<String, String>, Value) {
    let method = crate::harness::contract::method(action);
    if !method.is_server_streaming() {
        let answer = caller.answer(action, fields.clone()).await;
        let answer = answer.unwrap_or_else(|f| panic!("{action} at {:?}: {f:?}", caller.door));
        return (answer.headers, answer.body);
    }
    let events = caller.stream(action, fields.clone()).await;
    let events = events.unwrap_or_else(|f| panic!("{action} at {:?}: {f:?}", caller.door));
    let durable = events.iter().filter(|event| event.kind != "token");
    let durable = durable.map(|e| json!({"id": e.id, "type": e.kind, "data": e.data}));
    (BTreeMap::new(), durable.collect())
}

async fn once(calls: &Calls, action: &'static str, number: usize) {
    let (fields, other) = (calls.fields(action).await, calls.fields(action).await);
    let key = format!("{action}-{number}");
    let caller = calls.caller(action).with_header("idempotency-key", &key);
    let before = entries(&calls.app).await.len();
    let (first, answer) = heard(&caller, action, &fields).await;
    let (again, replay) = heard(&caller, action, &fields).await;
    let at = format!("{action} at {:?}", calls.door);
    assert_eq!(replay, answer, "{at}");
    let after = entries(&calls.app).await;
    assert_eq!(after.len(), before + 1, "{at} is written down once");
    let line = after.last().expect("a line");
    // A stream is called by its twin's rule over REST, and does the same.
    assert!(line["action"] == action || calls.door == Door::Rest, "{at}: {line}");
    if !first.is_empty() {
        assert_eq!(line["request_id"].as_str(), first.get("x-request-id").map(|id| &**id), "{at}");
        assert_eq!(first.get("idempotent-replayed"), None, "{at}");
        assert_eq!(again.get("idempotent-replayed").map(|v| &**v), Some("true"), "{at}");
        let expires = first.get("idempotency-expires");
        assert!(expires.is_some() && again.get("idempotency-expires") == expires, "{at}");
    }
    if other != fields {
        let method = crate::harness::contract::method(action);
        let failed = match method.is_server_streaming() {
            true => caller.stream(action, other).await.map(|_| Value::Null),
            false => caller.call(action, other).await,
        };
        let failure = failed.expect_err(&at);
        assert_eq!(failure.code, "idempotency_key_reused", "{at}");
        assert_eq!(failure.details["field"], "idempotency-key", "{at}");
    }
}

async fn every(door: Door) {
    let calls = Calls::at(door).await;
    let mut count = 0;
    for (number, method) in METHODS.iter().enumerate().filter(|(_, method)| method.changes) {
        once(&calls, method.action, number).await;
        count += 1;
    }
    assert!(count >= 28, "only {count} methods change something");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_change_over_rest_happens_once() {
    every(Door::Rest).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_change_over_grpc_happens_once() {
    every(Door::Grpc).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_change_over_grpc_web_happens_once() {
    every(Door::GrpcWeb).await;
}
