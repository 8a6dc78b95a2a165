//! Every method of the keys' service, over gRPC, gRPC-Web and REST, with the same answers; and what
//! a key opens.

use serde_json::{Value, json};

use crate::agents::id;
use crate::harness::doors::Door;
use crate::harness::story::{Story, at_each_door};

async fn a_key(at: &mut Story, scope: &str) -> Value {
    at.ok("KeysService/CreateKey", json!({"name": scope, "scopes": [scope]})).await
}

fn secret(key: &Value) -> String {
    key["secret"].as_str().expect("a secret").to_owned()
}

#[tokio::test]
async fn a_key_shows_its_secret_once() {
    at_each_door(async |at: &mut Story| {
        let key = a_key(at, "read").await;
        let shown = secret(&key);
        assert!(shown.starts_with("sk_live_"), "{shown}");
        assert!(shown.starts_with(key["prefix"].as_str().expect("a prefix")));
        assert_eq!(key["scopes"], json!(["read"]));
        let read = at.ok("KeysService/GetKey", json!({"id": key["id"]})).await;
        assert_eq!(read.get("secret"), None);
        assert_eq!(read["name"], "read");
        let list = at.ok("KeysService/ListKeys", json!({"limit": 100})).await;
        let listed = list["data"].as_array().expect("data");
        assert!(listed.iter().all(|key| key.get("secret").is_none()));
        assert!(listed.iter().any(|listed| listed["id"] == key["id"]));
        let answer = at.caller().answer("KeysService/CreateKey", json!({"name": "x"})).await;
        let answer = answer.expect("a key");
        assert_eq!(answer.status, if at.door() == Door::Rest { 201 } else { 200 });
        assert_eq!(answer.body["scopes"], json!(["run"]), "the default");
    })
    .await;
}

#[tokio::test]
async fn a_wrong_key_is_refused() {
    at_each_door(async |at: &mut Story| {
        let create = "KeysService/CreateKey";
        at.fails("missing_field", create, json!({})).await;
        at.fails("invalid_field", create, json!({"name": "x".repeat(121)})).await;
        let past = json!({"name": "x", "expires_at": "2001-01-01T00:00:00Z"});
        at.fails("invalid_field", create, past).await;
        let other = json!({"name": "x", "environment": "test"});
        at.fails("environment_mismatch", create, other).await;
        at.fails("key_not_found", "KeysService/GetKey", json!({"id": "key_1"})).await;
    })
    .await;
}

#[tokio::test]
async fn a_key_opens_what_its_scope_says() {
    at_each_door(async |at: &mut Story| {
        let (reader, runner) = (at.app.reader.clone(), at.app.runner.clone());
        let agent = json!({"agent": crate::agents::echo()});
        at.with_key(&reader);
        at.ok("AgentsService/ListAgents", json!({})).await;
        let failure = at.fails("insufficient_scope", "AgentsService/CreateAgent", agent).await;
        assert_eq!(failure.details["scope"], "agents:write");
        let run = json!({"agent_id": "agt_1", "input": "x"});
        at.fails("insufficient_scope", "AgentsService/InvokeAgent", run).await;
        at.with_key(&runner);
        at.ok("RunsService/ListRuns", json!({})).await;
        at.fails("insufficient_scope", "KeysService/ListKeys", json!({})).await;
    })
    .await;
}

#[tokio::test]
async fn no_key_and_a_wrong_key_are_told_apart() {
    at_each_door(async |at: &mut Story| {
        at.without_key();
        at.fails("missing_api_key", "AgentsService/ListAgents", json!({})).await;
        at.fails("missing_api_key", "AgentsService/GetAgent", json!({"id": "x"})).await;
        for wrong in ["nonsense", "sk_live_", &format!("sk_live_{}", "0".repeat(48))] {
            at.with_key(wrong);
            at.fails("invalid_api_key", "AgentsService/ListAgents", json!({})).await;
        }
        let events = json!({"run_id": "run_1"});
        at.stream_fails("invalid_api_key", "RunsService/WatchRun", events).await;
    })
    .await;
}

#[tokio::test]
async fn a_key_is_taken_in_three_headers() {
    at_each_door(async |at: &mut Story| {
        let key = at.app.admin.clone();
        for (name, value) in [("authorization", format!("Token {key}")), ("x-api-key", key.clone())]
        {
            at.without_key();
            at.with_header(name, &value);
            at.ok("AgentsService/ListAgents", json!({})).await;
        }
    })
    .await;
}

#[tokio::test]
async fn test_and_live_data_never_meet() {
    at_each_door(async |at: &mut Story| {
        let agent = crate::agents::an_echo(at).await;
        let key = at.app.test_admin.clone();
        at.with_key(&key);
        at.fails("agent_not_found", "AgentsService/GetAgent", json!({ "id": agent })).await;
        assert_eq!(at.ok("AgentsService/ListAgents", json!({})).await["data"], json!([]));
        let keys = at.ok("KeysService/ListKeys", json!({})).await;
        let keys = keys["data"].as_array().expect("data");
        assert!(keys.iter().all(|key| key["environment"] == "test"), "{keys:?}");
    })
    .await;
}

#[tokio::test]
async fn a_key_changes_its_name_and_labels() {
    at_each_door(async |at: &mut Story| {
        let key = a_key(at, "read").await;
        let change = json!({"id": key["id"], "update_mask": "name,metadata",
            "key": {"name": "renamed", "metadata": {"a": "b"}}});
        let changed = at.ok("KeysService/UpdateKey", change).await;
        assert_eq!(changed["name"], "renamed");
        assert_eq!(changed["metadata"], json!({"a": "b"}));
        assert_eq!(changed["scopes"], json!(["read"]));
        let idle = json!({"id": key["id"], "update_mask": "scopes", "key": {}});
        let same = at.ok("KeysService/UpdateKey", idle).await;
        assert_eq!(same["scopes"], json!(["read"]), "what only the server sets stays as it is");
        let odd = json!({"id": key["id"], "update_mask": "colour", "key": {}});
        at.fails("invalid_field", "KeysService/UpdateKey", odd).await;
    })
    .await;
}

#[tokio::test]
async fn a_rotated_key_works_on_until_the_overlap_ends() {
    at_each_door(async |at: &mut Story| {
        let admin = at.app.admin.clone();
        let list = "AgentsService/ListAgents";
        let old = a_key(at, "read").await;
        let rotate = json!({"id": old["id"], "overlap_seconds": 3600});
        let new = at.ok("KeysService/RotateKey", rotate).await;
        assert_ne!(new["id"], old["id"]);
        assert_eq!((&new["name"], &new["scopes"]), (&old["name"], &old["scopes"]));
        for key in [&old, &new] {
            at.with_key(&secret(key));
            at.ok(list, json!({})).await;
        }
        at.with_key(&admin);
        let replaced = at.ok("KeysService/GetKey", json!({"id": old["id"]})).await;
        assert_eq!(replaced["replaced_by"], new["id"]);
        let again = json!({"id": new["id"]});
        let newest = at.ok("KeysService/RegenerateKey", again).await;
        at.with_key(&secret(&new));
        at.fails("invalid_api_key", list, json!({})).await;
        at.with_key(&secret(&newest));
        at.ok(list, json!({})).await;
    })
    .await;
}

#[tokio::test]
async fn a_revoked_key_opens_nothing() {
    at_each_door(async |at: &mut Story| {
        let admin = at.app.admin.clone();
        for method in ["KeysService/RevokeKey", "KeysService/DeleteKey"] {
            let key = a_key(at, "read").await;
            let list = "AgentsService/ListAgents";
            at.with_key(&secret(&key));
            at.ok(list, json!({})).await;
            at.with_key(&admin);
            at.ok(method, json!({"id": id(&key)})).await;
            at.ok(method, json!({"id": id(&key)})).await;
            let record = at.ok("KeysService/GetKey", json!({"id": id(&key)})).await;
            assert!(record["revoked_at"].is_string());
            at.with_key(&secret(&key));
            at.fails("invalid_api_key", list, json!({})).await;
            at.with_key(&admin);
        }
    })
    .await;
}
