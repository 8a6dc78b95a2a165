//! What a plan and a key allow of runs, as callers meet it over gRPC, gRPC-Web and REST: so many at
//! once, so many a month.

use std::time::Duration;

use runplane::kernel::Clock;
use runplane::store::Store;
use runplane::store::tables::lane;
use sea_orm::{ConnectionTrait, EntityTrait};
use serde_json::{Value, json};

use crate::agents::{an_echo, id};
use crate::harness::app::{App, On, Options};
use crate::harness::databases::START;
use crate::harness::doors::Door;
use crate::harness::story::{Story, at_each_door_with};

const CREATE: &str = "RunsService/CreateRun";

/// An app whose plan says this.
fn planned(plan: &str) -> Options {
    let requests = "requests = { limit = 10000, per = \"1m\" }";
    let config = format!("[limits]\nplan = \"x\"\n[plans.x]\n{requests}\n{plan}");
    Options { config, clock: Clock::manual(START), ..Options::default() }
}

/// An agent whose runs live until they are cancelled.
async fn a_slow_one(at: &mut Story) -> String {
    let agent = json!({
        "name": "slow", "model": "sim", "sim": {"turns": [{"text": "Ah.", "delay_ms": 60_000}]},
    });
    let agent = id(&at.ok("AgentsService/CreateAgent", json!({ "agent": agent })).await);
    at.ok("AgentsService/PublishAgent", json!({ "id": agent })).await;
    agent
}

async fn write(store: &Store, sql: &'static str) {
    let job = store.tx("test", move |tx| {
        Box::pin(async move { tx.execute_unprepared(sql).await.map(drop).map_err(Into::into) })
    });
    job.await.expect("written");
}

fn facts(of: &str, limit: u32) -> [(String, String); 3] {
    let facts = [("limit", &*limit.to_string()), ("of", of), ("retry_after_s", "1")];
    facts.map(|(name, value)| (name.to_owned(), value.to_owned()))
}

async fn runs(at: &Story) -> Vec<Value> {
    let list = at.caller().call("RunsService/ListRuns", json!({})).await.expect("a list");
    list["data"].as_array().expect("runs").clone()
}

#[tokio::test]
async fn a_run_that_will_not_wait_is_refused_while_as_many_are_live_as_the_plan_allows() {
    at_each_door_with(
        || planned("concurrent_runs = 2"),
        async |at: &mut Story| {
            let slow = a_slow_one(at).await;
            let queued = json!({"agent_id": slow, "background": true, "on_limit": "queue"});
            let reject = json!({"agent_id": slow, "background": true, "on_limit": "reject"});
            let first = at.begins(CREATE, reject.clone()).await;
            at.begins(CREATE, queued.clone()).await;
            let refused = at.fails("too_many_concurrent_runs", CREATE, reject.clone()).await;
            assert_eq!(refused.details, facts("project", 2).into());
            if at.door() == Door::Rest {
                assert_eq!(refused.headers["retry-after"], "1");
            }
            for method in ["InvokeAgent", "RunAgent"] {
                let method = format!("AgentsService/{method}");
                at.fails("too_many_concurrent_runs", &method, reject.clone()).await;
            }
            let plain = json!({"agent_id": slow, "on_limit": "reject"});
            for method in ["RunsService/StreamRun", "AgentsService/StreamAgent"] {
                at.stream_fails("too_many_concurrent_runs", method, plain.clone()).await;
            }
            at.fails("invalid_field", CREATE, json!({"agent_id": slow, "on_limit": 3})).await;
            assert_eq!(runs(at).await.len(), 2, "who was refused left nothing");
            // Who would wait is taken, and takes a place.
            at.begins(CREATE, queued).await;
            cancel(at, &first).await;
            at.fails("too_many_concurrent_runs", CREATE, reject.clone()).await;
            for run in runs(at).await {
                cancel(at, &run).await;
            }
            at.begins(CREATE, reject).await;
        },
    )
    .await;
}

/// Cancels a run and waits for its end. Where the run was by then is not compared.
async fn cancel(at: &Story, run: &Value) {
    let _over = at.caller().call("RunsService/CancelRun", json!({"id": run["id"]})).await;
    let get = json!({"id": run["id"], "wait": 10});
    let run = at.caller().call("RunsService/GetRun", get).await.expect("a run");
    assert_eq!(run["status"], "cancelled", "{run}");
}

#[tokio::test]
async fn a_key_with_a_cap_of_its_own_waits_for_itself_and_nobody_waits_for_it() {
    at_each_door_with(
        || planned("concurrent_runs = 20"),
        async |at: &mut Story| {
            let (slow, echo) = (a_slow_one(at).await, an_echo(at).await);
            at.ok("AgentsService/PublishAgent", json!({ "id": echo })).await;
            let cap = r#"UPDATE api_keys SET limits = '{"concurrent_runs":1}' WHERE name = 'run'"#;
            write(&at.app.store, cap).await;
            let (runner, admin) = (at.app.runner.clone(), at.app.admin.clone());
            at.with_key(&runner);
            let run = |agent: &str| json!({"agent_id": agent, "background": true});
            let first = at.begins(CREATE, run(&slow)).await;
            at.app.advance(Duration::from_secs(1));
            let second = at.begins(CREATE, run(&echo)).await;
            let mut reject = run(&echo);
            reject["on_limit"] = json!("reject");
            let refused = at.fails("too_many_concurrent_runs", CREATE, reject.clone()).await;
            assert_eq!(refused.details, facts("key", 1).into());
            at.with_key(&admin);
            let run = json!({"agent_id": echo, "input": "x", "on_limit": "reject", "wait": 10});
            let other = at.ok(CREATE, run).await;
            assert_eq!(other["status"], "completed");
            let waiting = json!({"id": second["id"]});
            let waiting = at.caller().call("RunsService/GetRun", waiting).await.expect("a run");
            assert_eq!(waiting["status"], "queued");
            cancel(at, &first).await;
            let end = json!({"id": second["id"], "wait": 10});
            let end = at.ok("RunsService/GetRun", end).await;
            assert_eq!(end["status"], "completed");
        },
    )
    .await;
}

#[tokio::test]
async fn a_month_has_so_many_runs() {
    at_each_door_with(
        || planned("concurrent_runs = 9\nruns_per_month = 2"),
        async |at: &mut Story| {
            let echo = an_echo(at).await;
            let run = json!({"agent_id": echo, "input": "x", "wait": 10});
            for _ in 0..2 {
                assert_eq!(at.ok(CREATE, run.clone()).await["status"], "completed");
            }
            let refused = at.fails("quota_exceeded", CREATE, run.clone()).await;
            let left_s = 15 * 86_400 + 32_000;
            let told = [
                ("limit", "2"),
                ("of", "project"),
                ("quota", "runs_per_month"),
                ("retry_after_s", &*left_s.to_string()),
                ("used", "2"),
            ];
            let told = told.map(|(name, value)| (name.to_owned(), value.to_owned()));
            assert_eq!(refused.details, told.into());
            assert_eq!(runs(at).await.len(), 2, "who was refused left nothing");
            let stream = json!({"agent_id": echo, "input": "x"});
            at.stream_fails("quota_exceeded", "RunsService/StreamRun", stream).await;
            at.app.advance(Duration::from_secs(left_s));
            assert_eq!(at.ok(CREATE, run).await["status"], "completed", "it is July");
        },
    )
    .await;
}

#[tokio::test]
async fn a_month_has_so_many_tokens() {
    at_each_door_with(
        || planned("concurrent_runs = 9\ntokens_per_month = 1"),
        async |at: &mut Story| {
            let echo = an_echo(at).await;
            let run = json!({"agent_id": echo, "input": "x", "wait": 10});
            let used = at.ok(CREATE, run.clone()).await["tokens_used"].to_string();
            let refused = at.fails("quota_exceeded", CREATE, run.clone()).await;
            assert_eq!(refused.details["quota"], "tokens_per_month");
            assert_eq!((&refused.details["limit"], &refused.details["used"]), (&"1".into(), &used));
        },
    )
    .await;
}

#[tokio::test]
async fn the_cap_follows_what_the_organisation_is_given() {
    let plan = planned("concurrent_runs = 7");
    let mut app = App::with(Options { on: On::Postgres, ..plan }).await;
    let agent = json!({"agent": {"name": "a", "model": "sim", "sim": {"turns": [{"text": "b"}]}}});
    let agent = app.door(Door::Rest).call("AgentsService/CreateAgent", agent).await;
    let run = json!({"agent_id": id(&agent.expect("an agent")), "wait": 10});
    for cap in [7, 3] {
        app.door(Door::Rest).call(CREATE, run.clone()).await.expect("a run");
        let lanes = lane::Entity::find().all(app.store.read()).await.expect("lanes");
        let caps: Vec<_> = lanes.iter().map(|lane| (&*lane.kind, lane.cap)).collect();
        assert_eq!(caps, [("run", cap)]);
        write(&app.store, r#"UPDATE organisations SET limits = '{"concurrent_runs":3}'"#).await;
        app = app.restart().await;
    }
}
