//! The database did what it was asked, and the answer was lost: leases that the worker does not
//! know of are given back, whatever the worker does next, and are nobody's fault.

use runplane::engine::{RunLimits, Status};
use sea_orm::ConnectionTrait;
use uuid::Uuid;

use super::rig::{LONG, Rig, Working, instant};
use crate::on_all;

/// A run that the worker holds without knowing, as after a claim whose answer was lost.
async fn held_unknown(rig: &mut Rig) -> Uuid {
    // Nobody can claim it in the ordinary way.
    rig.limits = RunLimits::lane(0);
    let run = rig.create().await;
    let claim = "UPDATE run_queue SET state = 1, epoch = 1, stalls = 1,
        worker_id = (SELECT id FROM workers)";
    let claimed = rig.db.store.tx("test.claim", move |tx| {
        Box::pin(async move { Ok(tx.execute_unprepared(claim).await?.rows_affected()) })
    });
    assert_eq!(claimed.await.expect("claimed"), 1);
    run
}

async fn registered(rig: &Rig) {
    let listed = async {
        while runplane::store::workers::list(rig.db.store.read()).await.expect("a list").is_empty()
        {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LONG, listed).await.expect("a worker registers");
}

on_all! {
    async fn a_worker_that_ends_gives_back_what_it_did_not_know_of(db: Database) {
        let mut rig = Rig::with(db, |config| config.heartbeat_ms = 60_000).await;
        let worker = rig.work(instant());
        registered(&rig).await;
        let run = held_unknown(&mut rig).await;
        worker.stop().await;
        let queued = rig.queued().await;
        assert_eq!((queued[0].run_id, queued[0].state, queued[0].worker_id), (run, 0, None));
        rig.limits = RunLimits::lane(10);
        rig.create().await;
        let replica = rig.replica().await;
        let second = Working::start(&replica, instant());
        rig.wait_for([run], Status::Completed).await;
        second.stop().await;
    }

    async fn a_claim_whose_answer_was_lost_is_given_back_and_is_no_stall(db: Database) {
        let mut rig = Rig::new(db).await;
        let worker = rig.work(instant());
        registered(&rig).await;
        let run = held_unknown(&mut rig).await;
        let given_back = async {
            loop {
                let queued = rig.queued().await;
                if queued[0].state == 0 {
                    break queued[0].clone();
                }
                tokio::task::yield_now().await;
            }
        };
        let given_back = tokio::time::timeout(LONG, given_back).await;
        let queued = given_back.expect("two heartbeats later");
        assert_eq!((queued.run_id, queued.worker_id, queued.stalls), (run, None, 0));
        assert_eq!(queued.available_at, rig.db.clock.now().0, "at once");
        worker.stop().await;
    }
}
