//! A cancel that was asked for always happens, whatever the run is at.

use std::sync::Arc;
use std::time::Duration;

use runplane::engine::attempt::{Commit, Outcome};
use runplane::engine::{Status, Until};
use runplane::kernel::Reason;
use serde_json::json;
use tokio::sync::Notify;

use super::rig::{Rig, SCOPE, Working, begin, driver, end, instant, park};
use crate::on_all;

on_all! {
    async fn a_queued_run_is_cancelled_at_once(db: Database) {
        let rig = Rig::new(db).await;
        let run = rig.create().await;
        assert_eq!(rig.engine.cancel(SCOPE, run).await.expect("cancelled"), Status::Cancelled);
        let types = rig.types(run).await;
        assert_eq!(types, ["run.created", "run.cancelling", "run.cancelled"]);
        let worker = rig.work(instant());
        let later = rig.create().await;
        rig.ended(later).await;
        assert_eq!(rig.types(run).await.len(), 3, "a cancelled run never starts again");
        worker.stop().await;
    }

    async fn a_driven_run_is_cancelled_by_its_driver(db: Database) {
        let rig = Rig::new(db).await;
        let run = rig.create().await;
        let (begun, told) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let tell = Arc::clone(&begun);
        let worker = rig.work(driver(move |attempt| {
            let tell = Arc::clone(&tell);
            async move {
                tell.notify_one();
                attempt.cancel.cancelled().await;
                Outcome::Cancelled(vec!["call_1".to_owned()])
            }
        }));
        begun.notified().await;
        assert_eq!(rig.engine.cancel(SCOPE, run).await.expect("asked"), Status::Cancelling);
        assert_eq!(rig.ended(run).await, Status::Cancelled);
        assert_eq!(rig.last(run).await["cancellation"]["aborted_calls"], json!(["call_1"]));
        let types = rig.types(run).await;
        assert_eq!(types[1..], ["run.in_progress", "run.cancelling", "run.cancelled"]);
        told.notify_one();
        worker.stop().await;
    }

    async fn a_waiting_run_is_cancelled_at_once(db: Database) {
        let rig = Rig::new(db).await;
        let run = rig.create().await;
        let worker = rig.work(driver(|attempt| async move { park(&attempt, &["call_1"]) }));
        let status = rig.wait(run, Until::TerminalOrAction).await;
        assert_eq!(status, Status::RequiresAction);
        assert_eq!(rig.engine.cancel(SCOPE, run).await.expect("cancelled"), Status::Cancelled);
        let types = rig.types(run).await;
        assert_eq!(types[2..], ["run.requires_action", "run.cancelling", "run.cancelled"]);
        assert_eq!(rig.row(run).await.required_action, None);
        worker.stop().await;
    }

    async fn cancelling_twice_changes_nothing_and_an_ended_run_cannot_be_cancelled(db: Database) {
        let rig = Rig::new(db).await;
        let run = rig.create().await;
        for _ in 0..3 {
            assert_eq!(rig.engine.cancel(SCOPE, run).await.expect("again"), Status::Cancelled);
        }
        assert_eq!(rig.types(run).await.len(), 3);
        let completed = rig.create().await;
        let worker = rig.work(instant());
        rig.ended(completed).await;
        let error = rig.engine.cancel(SCOPE, completed).await.expect_err("ended");
        assert_eq!(error.reason, Reason::RunNotCancellable);
        assert_eq!(rig.status(completed).await, Status::Completed);
        worker.stop().await;
    }

    async fn a_run_whose_cancel_was_asked_for_has_no_other_end(db: Database) {
        let rig = Rig::new(db).await;
        let (begun, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (tell, wait) = (Arc::clone(&begun), Arc::clone(&go));
        let worker = rig.work(driver(move |attempt| {
            let (tell, wait) = (Arc::clone(&tell), Arc::clone(&wait));
            async move {
                let _ = attempt.journal.commit(begin(0)).await;
                tell.notify_one();
                wait.notified().await;
                if attempt.run.input == json!("park") {
                    return park(&attempt, &["call_1"]);
                }
                Outcome::Completed(end(0), json!("too late"))
            }
        }));
        for input in ["end", "park"] {
            let mut new = rig.new_run();
            new.input = json!(input);
            let run = rig.engine.create(SCOPE, new).await.expect("created").run_id;
            begun.notified().await;
            rig.engine.cancel(SCOPE, run).await.expect("asked");
            assert_eq!(rig.engine.cancel(SCOPE, run).await.expect("again"), Status::Cancelling);
            go.notify_one();
            assert_eq!(rig.ended(run).await, Status::Cancelled);
            assert_eq!(rig.row(run).await.output, None);
        }
        worker.stop().await;
    }

    async fn a_cancel_that_no_driver_confirms_is_forced_after_ten_seconds(db: Database) {
        let rig = Rig::new(db).await;
        let run = rig.create().await;
        let begun = Arc::new(Notify::new());
        let tell = Arc::clone(&begun);
        let worker = rig.work(driver(move |_| {
            tell.notify_one();
            std::future::pending()
        }));
        begun.notified().await;
        rig.engine.cancel(SCOPE, run).await.expect("asked");
        let soon = Duration::from_millis(100);
        let status = rig.engine.wait(SCOPE, run, soon, Until::Terminal).await.expect("waited");
        assert_eq!(status, Status::Cancelling);
        rig.db.clock.advance(Duration::from_secs(11));
        assert_eq!(rig.ended(run).await, Status::Cancelled);
        worker.stop().await;
        assert_eq!(rig.types(run).await.len(), 4);
    }

    async fn a_cancel_reaches_a_driver_on_another_replica(db: Database) {
        let rig = Rig::new(db).await;
        let begun = Arc::new(Notify::new());
        let tell = Arc::clone(&begun);
        let worker = rig.work(driver(move |attempt| {
            let tell = Arc::clone(&tell);
            async move {
                tell.notify_one();
                attempt.cancel.cancelled().await;
                Outcome::Cancelled(Vec::new())
            }
        }));
        let run = rig.create().await;
        begun.notified().await;
        rig.replica().await.cancel(SCOPE, run).await.expect("asked");
        assert_eq!(rig.ended(run).await, Status::Cancelled);
        worker.stop().await;
    }

    async fn a_run_cancelled_while_its_worker_dies_still_ends(db: Database) {
        let rig = Rig::new(db).await;
        let begun = Arc::new(Notify::new());
        let tell = Arc::clone(&begun);
        let first = rig.work(driver(move |_| {
            tell.notify_one();
            std::future::pending()
        }));
        let run = rig.create().await;
        begun.notified().await;
        first.kill().await;
        assert_eq!(rig.engine.cancel(SCOPE, run).await.expect("asked"), Status::Cancelling);
        let second = rig.replica().await;
        let worker = Working::start(&second, driver(|_| async {
            Outcome::Completed(Commit::default(), json!("never"))
        }));
        rig.db.clock.advance(Duration::from_secs(11));
        assert_eq!(rig.ended(run).await, Status::Cancelled);
        worker.stop().await;
    }
}
