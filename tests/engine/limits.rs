//! Runs that take too long, and waits that do not.

use std::sync::Arc;
use std::time::Duration;

use runplane::engine::attempt::Outcome;
use runplane::engine::{Status, Until};
use tokio::sync::Notify;

use super::rig::{Rig, SCOPE, driver, instant};
use crate::on_all;

on_all! {
    async fn a_driver_that_ignores_the_deadline_is_cut_off(db: Database) {
        let rig = Rig::new(db).await;
        let begun = Arc::new(Notify::new());
        let tell = Arc::clone(&begun);
        let worker = rig.work(driver(move |_| {
            tell.notify_one();
            std::future::pending::<Outcome>()
        }));
        let run = rig.create().await;
        begun.notified().await;
        rig.db.clock.advance(Duration::from_secs(3603));
        assert_eq!(rig.ended(run).await, Status::Incomplete);
        assert_eq!(rig.last(run).await["incomplete_reason"], "timeout");
        worker.stop().await;
    }

    async fn a_run_that_waited_past_its_deadline_is_not_driven(db: Database) {
        let rig = Rig::new(db).await;
        let run = rig.create().await;
        rig.db.clock.advance(Duration::from_secs(3601));
        let worker = rig.work(instant());
        assert_eq!(rig.ended(run).await, Status::Incomplete);
        assert_eq!(rig.types(run).await, ["run.created", "run.in_progress", "run.incomplete"]);
        worker.stop().await;
    }

    async fn a_wait_ends_with_its_time(db: Database) {
        let rig = Rig::new(db).await;
        let run = rig.create().await;
        let soon = Duration::from_millis(20);
        let status = rig.engine.wait(SCOPE, run, soon, Until::Terminal).await.expect("waited");
        assert_eq!(status, Status::Queued);
    }

    async fn a_wait_on_another_replica_hears_of_the_end(db: Database) {
        let rig = Rig::new(db).await;
        let run = rig.create().await;
        let worker = rig.work(instant());
        let replica = rig.replica().await;
        let long = Duration::from_secs(30);
        let status = replica.wait(SCOPE, run, long, Until::Terminal).await.expect("waited");
        assert_eq!(status, Status::Completed);
        worker.stop().await;
    }
}
