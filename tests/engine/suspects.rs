//! A run that ends its workers, and those beside it: whoever was lost again and again is taken
//! alone, so that only one of them fails.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use runplane::engine::Status;
use runplane::engine::attempt::{Attempt, Drive};
use sea_orm::ConnectionTrait;
use tokio::sync::{Notify, Semaphore};
use uuid::Uuid;

use super::rig::{Rig, Working, begin, complete, driver, end};
use crate::harness::databases::Database;
use crate::on_both;

/// Says that every ready run was lost so often.
async fn lost(rig: &Rig, times: i32) {
    let sql = format!("UPDATE run_queue SET stalls = {times}, priority = 0 WHERE state = 0");
    let write = rig.db.store.tx("test.lost", move |tx| {
        let sql = sql.clone();
        Box::pin(async move { Ok(tx.execute_unprepared(&sql).await.map(drop)?) })
    });
    write.await.expect("written");
}

/// Who is driven, and who may go on.
#[derive(Clone)]
struct Stage {
    on: Arc<Mutex<HashSet<Uuid>>>,
    came: Arc<Notify>,
    go: Arc<Semaphore>,
}

impl Stage {
    fn new() -> Self {
        Self { on: Arc::default(), came: Arc::default(), go: Arc::new(Semaphore::new(0)) }
    }

    /// Stands still until it may go on.
    fn drive(&self) -> Drive {
        let stage = self.clone();
        driver(move |attempt: Attempt| {
            let stage = stage.clone();
            async move {
                stage.on.lock().expect("a lock").insert(attempt.run.run_id);
                stage.came.notify_one();
                stage.go.acquire().await.expect("a stage").forget();
                complete(&attempt).await
            }
        })
    }

    fn driven(&self) -> usize {
        self.on.lock().expect("a lock").len()
    }
}

on_both! {
    async fn runs_that_were_lost_three_times_are_taken_one_by_one(db: Database) {
        let rig = Rig::new(db).await;
        let mut runs = Vec::new();
        for _ in 0..3 {
            runs.push(rig.create().await);
        }
        lost(&rig, 3).await;
        let fresh = rig.create().await;
        let stage = Stage::new();
        let worker = rig.work(stage.drive());
        while stage.driven() < 2 {
            stage.came.notified().await;
        }
        assert_eq!(stage.driven(), 2, "one of them, and the one that is none");
        assert!(stage.on.lock().expect("a lock").contains(&fresh));
        // Whoever has ended makes room for the next.
        stage.go.add_permits(10);
        for run in runs {
            assert_eq!(rig.ended(run).await, Status::Completed);
        }
        worker.stop().await;
    }

    async fn a_run_that_was_lost_twice_is_taken_with_the_others(db: Database) {
        let rig = Rig::new(db).await;
        let runs = [rig.create().await, rig.create().await, rig.create().await];
        lost(&rig, 2).await;
        let stage = Stage::new();
        let worker = rig.work(stage.drive());
        while stage.driven() < 3 {
            stage.came.notified().await;
        }
        stage.go.add_permits(3);
        for run in runs {
            assert_eq!(rig.ended(run).await, Status::Completed);
        }
        worker.stop().await;
    }

    async fn a_suspect_that_gets_on_is_none_any_more(db: Database) {
        let rig = Rig::new(db).await;
        let runs = [rig.create().await, rig.create().await];
        lost(&rig, 4).await;
        let stage = Stage::new();
        let acts = stage.clone();
        let worker = rig.work(driver(move |attempt: Attempt| {
            let stage = acts.clone();
            async move {
                let begun = attempt.journal.commit(begin(0)).await;
                let ended = attempt.journal.commit(end(0)).await;
                assert!(begun.is_ok() && ended.is_ok(), "it is ours");
                stage.on.lock().expect("a lock").insert(attempt.run.run_id);
                stage.came.notify_one();
                stage.go.acquire().await.expect("a stage").forget();
                runplane::engine::attempt::Outcome::Completed(Default::default(), "done".into())
            }
        }));
        // Each has ended a step, and neither has ended.
        while stage.driven() < 2 {
            stage.came.notified().await;
        }
        stage.go.add_permits(2);
        for run in runs {
            assert_eq!(rig.ended(run).await, Status::Completed);
        }
        worker.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_worker_takes_one_of_the_runs_that_were_lost_three_times() {
    let rig = Rig::new(Database::postgres().await).await;
    let runs = [rig.create().await, rig.create().await, rig.create().await];
    lost(&rig, 3).await;
    let (stage, other, replica) = (Stage::new(), Stage::new(), rig.replica().await);
    let first = rig.work(stage.drive());
    stage.came.notified().await;
    let second = Working::start(&replica, other.drive());
    other.came.notified().await;
    assert_eq!((stage.driven(), other.driven()), (1, 1));
    stage.go.add_permits(10);
    other.go.add_permits(10);
    for run in runs {
        assert_eq!(rig.ended(run).await, Status::Completed);
    }
    first.stop().await;
    second.stop().await;
}
