//! The key itself: how it may look, how long it is known, whose it is, and how its run is found.

use std::time::Duration;

use runplane::kernel::Clock;
use serde_json::json;

use crate::harness::app::{App, On, Options};
use crate::harness::databases::START;
use crate::harness::doors::Door;
use crate::harness::story::{Story, at_each_door};

#[tokio::test]
async fn an_odd_key_is_refused_by_its_name() {
    at_each_door(async |at: &mut Story| {
        let key = at.app.admin.clone();
        for odd in ["a b", &"x".repeat(256)] {
            at.with_key(&key);
            at.with_header("idempotency-key", odd);
            let new = json!({"agent": crate::agents::echo()});
            let failure = at.fails("invalid_field", "AgentsService/CreateAgent", new).await;
            assert_eq!(failure.details["field"], "idempotency-key");
        }
        at.with_key(&key);
        assert_eq!(at.ok("AgentsService/ListAgents", json!({})).await["data"], json!([]));
    })
    .await;
}

#[tokio::test]
async fn a_call_that_failed_may_be_mended_and_made_again() {
    at_each_door(async |at: &mut Story| {
        at.with_header("idempotency-key", "once");
        let wrong = json!({"agent_id": "agt_1", "input": "x"});
        at.fails("agent_not_found", "RunsService/CreateRun", wrong).await;
        let key = at.app.admin.clone();
        at.with_key(&key);
        let agent = crate::agents::an_echo(at).await;
        at.with_header("idempotency-key", "once");
        at.begins("RunsService/CreateRun", json!({"agent_id": agent, "input": "x"})).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_is_found_by_the_key_that_made_it() {
    let app = App::start().await;
    let admin = app.door(Door::Rest);
    let new = json!({"agent": crate::agents::echo()});
    let agent = admin.call("AgentsService/CreateAgent", new).await.expect("an agent")["id"].clone();
    let mut runs = Vec::new();
    for key in ["a", "b"] {
        let caller = admin.clone().with_header("idempotency-key", key);
        let run = json!({"agent_id": agent, "input": key});
        runs.push(caller.call("RunsService/CreateRun", run).await.expect("a run")["id"].clone());
    }
    let find = async |key: &str| {
        let asked = json!({ "idempotency_key": key });
        let list = admin.call("RunsService/ListRuns", asked).await.expect("a list");
        let ids = list["data"].as_array().expect("a list").iter();
        ids.map(|run| run["id"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(find("a").await, [runs[0].clone()]);
    assert_eq!(find("b").await, [runs[1].clone()]);
    assert!(find("c").await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_known_for_a_day_and_across_restarts() {
    for on in [On::Sqlite, On::Postgres] {
        let clock = Clock::manual(START);
        let app = App::with(Options { on, clock, ..Options::default() }).await;
        let new = json!({"name": "k"});
        let made = async |app: &App| {
            let caller = app.door(Door::Rest).with_header("idempotency-key", "k");
            caller.call("KeysService/CreateKey", new.clone()).await.expect("a key")
        };
        let first = made(&app).await;
        let app = app.restart().await;
        app.advance(Duration::from_secs(86_400 - 1));
        assert_eq!(made(&app).await, first, "the secret included");
        app.advance(Duration::from_secs(2));
        let later = made(&app).await;
        assert_ne!(later["id"], first["id"]);
        assert_eq!(made(&app).await, later, "known from then on");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_a_projects_environments_and_methods_own() {
    let app = App::start().await;
    let new = json!({"name": "k", "scopes": ["read"]});
    let made = async |key: &str, action: &str, fields: &serde_json::Value| {
        let caller = app.client(Door::Rest, key).with_header("idempotency-key", "k");
        caller.call(action, fields.clone()).await
    };
    let live = made(&app.admin, "KeysService/CreateKey", &new).await.expect("a key");
    let test = made(&app.test_admin, "KeysService/CreateKey", &new).await.expect("a key");
    assert_ne!(live["id"], test["id"]);
    let agent = json!({"agent": crate::agents::echo()});
    made(&app.admin, "AgentsService/CreateAgent", &agent).await.expect("another method's");
    // A key with other scopes is not shown what the first was answered.
    let writer = json!({"name": "w", "scopes": ["keys:write", "read"]});
    let admin = app.door(Door::Rest);
    let writer = admin.call("KeysService/CreateKey", writer).await.expect("a key");
    let writer = writer["secret"].as_str().expect("a secret").to_owned();
    let failure = made(&writer, "KeysService/CreateKey", &new).await.expect_err("refused");
    assert_eq!(failure.code, "idempotency_key_reused");
}
