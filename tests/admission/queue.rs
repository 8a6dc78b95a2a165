//! So many runs of a project's environment may wait, and no more.

use futures::future::join_all;
use runplane::kernel::Clock;
use serde_json::{Value, json};

use crate::agents::id;
use crate::conversations::{CREATE, agent, asker, begin, hold, ok, settled, sleeper, tell, teller};
use crate::harness::app::{App, On, Options};
use crate::harness::doors::{Client, Door};
use crate::harness::story::{Story, at_each_door_with};

/// An app whose plan lets so many run and so many wait.
fn planned(plan: &str) -> Options {
    let requests = "requests = { limit = 10000, per = \"1m\" }";
    let config = format!("[limits]\nplan = \"x\"\n[plans.x]\n{requests}\n{plan}");
    Options { config, clock: Clock::system(), ..Options::default() }
}

async fn runs(at: &Client) -> usize {
    let list = ok(at, "RunsService/ListRuns", json!({"limit": 100})).await;
    list["data"].as_array().map_or(0, Vec::len)
}

#[tokio::test]
async fn one_run_more_than_may_wait_is_refused_and_leaves_nothing() {
    at_each_door_with(
        || planned("concurrent_runs = 1\nqueued_runs = 3"),
        async |at: &mut Story| {
            let caller = at.caller().clone();
            let (asker, sleeper) = (agent(&caller, asker()).await, agent(&caller, sleeper()).await);
            let teller = agent(&caller, teller()).await;
            let held = hold(&caller, &asker).await;
            // Two wait behind a run of their session, one for a worker.
            let behind = [begin(&caller, &teller, "b").await, begin(&caller, &teller, "c").await];
            let run = json!({"agent_id": sleeper, "background": true});
            let driven = id(&ok(&caller, CREATE, run.clone()).await);
            crate::conversations::driven(&caller, &driven).await;
            ok(&caller, CREATE, run.clone()).await;
            let refused = at.fails("queue_full", CREATE, run.clone()).await;
            let facts = ["limit", "retry_after_s"].map(|fact| &*refused.details[fact]);
            assert_eq!(facts, ["3", "1"]);
            if at.door() == Door::Rest {
                assert_eq!(refused.headers["retry-after"], "1");
            }
            at.fails("queue_full", "AgentsService/RunAgent", run.clone()).await;
            let mut keyed = run.clone();
            keyed["on_limit"] = json!("reject");
            at.fails("queue_full", CREATE, keyed).await;
            assert_eq!(runs(&caller).await, 5, "who was refused left nothing");
            ok(&caller, "RunsService/CancelRun", json!({"id": behind[0]})).await;
            ok(&caller, CREATE, run.clone()).await;
            at.fails("queue_full", CREATE, run).await;
            ok(&caller, "RunsService/CancelRun", json!({"id": driven})).await;
            tell(&caller, &held, "yes").await;
        },
    )
    .await;
}

#[tokio::test]
async fn many_at_once_do_not_get_past_the_limit() {
    for on in [On::Sqlite, On::Postgres] {
        let app = App::with(Options { on, ..planned("concurrent_runs = 1\nqueued_runs = 5") });
        let app = app.await;
        let at = app.door(Door::Rest);
        let asker = agent(&at, asker()).await;
        hold(&at, &asker).await;
        let run = |n: usize| {
            let run = json!({"agent_id": asker, "input": n.to_string(), "session_id": "s",
                "background": true});
            at.call(CREATE, run)
        };
        let answers = join_all((0..30).map(run)).await;
        assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 5);
        let refused = answers.iter().filter_map(|answer| answer.as_ref().err());
        assert!(refused.into_iter().all(|failure| failure.code == "queue_full"));
    }
}

#[tokio::test]
async fn an_organisation_and_a_key_may_have_a_limit_of_their_own() {
    let app = App::with(planned("concurrent_runs = 9\nqueued_runs = 1")).await;
    let (at, operator) = (app.door(Door::Rest), app.client(Door::Rest, &app.operator));
    let (asker, teller) = (agent(&at, asker()).await, agent(&at, teller()).await);
    let list = ok(&operator, "OrganisationsService/ListOrganisations", json!({})).await;
    let organisation = json!({"id": list["data"][0]["id"], "organisation": {"limits":
        {"queued_runs": 3}}, "update_mask": "limits"});
    let changed = ok(&operator, "OrganisationsService/UpdateOrganisation", organisation).await;
    assert_eq!(changed["limits"]["queued_runs"], 3, "{changed}");
    let key = json!({"name": "k", "scopes": ["run"], "limits": {"queued_runs": 2}});
    let key: Value = ok(&at, "KeysService/CreateKey", key).await;
    let narrow = app.client(Door::Rest, key["secret"].as_str().expect("a secret"));
    let held = hold(&at, &asker).await;
    let first = begin(&at, &teller, "a").await;
    begin(&narrow, &teller, "b").await;
    let run = crate::conversations::run(&teller, "c");
    let wide = json!({"name": "w", "scopes": ["run"], "limits": {"queued_runs": 1},
        "organisation_id": list["data"][0]["id"]});
    let wide = ok(&operator, "KeysService/CreateKey", wide).await;
    let wide = app.client(Door::Rest, wide["secret"].as_str().expect("a secret"));
    let refused = wide.call(CREATE, run.clone()).await.expect_err("its own limit");
    assert_eq!((&*refused.code, &*refused.details["limit"]), ("queue_full", "1"));
    let refused = narrow.call(CREATE, run.clone()).await.expect_err("the key's own limit");
    assert_eq!((&*refused.code, &*refused.details["limit"]), ("queue_full", "2"));
    ok(&at, CREATE, run.clone()).await;
    let refused = at.call(CREATE, run).await.expect_err("the organisation's limit");
    assert_eq!((&*refused.code, &*refused.details["limit"]), ("queue_full", "3"));
    tell(&at, &held, "yes").await;
    settled(&at, &first).await;
}
