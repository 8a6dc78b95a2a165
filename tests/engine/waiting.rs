//! Runs that wait for their caller: outputs in any subset, the first of a call wins, too late is
//! too late.

use std::time::Duration;

use runplane::engine::attempt::{Attempt, Commit, Drive, Outcome};
use runplane::engine::{Output, Status, Until};
use runplane::kernel::Reason;
use serde_json::{Value, json};
use uuid::Uuid;

use super::rig::{Rig, SCOPE, data, driver, park};
use crate::on_all;

fn output(call_id: &str, output: Value) -> Output {
    Output { call_id: call_id.to_owned(), output, is_error: false }
}

/// Waits for two calls, and ends with their outputs.
fn two_calls() -> Drive {
    driver(|attempt: Attempt| async move {
        let answer = |id: &str| attempt.inbox.get(id).map(|submitted| submitted.output.clone());
        match (answer("call_a"), answer("call_b")) {
            (Some(a), Some(b)) => Outcome::Completed(Commit::default(), json!([a, b])),
            _ => park(&attempt, &["call_a", "call_b"]),
        }
    })
}

async fn waiting(rig: &Rig) -> Uuid {
    let run = rig.create().await;
    assert_eq!(rig.wait(run, Until::TerminalOrAction).await, Status::RequiresAction);
    run
}

fn missing(action: Option<String>) -> Vec<String> {
    let action: Value = serde_json::from_str(&action.expect("an action")).expect("JSON");
    let calls = action["tool_calls"].as_array().expect("calls").iter();
    calls.map(|call| call["id"].as_str().expect("an id").to_owned()).collect()
}

on_all! {
    async fn a_run_goes_on_when_no_output_is_missing(db: Database) {
        let rig = Rig::new(db).await;
        let worker = rig.work(two_calls());
        let run = waiting(&rig).await;
        let first = rig.engine.submit(SCOPE, run, None, vec![output("call_b", json!(2))]).await;
        assert_eq!(first.expect("taken"), Status::RequiresAction);
        assert_eq!(missing(rig.row(run).await.required_action), ["call_a"]);
        let again = vec![output("call_b", json!("other")), output("call_a", json!({ "x": 1 }))];
        let second = rig.engine.submit(SCOPE, run, None, again).await;
        assert_eq!(second.expect("taken"), Status::InProgress);
        assert_eq!(rig.ended(run).await, Status::Completed);
        let last = rig.last(run).await;
        assert_eq!(last["output"]["result"], json!([{ "x": 1 }, 2]), "the first output wins");
        let types = rig.types(run).await;
        let expected = ["run.in_progress", "run.requires_action", "run.in_progress"];
        assert_eq!(types[1..4], expected);
        assert_eq!(data(&rig.log(run).await[3])["attempt"], 2);
        worker.stop().await;
    }

    async fn the_action_names_calls_arguments_and_deadline(db: Database) {
        let rig = Rig::new(db).await;
        let worker = rig.work(two_calls());
        let run = waiting(&rig).await;
        let event = rig.last(run).await;
        let deadline = rig.row(run).await.created_at + 60_000_000;
        let call = |id: &str| json!({
            "id": id, "name": "ask", "arguments": {}, "kind": "client",
            "deadline": runplane::kernel::Timestamp(deadline).to_string(),
        });
        let action = json!({
            "type": "submit_tool_outputs", "tool_calls": [call("call_a"), call("call_b")],
        });
        assert_eq!(event["required_action"], action);
        let row = rig.row(run).await.required_action.expect("kept");
        assert_eq!(serde_json::from_str::<Value>(&row).expect("JSON"), action);
        worker.stop().await;
    }

    async fn an_output_for_an_unknown_call_is_refused_with_all_others(db: Database) {
        let rig = Rig::new(db).await;
        let worker = rig.work(two_calls());
        let run = waiting(&rig).await;
        let outputs = vec![output("call_a", json!(1)), output("call_x", json!(2))];
        let error = rig.engine.submit(SCOPE, run, None, outputs).await.expect_err("refused");
        assert_eq!(error.reason, Reason::ValidationFailed);
        assert_eq!(missing(rig.row(run).await.required_action), ["call_a", "call_b"]);
        worker.stop().await;
    }

    async fn a_run_that_does_not_wait_takes_no_output(db: Database) {
        let rig = Rig::new(db).await;
        let run = rig.create().await;
        let submit = || rig.engine.submit(SCOPE, run, None, vec![output("call_a", json!(1))]);
        assert_eq!(submit().await.expect_err("queued").reason, Reason::RunNotWaiting);
        rig.engine.cancel(SCOPE, run).await.expect("cancelled");
        assert_eq!(submit().await.expect_err("ended").reason, Reason::RunNotWaiting);
    }

    async fn of_many_who_submit_at_once_one_wins(db: Database) {
        let rig = Rig::new(db).await;
        let worker = rig.work(two_calls());
        let run = waiting(&rig).await;
        let submit = |n: i32| {
            let id = if n % 2 == 0 { "call_a" } else { "call_b" };
            rig.engine.submit(SCOPE, run, None, vec![output(id, json!(n))])
        };
        let answers = futures::future::join_all((0..20).map(submit)).await;
        let on = answers.iter().filter(|a| matches!(a, Ok(Status::InProgress))).count();
        assert_eq!(on, 1, "the run goes on once");
        for error in answers.into_iter().filter_map(Result::err) {
            assert_eq!(error.reason, Reason::RunNotWaiting);
        }
        assert_eq!(rig.ended(run).await, Status::Completed);
        let result = rig.last(run).await["output"]["result"].clone();
        assert!(result[0].as_i64().is_some_and(|a| a % 2 == 0), "{result}");
        assert!(result[1].as_i64().is_some_and(|b| b % 2 == 1), "{result}");
        worker.stop().await;
    }

    async fn a_run_that_waited_too_long_expires(db: Database) {
        let rig = Rig::new(db).await;
        let worker = rig.work(two_calls());
        let run = waiting(&rig).await;
        rig.db.clock.advance(Duration::from_secs(59));
        let soon = Duration::from_millis(60);
        let status = rig.engine.wait(SCOPE, run, soon, Until::Terminal).await.expect("waited");
        assert_eq!(status, Status::RequiresAction);
        rig.db.clock.advance(Duration::from_secs(2));
        assert_eq!(rig.ended(run).await, Status::Expired);
        assert_eq!(rig.last(run).await["status"], "expired");
        let late = rig.engine.submit(SCOPE, run, None, vec![output("call_a", json!(1))]).await;
        assert_eq!(late.expect_err("late").reason, Reason::RunNotWaiting);
        worker.stop().await;
    }

    async fn a_waiting_run_past_its_own_deadline_is_incomplete(db: Database) {
        let rig = Rig::new(db).await;
        let worker = rig.work(two_calls());
        let mut new = rig.new_run();
        new.timeout = Some(Duration::from_secs(30));
        let run = rig.engine.create(SCOPE, new).await.expect("created").run_id;
        rig.wait(run, Until::TerminalOrAction).await;
        rig.db.clock.advance(Duration::from_secs(31));
        assert_eq!(rig.ended(run).await, Status::Incomplete);
        assert_eq!(rig.last(run).await["incomplete_reason"], "timeout");
        worker.stop().await;
    }
}
