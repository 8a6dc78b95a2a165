//! Workers that die, hang, or come back from the dead: a journaled step never runs again, and
//! nobody writes with an old epoch.

use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use runplane::engine::attempt::{Attempt, Commit, Drive, Outcome, Stopped};
use runplane::engine::{Status, Until};
use serde_json::json;
use tokio::sync::Notify;

use super::rig::{Rig, SCOPE, Working, begin, data, driver, end, has};
use crate::on_all;

/// What happened to the outside.
#[derive(Clone, Default)]
struct World {
    effects: Arc<Mutex<Vec<(i32, i64)>>>,
    reached: Arc<Notify>,
    go: Arc<Notify>,
    fenced: Arc<AtomicUsize>,
    settled: Arc<Notify>,
}

impl World {
    fn effects(&self) -> Vec<(i32, i64)> {
        self.effects.lock().expect("a lock").clone()
    }
}

/// Four rounds. The claim with the epoch `hang` stands still in round `at`, between effect and
/// commit, until it may go on.
fn rounds(world: &World, hang: i64, at: i32) -> Drive {
    let world = world.clone();
    driver(move |attempt: Attempt| {
        let world = world.clone();
        async move {
            for step in (0..4).filter(|step| !has(&attempt, *step)).collect::<Vec<_>>() {
                if attempt.journal.commit(begin(step)).await.is_err() {
                    return stopped(&world);
                }
                world.effects.lock().expect("a lock").push((step, attempt.epoch));
                if (attempt.epoch, step) == (hang, at) {
                    world.reached.notify_one();
                    world.go.notified().await;
                }
                if step < 3 && attempt.journal.commit(end(step)).await.is_err() {
                    return stopped(&world);
                }
            }
            Outcome::Completed(end(3), json!("done"))
        }
    })
}

fn stopped(world: &World) -> Outcome {
    world.fenced.fetch_add(1, Ordering::SeqCst);
    world.settled.notify_one();
    Outcome::Stopped
}

on_all! {
    async fn a_journaled_step_never_runs_again_when_its_worker_dies(db: Database) {
        let rig = Rig::new(db).await;
        let world = World::default();
        let first = rig.work(rounds(&world, 1, 2));
        let run = rig.create().await;
        world.reached.notified().await;
        first.kill().await;
        rig.db.clock.advance(Duration::from_secs(11));
        let replica = rig.replica().await;
        let second = Working::start(&replica, rounds(&world, 0, 0));
        assert_eq!(rig.ended(run).await, Status::Completed);
        assert_eq!(world.effects(), [(0, 1), (1, 1), (2, 1), (2, 2), (3, 2)]);
        let log = rig.log(run).await;
        let types: Vec<_> = log.iter().map(|event| &*event.r#type).collect();
        let expected = [
            "run.created", "run.in_progress", "step", "step", "run.resumed", "step", "step",
            "run.completed",
        ];
        assert_eq!(types, expected);
        let resumed = data(&log[4]);
        assert_eq!((&resumed["attempt"], &resumed["status"]), (&json!(2), &json!("in_progress")));
        assert_eq!(resumed["discarded_step_id"], "stp_2");
        let attempts: Vec<i32> = rig.journal(run).await.iter().map(|row| row.attempt).collect();
        assert_eq!(attempts, [1, 1, 2, 1]);
        assert_eq!(rig.row(run).await.attempt, 2);
        second.stop().await;
    }

    async fn a_zombie_writes_nothing(db: Database) {
        let rig = Rig::new(db).await;
        let world = World::default();
        let first = rig.work(rounds(&world, 1, 1));
        let run = rig.create().await;
        world.reached.notified().await;
        first.kill().await;
        rig.db.clock.advance(Duration::from_secs(11));
        let replica = rig.replica().await;
        let other = World::default();
        // The new owner stands where the zombie does: only the epoch tells them apart.
        let second = Working::start(&replica, rounds(&other, 2, 1));
        other.reached.notified().await;
        let before = rig.log(run).await;
        world.go.notify_one();
        world.settled.notified().await;
        assert_eq!(world.fenced.load(Ordering::SeqCst), 1, "its commit is refused");
        assert_eq!(rig.log(run).await, before);
        other.go.notify_one();
        assert_eq!(rig.ended(run).await, Status::Completed);
        assert_eq!(world.effects(), [(0, 1), (1, 1)]);
        assert_eq!(other.effects(), [(1, 2), (2, 2), (3, 2)]);
        second.stop().await;
    }

    async fn a_driver_that_panics_every_time_fails_its_run_and_no_other(db: Database) {
        let rig = Rig::new(db).await;
        let tries = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&tries);
        let worker = rig.work(driver(move |attempt: Attempt| {
            let count = Arc::clone(&count);
            async move {
                if attempt.run.input == json!("poison") {
                    count.fetch_add(1, Ordering::SeqCst);
                    std::panic::resume_unwind(Box::new("poison"));
                }
                Outcome::Completed(Commit::default(), json!("fine"))
            }
        }));
        let mut poison = rig.new_run();
        poison.input = json!("poison");
        let poison = rig.engine.create(SCOPE, poison).await.expect("created").run_id;
        while !rig.status(poison).await.is_terminal() {
            rig.db.clock.advance(Duration::from_secs(5));
            let other = rig.create().await;
            assert_eq!(rig.ended(other).await, Status::Completed);
        }
        assert_eq!(rig.status(poison).await, Status::Failed);
        assert_eq!(rig.last(poison).await["error"]["code"], "run_stalled");
        assert_eq!(tries.load(Ordering::SeqCst), 6);
        worker.stop().await;
    }

    async fn the_longer_a_run_stalls_the_longer_it_waits(db: Database) {
        let rig = Rig::new(db).await;
        let worker = rig.work(driver(|_| async {
            std::panic::resume_unwind(Box::new("poison"))
        }));
        let run = rig.create().await;
        let mut waits = Vec::new();
        while waits.len() < 4 {
            let queued = rig.queued().await.into_iter().find(|queued| queued.run_id == run);
            let queued = queued.expect("it lives");
            let wait = queued.available_at - rig.db.clock.now().0;
            if queued.state == 0 && wait > 0 {
                waits.push(wait / 1_000_000);
                rig.db.clock.advance(Duration::from_micros(wait.unsigned_abs()));
            }
            tokio::task::yield_now().await;
        }
        assert_eq!(waits, [1, 2, 4, 8]);
        worker.stop().await;
    }

    async fn a_process_that_stops_ends_its_step_and_gives_the_run_back(db: Database) {
        let rig = Rig::new(db).await;
        let world = World::default();
        let first = rig.work(rounds(&world, 1, 1));
        let run = rig.create().await;
        world.reached.notified().await;
        first.tell();
        world.go.notify_one();
        first.stop().await;
        let queued = rig.queued().await;
        assert_eq!((queued[0].state, queued[0].stalls, queued[0].worker_id), (0, 0, None));
        let statuses: Vec<i16> = rig.journal(run).await.iter().map(|row| row.status).collect();
        assert_eq!(statuses, [1, 1], "what was begun has ended, and nothing was begun since");
        let second = rig.work(rounds(&world, 0, 0));
        // The engine of a process that has stopped lets nobody wait; another process does.
        let most = Duration::from_secs(30);
        let ended = rig.replica().await.wait(SCOPE, run, most, Until::Terminal).await;
        assert_eq!(ended.expect("waited"), Status::Completed);
        let effects: Vec<i32> = world.effects().iter().map(|(step, _)| *step).collect();
        assert_eq!(effects, [0, 1, 2, 3], "no effect twice");
        second.stop().await;
    }

    async fn a_driver_that_ignores_the_end_of_the_process_is_cut_off(db: Database) {
        let rig = Rig::with(db, |config| config.drain_ms = 20).await;
        let begun = Arc::new(Notify::new());
        let tell = Arc::clone(&begun);
        let worker = rig.work(driver(move |_| {
            tell.notify_one();
            std::future::pending()
        }));
        let run = rig.create().await;
        begun.notified().await;
        worker.stop().await;
        let queued = rig.queued().await;
        assert_eq!((queued[0].run_id, queued[0].state, queued[0].stalls), (run, 0, 0));
        assert_eq!(rig.status(run).await, Status::InProgress);
    }

    async fn a_driver_that_is_told_of_the_end_of_the_process_gives_its_run_back(db: Database) {
        let rig = Rig::with(db, |config| config.drain_ms = 20).await;
        let begun = Arc::new(Notify::new());
        let tell = Arc::clone(&begun);
        let worker = rig.work(driver(move |attempt: Attempt| {
            tell.notify_one();
            async move {
                attempt.cancel.cancelled().await;
                Outcome::Cancelled(Vec::new())
            }
        }));
        let run = rig.create().await;
        begun.notified().await;
        worker.stop().await;
        assert_eq!(rig.status(run).await, Status::InProgress, "nobody asked for a cancel");
        assert_eq!(rig.queued().await[0].state, 0);
    }

    async fn runs_survive_workers_that_die_again_and_again(db: Database) {
        let rig = Rig::with(db, |config| config.concurrent_runs = 8).await;
        let effects = Arc::new(Mutex::new(Vec::new()));
        let mut runs = Vec::new();
        for _ in 0..20 {
            runs.push(rig.create().await);
        }
        for life in 0..6 {
            let (seen, reached) = (Arc::clone(&effects), Arc::new(Notify::new()));
            let (tell, budget) = (Arc::clone(&reached), Arc::new(AtomicI64::new(12)));
            let drive = driver(move |attempt: Attempt| {
                let (seen, tell) = (Arc::clone(&seen), Arc::clone(&tell));
                let budget = Arc::clone(&budget);
                async move {
                    for step in (0..4).filter(|step| !has(&attempt, *step)).collect::<Vec<_>>() {
                        if attempt.journal.commit(begin(step)).await.is_err() {
                            return Outcome::Stopped;
                        }
                        let left = budget.fetch_sub(1, Ordering::SeqCst);
                        if life < 5 && left <= 1 {
                            tell.notify_one();
                            std::future::pending::<()>().await;
                        }
                        let Ok(()) = attempt.journal.commit(end(step)).await else {
                            return Outcome::Stopped;
                        };
                        seen.lock().expect("a lock").push((attempt.run.run_id, step));
                    }
                    Outcome::Completed(Commit::default(), json!("done"))
                }
            });
            let replica = rig.replica().await;
            let worker = Working::start(&replica, drive);
            if life < 5 {
                reached.notified().await;
                worker.kill().await;
                rig.db.clock.advance(Duration::from_secs(11));
                continue;
            }
            for run in &runs {
                while !rig.ended(*run).await.is_terminal() {
                    // What was given back, after a lost race say, waits for the clock.
                    rig.db.clock.advance(Duration::from_secs(1));
                }
            }
            worker.stop().await;
        }
        let mut effects = effects.lock().expect("a lock").clone();
        assert_eq!(effects.len(), 80, "each step was committed once");
        effects.sort();
        effects.dedup();
        assert_eq!(effects.len(), 80);
        for run in runs {
            let log = rig.types(run).await;
            assert_eq!(log.iter().filter(|r#type| *r#type == "step").count(), 4);
        }
    }

    async fn a_commit_after_the_end_is_refused(db: Database) {
        let rig = Rig::new(db).await;
        let kept = Arc::new(Mutex::new(None));
        let keep = Arc::clone(&kept);
        let worker = rig.work(driver(move |attempt: Attempt| {
            *keep.lock().expect("a lock") = Some(Arc::clone(&attempt.journal));
            async { Outcome::Completed(Commit::default(), json!("done")) }
        }));
        let run = rig.create().await;
        rig.ended(run).await;
        let journal = kept.lock().expect("a lock").take().expect("a journal");
        assert!(matches!(journal.commit(begin(0)).await, Err(Stopped)));
        assert!(rig.journal(run).await.is_empty());
        worker.stop().await;
    }
}
