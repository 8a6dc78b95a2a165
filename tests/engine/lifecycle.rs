//! From its creation to its end.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use runplane::engine::attempt::{Commit, Outcome, Stopped};
use runplane::engine::{Status, Until};
use runplane::kernel::{Environment, Reason, Scope, ids};
use serde_json::json;
use uuid::Uuid;

use super::rig::{LONG, Rig, SCOPE, complete, data, driver, end, instant};
use crate::on_all;

on_all! {
    async fn a_run_goes_from_queued_to_completed(db: Database) {
        let rig = Rig::new(db).await;
        let run = rig.create().await;
        assert_eq!(rig.status(run).await, Status::Queued);
        let worker = rig.work(instant());
        assert_eq!(rig.ended(run).await, Status::Completed);
        let log = rig.log(run).await;
        let types: Vec<_> = log.iter().map(|event| &*event.r#type).collect();
        assert_eq!(types, ["run.created", "run.in_progress", "step", "run.completed"]);
        let id = ids::format(ids::Kind::Run, run);
        let agent = ids::format(ids::Kind::Agent, Uuid::from_u128(7));
        let created =
            json!({ "id": id, "status": "queued", "agent_id": agent, "agent_version": 1 });
        assert_eq!(data(&log[0]), created);
        assert_eq!(data(&log[1]), json!({ "id": id, "status": "in_progress", "attempt": 1 }));
        let completed = json!({
            "id": id, "status": "completed", "output": { "result": "done" },
            "usage": { "input_tokens": 10, "output_tokens": 5, "total_tokens": 15,
                       "model_calls": 1, "tool_calls": 0 },
            "tokens_used": 15, "latency_ms": 0,
        });
        assert_eq!(data(&log[3]), completed);
        let row = rig.row(run).await;
        assert_eq!(row.output.as_deref(), Some(r#"{"result":"done"}"#));
        assert_eq!((row.input_tokens, row.output_tokens, row.model_calls), (10, 5, 1));
        assert_eq!((row.attempt, row.started_at), (1, row.completed_at));
        assert_eq!(rig.engine.messages(SCOPE, run).await.expect("messages").len(), 1);
        worker.stop().await;
    }

    async fn the_driver_is_told_what_the_run_is(db: Database) {
        let rig = Rig::new(db).await;
        let mut new = rig.new_run();
        new.parameters.insert("tone".to_owned(), json!("formal"));
        new.timeout = Some(Duration::from_secs(60));
        let created = rig.engine.create(SCOPE, new).await.expect("created");
        let worker = rig.work(driver(move |attempt| async move {
            let run = &attempt.run;
            let right = (run.run_id, run.scope) == (created.run_id, SCOPE)
                && run.input == json!("hello")
                && run.parameters["tone"] == json!("formal")
                && run.deadline == created.created_at.plus(Duration::from_secs(60))
                && run.spec.name == "scripted"
                && (attempt.number, attempt.epoch) == (1, 1);
            Outcome::Completed(Commit::default(), json!(right))
        }));
        rig.ended(created.run_id).await;
        assert_eq!(rig.last(created.run_id).await["output"], json!({ "result": true }));
        worker.stop().await;
    }

    async fn a_run_fails_with_what_its_driver_says(db: Database) {
        let rig = Rig::new(db).await;
        let run = rig.create().await;
        let worker = rig.work(driver(|_| async {
            Outcome::Failed(Commit::default(), "model_error".to_owned(), "it broke".to_owned())
        }));
        assert_eq!(rig.ended(run).await, Status::Failed);
        let error = json!({ "code": "model_error", "message": "it broke" });
        assert_eq!(rig.last(run).await["error"], error);
        assert_eq!(rig.row(run).await.error_code.as_deref(), Some("model_error"));
        worker.stop().await;
    }

    async fn a_run_that_ends_by_a_limit_says_which(db: Database) {
        let rig = Rig::new(db).await;
        let run = rig.create().await;
        let worker = rig.work(driver(|_| async {
            Outcome::Incomplete(Commit::default(), "max_steps", Some(json!("so far")))
        }));
        assert_eq!(rig.ended(run).await, Status::Incomplete);
        let last = rig.last(run).await;
        assert_eq!(last["incomplete_reason"], "max_steps");
        assert_eq!(last["output"], json!({ "result": "so far" }));
        worker.stop().await;
    }

    async fn two_hundred_runs_at_once_all_complete(db: Database) {
        let rig = Rig::with(db, |config| config.concurrent_runs = 50).await;
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (inside, peak) = (Arc::clone(&now), Arc::clone(&most));
        let worker = rig.work(driver(move |attempt| {
            let (inside, peak) = (Arc::clone(&inside), Arc::clone(&peak));
            async move {
                peak.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                let outcome = complete(&attempt).await;
                inside.fetch_sub(1, Ordering::SeqCst);
                outcome
            }
        }));
        let runs = futures::future::join_all((0..200).map(|_| rig.create())).await;
        for run in &runs {
            assert_eq!(rig.ended(*run).await, Status::Completed);
        }
        for run in runs {
            assert_eq!(rig.types(run).await.len(), 4);
        }
        let peak = most.load(Ordering::SeqCst);
        assert!((2..=50).contains(&peak), "{peak} at once");
        assert!(rig.queued().await.is_empty());
        worker.stop().await;
    }

    async fn an_owner_never_has_more_runs_driven_than_its_lane_takes(db: Database) {
        let mut rig = Rig::new(db).await;
        rig.limits.lane_runs = 3;
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (inside, peak) = (Arc::clone(&now), Arc::clone(&most));
        let drive = driver(move |attempt| {
            let (inside, peak) = (Arc::clone(&inside), Arc::clone(&peak));
            async move {
                peak.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                tokio::task::yield_now().await;
                // The lease ends with the run, so it leaves the count first.
                inside.fetch_sub(1, Ordering::SeqCst);
                complete(&attempt).await
            }
        });
        let worker = rig.work(Arc::clone(&drive));
        let other = Scope { environment: Environment::Live, ..SCOPE };
        let runs = futures::future::join_all((0..30).map(|_| rig.create())).await;
        for run in runs {
            assert_eq!(rig.ended(run).await, Status::Completed);
        }
        assert!(most.load(Ordering::SeqCst) <= 3);
        let hidden = rig.engine.wait(other, Uuid::max(), Duration::ZERO, Until::Terminal).await;
        assert_eq!(hidden.expect_err("none").reason, Reason::RunNotFound);
        worker.stop().await;
    }

    async fn lanes_take_turns(db: Database) {
        let rig = Rig::with(db, |config| config.concurrent_runs = 1).await;
        let busy = futures::future::join_all((0..20).map(|_| rig.create())).await;
        let other = Scope { project: Uuid::from_u128(2), ..SCOPE };
        let lone = rig.engine.create(other, rig.new_run()).await.expect("created").run_id;
        let order = Arc::new(std::sync::Mutex::new(Vec::new()));
        let seen = Arc::clone(&order);
        let worker = rig.work(driver(move |attempt| {
            seen.lock().expect("a lock").push(attempt.run.run_id);
            async move { complete(&attempt).await }
        }));
        for run in busy {
            rig.ended(run).await;
        }
        let place = order.lock().expect("a lock").iter().position(|run| *run == lone);
        assert!(place.is_some_and(|place| place <= 1), "served as number {place:?}");
        worker.stop().await;
    }

    async fn a_run_of_another_owner_is_not_found(db: Database) {
        let rig = Rig::new(db).await;
        let run = rig.create().await;
        let other = Scope { environment: Environment::Live, ..SCOPE };
        let engine = &rig.engine;
        let reasons = [
            engine.cancel(other, run).await.expect_err("cancel").reason,
            engine.submit(other, run, None, Vec::new()).await.expect_err("submit").reason,
            engine.events_page(other, run, 0, 10).await.expect_err("events").reason,
            engine.messages(other, run).await.expect_err("messages").reason,
            engine.wait(other, run, LONG, Until::Terminal).await.expect_err("wait").reason,
        ];
        assert_eq!(reasons, [Reason::RunNotFound; 5]);
        assert!(engine.follow(other, run, Default::default()).await.is_err());
        assert_eq!(rig.status(run).await, Status::Queued);
    }

    async fn a_step_that_was_never_begun_is_not_written(db: Database) {
        let rig = Rig::new(db).await;
        let run = rig.create().await;
        let worker = rig.work(driver(|attempt| async move {
            if attempt.number > 1 {
                return complete(&attempt).await;
            }
            match attempt.journal.commit(end(3)).await {
                Err(Stopped) => Outcome::Stopped,
                Ok(()) => Outcome::Completed(Commit::default(), json!("written")),
            }
        }));
        assert_eq!(rig.ended(run).await, Status::Completed);
        assert_eq!(rig.last(run).await["output"], json!({ "result": "done" }));
        assert_eq!(rig.types(run).await[2], "run.resumed");
        worker.stop().await;
    }
}
