//! What becomes of a run whose session is busy: it waits, is refused, or interrupts.

use serde_json::{Value, json};

use super::{
    BOTH, CREATE, agent, app, asker, begin, driven, goes_before, hold, kinds, ok, run, run_or,
    settled, sleeper, status, tell, teller,
};
use crate::agents::id;
use crate::harness::app::App;
use crate::harness::doors::Door;
use crate::harness::story::{Story, at_each_door};
use crate::idempotency::log::entries;

#[tokio::test]
async fn a_session_that_waits_for_its_caller_is_busy_and_goes_on_in_order() {
    for on in BOTH {
        let (_app, at) = app(on).await;
        let (asker, teller) = (agent(&at, asker()).await, agent(&at, teller()).await);
        let first = hold(&at, &asker).await;
        let second = begin(&at, &teller, "b").await;
        let third = begin(&at, &teller, "c").await;
        let elsewhere = json!({"agent_id": teller, "input": "x", "session_id": "t", "wait": 30});
        assert_eq!(ok(&at, CREATE, elsewhere).await["status"], "completed", "another session");
        for run in [&second, &third] {
            assert_eq!((status(&at, run).await, kinds(&at, run).await.len()), (json!("queued"), 1));
        }
        tell(&at, &first, "yes").await;
        let third = settled(&at, &third).await;
        let (first, second) = (settled(&at, &id(&first)).await, settled(&at, &second).await);
        for run in [&first, &second, &third] {
            assert_eq!(run["status"], "completed", "{run}");
        }
        assert!(goes_before(&first, &second) && goes_before(&second, &third));
    }
}

#[tokio::test]
async fn a_run_that_will_not_wait_for_its_session_is_refused_and_leaves_nothing() {
    at_each_door(async |at: &mut Story| {
        let caller = at.caller().clone();
        let (asker, teller) = (agent(&caller, asker()).await, agent(&caller, teller()).await);
        let reject = run_or(&teller, "b", "reject");
        let taken = id(&ok(&caller, CREATE, reject.clone()).await);
        assert_eq!(settled(&caller, &taken).await["status"], "completed", "nobody is in its way");
        let first = hold(&caller, &asker).await;
        let refused = at.fails("session_busy", CREATE, reject.clone()).await;
        assert_eq!(refused.details["retry_after_s"], "1");
        if at.door() == Door::Rest {
            assert_eq!(refused.headers["retry-after"], "1");
        }
        for method in ["AgentsService/InvokeAgent", "AgentsService/RunAgent"] {
            at.fails("session_busy", method, reject.clone()).await;
        }
        let mut stream = reject.clone();
        stream.as_object_mut().expect("fields").remove("background");
        at.stream_fails("session_busy", "RunsService/StreamRun", stream).await;
        let mut odd = reject.clone();
        odd["on_session_busy"] = json!(4);
        at.fails("invalid_field", CREATE, odd).await;
        let list = ok(&caller, "RunsService/ListRuns", json!({"session_id": "s"})).await;
        assert_eq!(list["data"].as_array().map(Vec::len), Some(2), "{list}");
        tell(&caller, &first, "yes").await;
        settled(&caller, &id(&first)).await;
        ok(&caller, CREATE, reject).await;
    })
    .await;
}

#[tokio::test]
async fn a_run_that_interrupts_goes_when_all_before_it_are_cancelled() {
    for on in BOTH {
        let (_app, at) = app(on).await;
        let (sleeper, teller) = (agent(&at, sleeper()).await, agent(&at, teller()).await);
        let first = begin(&at, &sleeper, "a").await;
        driven(&at, &first).await;
        let behind = begin(&at, &teller, "b").await;
        let interrupting = at.clone().with_header("idempotency-key", "once");
        let interrupt = run_or(&teller, "c", "interrupt");
        let third = id(&ok(&interrupting, CREATE, interrupt.clone()).await);
        assert_eq!(status(&at, &behind).await, "cancelled", "at once: nobody drives it");
        let third = settled(&at, &third).await;
        let first = settled(&at, &first).await;
        assert_eq!(
            (&first["status"], &third["status"]),
            (&json!("cancelled"), &json!("completed"))
        );
        assert!(goes_before(&first, &third), "{first} {third}");
        assert_eq!(third["output"]["result"], "c", "what was interrupted is not whole");
        let types = kinds(&at, &behind).await;
        assert_eq!(types, ["run.created", "run.cancelling", "run.cancelled"]);

        // The same call again is the same run, and interrupts nobody.
        let fourth = begin(&at, &sleeper, "d").await;
        driven(&at, &fourth).await;
        let again = ok(&interrupting, CREATE, interrupt).await;
        assert_eq!(again["id"], third["id"]);
        assert_eq!(status(&at, &fourth).await, "in_progress");

        let parked = run_or(&sleeper, "e", "interrupt");
        let fifth = id(&ok(&at, CREATE, parked).await);
        driven(&at, &fifth).await;
        assert_eq!(status(&at, &fourth).await, "cancelled");
        let cancelled = ok(&at, "RunsService/CancelRun", json!({"id": fifth})).await;
        assert!(["cancelling", "cancelled"].iter().any(|s| cancelled["status"] == *s));
    }
}

#[tokio::test]
async fn a_session_that_waits_for_its_caller_is_interrupted_at_once() {
    for on in BOTH {
        let (app, at) = app(on).await;
        let (asker, teller) = (agent(&at, asker()).await, agent(&at, teller()).await);
        let first = id(&hold(&at, &asker).await);
        let second = id(&ok(&at, CREATE, run_or(&teller, "b", "interrupt")).await);
        assert_eq!(status(&at, &first).await, "cancelled");
        assert_eq!(settled(&at, &second).await["output"]["result"], "b");
        let lines = entries(&app).await;
        let of = |line: &&Value| line["target"] == first || line["target"] == second;
        let lines = lines.iter().filter(of).map(|line| (&line["action"], &line["target"]));
        let expected = [("RunsService/CancelRun", &first), ("RunsService/CreateRun", &second)];
        let expected = expected.map(|(action, target)| (json!(action), json!(target)));
        let told: Vec<_> = lines.map(|(action, run)| (action.clone(), run.clone())).collect();
        let mut told: Vec<_> = told.into_iter().skip(1).collect();
        told.sort_by_key(|(action, _)| action.to_string());
        assert_eq!(told, expected, "the audit log tells of both");
        app.stop().await;
    }
}

#[tokio::test]
async fn an_equal_session_id_of_another_owner_is_another_session() {
    for on in BOTH {
        let (app, live): (App, _) = app(on).await;
        let test = app.client(Door::Rest, &app.test_admin);
        let first = hold(&live, &agent(&live, asker()).await).await;
        let theirs = agent(&test, teller()).await;
        let mut other = run_or(&theirs, "x", "reject");
        other["wait"] = json!(30);
        other["background"] = json!(false);
        let run = ok(&test, CREATE, other.clone()).await;
        assert_eq!((&run["status"], &run["output"]["result"]), (&json!("completed"), &json!("x")));
        other["on_session_busy"] = json!("interrupt");
        ok(&test, CREATE, other).await;
        assert_eq!(status(&live, &id(&first)).await, "requires_action");
    }
}

#[tokio::test]
async fn a_narrow_key_neither_joins_nor_interrupts_what_is_not_its_own() {
    let (app, admin) = app(BOTH[0]).await;
    let (asker, teller) = (agent(&admin, asker()).await, agent(&admin, teller()).await);
    let key = async |scopes: Vec<String>| {
        let key = json!({"name": "narrow", "scopes": scopes});
        let key = ok(&admin, "KeysService/CreateKey", key).await;
        app.client(Door::Rest, key["secret"].as_str().expect("a secret"))
    };
    let narrow = key(vec![format!("runs:create:{teller}")]).await;
    ok(&narrow, CREATE, run(&teller, "a")).await;
    let held = hold(&admin, &asker).await;
    let refused = narrow.call(CREATE, run(&teller, "b")).await.expect_err("not its conversation");
    assert_eq!(refused.code, "insufficient_scope");
    let creates = key(vec!["runs:create".to_owned()]).await;
    let refused = creates.call(CREATE, run_or(&teller, "b", "interrupt")).await;
    let refused = refused.expect_err("it may cancel nothing");
    assert_eq!((&*refused.code, &*refused.details["scope"]), ("insufficient_scope", "runs:write"));
    assert_eq!(status(&admin, &id(&held)).await, "requires_action", "nothing was cancelled");
    ok(&creates, CREATE, run(&teller, "b")).await;
}
