//! Old and new programs on one database: an old one does not take what a new one has written.

use std::sync::Arc;

use runplane::engine::Status;
use runplane::store::tables::{run_queue, worker};
use sea_orm::{ConnectionTrait, EntityTrait};
use tokio::sync::Notify;

use super::rig::{Rig, complete, driver, instant};
use crate::on_both;

/// Says that a run was written by a program of this version.
async fn written_by(rig: &Rig, version: i32) {
    let sql = format!("UPDATE run_queue SET min_version = {version}");
    let write = rig.db.store.tx("test.version", move |tx| {
        let sql = sql.clone();
        Box::pin(async move { Ok(tx.execute_unprepared(&sql).await.map(drop)?) })
    });
    write.await.expect("written");
}

on_both! {
    async fn a_run_that_a_newer_program_has_written_waits_for_one(db: Database) {
        let rig = Rig::new(db).await;
        let (newer, own) = (rig.create().await, rig.create().await);
        written_by(&rig, 99).await;
        let later = rig.create().await;
        let worker = rig.work(instant());
        assert_eq!(rig.ended(later).await, Status::Completed, "others go on");
        for run in [newer, own] {
            assert_eq!(rig.status(run).await, Status::Queued);
        }
        written_by(&rig, 0).await;
        for run in [newer, own] {
            assert_eq!(rig.ended(run).await, Status::Completed);
        }
        worker.stop().await;
    }

    async fn a_claim_tells_its_version_and_so_does_its_worker(db: Database) {
        let rig = Rig::new(db).await;
        let run = rig.create().await;
        let go = Arc::new(Notify::new());
        let goes_on = Arc::clone(&go);
        let worker = rig.work(driver(move |attempt| {
            let go = Arc::clone(&goes_on);
            async move {
                go.notified().await;
                complete(&attempt).await
            }
        }));
        rig.wait_for([run], Status::InProgress).await;
        let conn = rig.db.store.read();
        let row = run_queue::Entity::find_by_id(run).one(conn).await.expect("read").expect("live");
        let workers = worker::Entity::find().all(conn).await.expect("read");
        assert!(row.min_version > 0);
        assert_eq!(workers[0].version, row.min_version);
        go.notify_one();
        assert_eq!(rig.ended(run).await, Status::Completed);
        worker.stop().await;
    }
}
