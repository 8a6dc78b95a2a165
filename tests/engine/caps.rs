//! Runs at once, of an owner and of a key: exact, whoever claims, and in nobody's way.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::join_all;
use runplane::engine::attempt::Drive;
use runplane::engine::{Created, Engine, OnLimit, RunLimits, Status, Until};
use runplane::kernel::{Reason, Result, Scope};
use runplane::store::Store;
use runplane::store::tables::lane;
use sea_orm::{ConnectionTrait, EntityTrait, Statement};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::rig::{LONG, Rig, SCOPE, Working, complete, driver, instant, park};
use crate::on_all;

const OTHER: Scope = Scope { project: Uuid::from_u128(2), ..SCOPE };

/// A key, and its cap.
type Capped = (Uuid, Option<u32>);

const TIGHT: Capped = (Uuid::from_u128(0xa), Some(1));
const WIDER: Capped = (Uuid::from_u128(0xb), Some(2));
const FREE: Capped = (Uuid::from_u128(0xc), None);

async fn begin(rig: &Rig, engine: &Engine, scope: Scope, key: Capped) -> Result<Created> {
    let mut new = rig.new_run();
    new.key_id = Some(key.0);
    new.limits.key_runs = key.1;
    engine.create(scope, new).await
}

/// A run of this key, in the first lane.
async fn run_of(rig: &Rig, key: Capped) -> Uuid {
    begin(rig, &rig.engine, SCOPE, key).await.expect("created").run_id
}

/// Replicas that may all work: on SQLite there is only one.
async fn replicas(rig: &Rig) -> Vec<Engine> {
    let mut all = vec![rig.engine.clone()];
    if !rig.db.store.is_exclusive() {
        all.extend([rig.replica().await, rig.replica().await]);
    }
    all
}

/// Leased runs, by lane and by capped key, as one snapshot has them.
async fn leased(store: &Store) -> (HashMap<Uuid, i64>, HashMap<Uuid, i64>) {
    let sql = "SELECT project_id, key_id, count(*) FROM run_queue WHERE state = 1
        GROUP BY project_id, key_id";
    let conn = store.read();
    let statement = Statement::from_string(conn.get_database_backend(), sql);
    let (mut lanes, mut keys) = (HashMap::new(), HashMap::new());
    for row in conn.query_all_raw(statement).await.expect("counted") {
        let count: i64 = row.try_get_by_index(2).expect("a count");
        *lanes.entry(row.try_get_by_index(0).expect("a project")).or_default() += count;
        if let Some(key) = row.try_get_by_index::<Option<Uuid>>(1).expect("a key") {
            *keys.entry(key).or_default() += count;
        }
    }
    (lanes, keys)
}

/// Most at once that any driver has seen.
#[derive(Default)]
struct Peaks {
    lanes: Mutex<HashMap<Uuid, i64>>,
    keys: Mutex<HashMap<Uuid, i64>>,
    driven: AtomicUsize,
}

impl Peaks {
    async fn look(&self, store: &Store) {
        let (lanes, keys) = leased(store).await;
        for (seen, now) in [(&self.lanes, lanes), (&self.keys, keys)] {
            let mut seen = seen.lock().expect("a lock");
            for (id, count) in now {
                let most = seen.entry(id).or_default();
                *most = count.max(*most);
            }
        }
    }

    fn of(map: &Mutex<HashMap<Uuid, i64>>, id: Uuid) -> i64 {
        map.lock().expect("a lock").get(&id).copied().unwrap_or_default()
    }
}

/// A driver that looks at the leases right after its run was claimed.
fn looking(store: &Store, peaks: &Arc<Peaks>) -> Drive {
    let (store, peaks) = (store.clone(), Arc::clone(peaks));
    driver(move |attempt| {
        let (store, peaks) = (store.clone(), Arc::clone(&peaks));
        async move {
            peaks.look(&store).await;
            peaks.driven.fetch_add(1, Ordering::SeqCst);
            complete(&attempt).await
        }
    })
}

async fn all_end_of(rig: &Rig, scope: Scope, runs: &[Uuid]) {
    for run in runs {
        let status = rig.engine.wait(scope, *run, LONG, Until::Terminal).await.expect("waited");
        assert_eq!(status, Status::Completed);
    }
}

async fn caps(rig: &Rig) -> Vec<(Uuid, String, i32)> {
    let rows = lane::Entity::find().all(rig.db.store.read()).await.expect("lanes");
    let mut caps: Vec<_> = rows.into_iter().map(|l| (l.project_id, l.kind, l.cap)).collect();
    caps.sort();
    caps
}

/// Rows that creations write.
async fn rows(rig: &Rig) -> i64 {
    let sql = "SELECT (SELECT count(*) FROM runs) + (SELECT count(*) FROM run_queue)
        + (SELECT count(*) FROM run_events) + (SELECT count(*) FROM run_labels)";
    let conn = rig.db.store.read();
    let statement = Statement::from_string(conn.get_database_backend(), sql);
    let row = conn.query_one_raw(statement).await.expect("counted").expect("a row");
    row.try_get_by_index(0).expect("a number")
}

/// A driver that holds these runs until they are let go.
fn holding(runs: Vec<Uuid>) -> (Drive, Arc<Semaphore>) {
    let gate = Arc::new(Semaphore::new(0));
    let shut = Arc::clone(&gate);
    let drive = driver(move |attempt| {
        let held = runs.contains(&attempt.run.run_id).then(|| Arc::clone(&shut));
        async move {
            if let Some(gate) = held {
                gate.acquire().await.expect("open").forget();
            }
            complete(&attempt).await
        }
    });
    (drive, gate)
}

async fn write(rig: &Rig, sql: &'static str) {
    let job = rig.db.store.tx("test", move |tx| {
        Box::pin(async move { tx.execute_unprepared(sql).await.map(drop).map_err(Into::into) })
    });
    job.await.expect("written");
}

/// When the first lane was last served.
async fn last_served(rig: &Rig) -> i64 {
    let rows = lane::Entity::find().all(rig.db.store.read()).await.expect("lanes");
    let lane = rows.into_iter().find(|l| l.project_id == SCOPE.project && l.kind == "run");
    lane.expect("a lane").last_served_at
}

on_all! {
    async fn caps_of_lanes_and_keys_are_exact_whoever_claims(db: Database) {
        let mut rig = Rig::new(db).await;
        rig.limits = RunLimits::lane(4);
        let (engines, peaks) = (replicas(&rig).await, Arc::new(Peaks::default()));
        let work = |engine| Working::start(engine, looking(&rig.db.store, &peaks));
        let workers: Vec<_> = engines.iter().map(work).collect();
        let creations = (0..150usize).map(|i| {
            let (rig, engine) = (&rig, &engines[i % engines.len()]);
            // The second key's runs are in two lanes, as those of an organisation's key are.
            let (scope, key) = match i % 5 {
                0 => (SCOPE, TIGHT),
                1 => (SCOPE, WIDER),
                2 => (OTHER, WIDER),
                _ => (SCOPE, FREE),
            };
            async move { (scope, begin(rig, engine, scope, key).await.expect("created").run_id) }
        });
        // Every replica knows the agent of the other project.
        for engine in &engines {
            engine.prepare(OTHER, rig.new_run()).await.expect("prepared");
        }
        let runs = join_all(creations).await;
        for (scope, run) in runs {
            all_end_of(&rig, scope, &[run]).await;
        }
        assert!(rig.queued().await.is_empty());
        assert_eq!(peaks.driven.load(Ordering::SeqCst), 150, "each was driven once");
        assert!(Peaks::of(&peaks.lanes, SCOPE.project) <= 4, "{:?}", peaks.lanes);
        assert_eq!(Peaks::of(&peaks.keys, TIGHT.0), 1);
        assert!(Peaks::of(&peaks.keys, WIDER.0) <= 2, "{:?}", peaks.keys);
        assert_eq!(Peaks::of(&peaks.keys, FREE.0), 0, "a key without a cap is not counted");
        for worker in workers {
            worker.stop().await;
        }
    }

    async fn runs_that_wait_for_their_key_stand_in_nobodys_way(db: Database) {
        let rig = Rig::with(db, |config| config.concurrent_runs = 2).await;
        let tight = join_all((0..40).map(|_| run_of(&rig, TIGHT))).await;
        let (drive, gate) = holding(tight.clone());
        let worker = rig.work(drive);
        rig.wait_for(tight.iter().copied(), Status::InProgress).await;
        rig.db.clock.advance(Duration::from_secs(1));
        // One slot is left: it goes to whoever may be claimed, in that lane and in others.
        for key in [FREE, WIDER, FREE] {
            let run = run_of(&rig, key).await;
            assert_eq!(rig.ended(run).await, Status::Completed);
        }
        let served = last_served(&rig).await;
        // By the second, the first lane would be the one that has not been served for longest.
        for _ in 0..2 {
            rig.db.clock.advance(Duration::from_secs(1));
            let other = begin(&rig, &rig.engine, OTHER, WIDER).await.expect("created").run_id;
            all_end_of(&rig, OTHER, &[other]).await;
        }
        assert_eq!(last_served(&rig).await, served, "a lane in which all wait is not served");
        assert_eq!(leased(&rig.db.store).await.1, HashMap::from([(TIGHT.0, 1)]));
        gate.add_permits(40);
        all_end_of(&rig, SCOPE, &tight).await;
        worker.stop().await;
    }

    async fn capped_and_uncapped_runs_go_in_the_order_that_they_came_in(db: Database) {
        let rig = Rig::with(db, |config| config.concurrent_runs = 1).await;
        let mut runs = Vec::new();
        for key in [WIDER, FREE, TIGHT, FREE, WIDER, WIDER, TIGHT, FREE] {
            runs.push(run_of(&rig, key).await);
            rig.db.clock.advance(Duration::from_secs(1));
        }
        let order = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&order);
        let worker = rig.work(driver(move |attempt| {
            seen.lock().expect("a lock").push(attempt.run.run_id);
            async move { complete(&attempt).await }
        }));
        all_end_of(&rig, SCOPE, &runs).await;
        assert_eq!(*order.lock().expect("a lock"), runs);
        worker.stop().await;
    }

    async fn a_run_that_waits_for_outputs_gives_its_place_to_the_next(db: Database) {
        let rig = Rig::new(db).await;
        let first = run_of(&rig, TIGHT).await;
        rig.db.clock.advance(Duration::from_secs(1));
        let second = run_of(&rig, TIGHT).await;
        let worker = rig.work(driver(move |attempt| async move {
            match attempt.run.run_id == first {
                true => park(&attempt, &["call_1"]),
                false => complete(&attempt).await,
            }
        }));
        assert_eq!(rig.ended(second).await, Status::Completed);
        assert_eq!(rig.status(first).await, Status::RequiresAction);
        rig.engine.cancel(SCOPE, first).await.expect("cancelled");
        let third = run_of(&rig, TIGHT).await;
        assert_eq!(rig.ended(third).await, Status::Completed);
        worker.stop().await;
    }

    async fn caps_follow_the_plan(db: Database) {
        let mut rig = Rig::new(db).await;
        let (lane, key) = ("run".to_owned(), "key".to_owned());
        let all = |lane_cap, key_cap| {
            vec![(SCOPE.project, lane.clone(), lane_cap), (TIGHT.0, key.clone(), key_cap)]
        };
        rig.limits.lane_runs = 3;
        run_of(&rig, TIGHT).await;
        assert_eq!(caps(&rig).await, all(3, 1));
        rig.limits.lane_runs = 5;
        run_of(&rig, (TIGHT.0, Some(2))).await;
        assert_eq!(caps(&rig).await, all(5, 2));
        // What this process set last it does not set with each run.
        write(&rig, "UPDATE lanes SET cap = cap + 70").await;
        run_of(&rig, (TIGHT.0, Some(2))).await;
        assert_eq!(caps(&rig).await, all(75, 72));
        // Another process knows nothing yet; and nothing can be wrong with any value of a plan.
        rig.limits.lane_runs = u32::MAX;
        begin(&rig, &rig.replica().await, SCOPE, TIGHT).await.expect("created");
        assert_eq!(caps(&rig).await, all(i32::MAX, 1));
    }

    async fn of_many_who_will_not_wait_as_many_are_taken_as_have_room(db: Database) {
        let mut rig = Rig::new(db).await;
        rig.limits = RunLimits { on_limit: OnLimit::Reject, ..RunLimits::lane(5) };
        let engines = replicas(&rig).await;
        // Whoever sets a cap holds it until the commit. Here all know it.
        for engine in &engines {
            begin(&rig, engine, SCOPE, WIDER).await.expect("there is room");
            write(&rig, "DELETE FROM run_queue").await;
        }
        for key in [FREE, WIDER] {
            let before = rows(&rig).await;
            let creations = (0..30usize)
                .map(|i| begin(&rig, &engines[i % engines.len()], SCOPE, key));
            let (taken, refused): (Vec<_>, Vec<_>) =
                join_all(creations).await.into_iter().partition(Result::is_ok);
            let (of, cap) = if key.1.is_some() { ("key", 2) } else { ("project", 5) };
            assert_eq!((taken.len(), refused.len()), (cap, 30 - cap));
            for error in refused.into_iter().map(|refused| refused.expect_err("refused")) {
                assert_eq!(error.reason, Reason::TooManyConcurrentRuns);
                let facts = ["of", "limit", "retry_after_s"].map(|name| error.fact(name));
                assert_eq!(facts, [Some(of), Some(&*cap.to_string()), Some("1")]);
            }
            assert_eq!(rows(&rig).await - before, 3 * cap as i64, "the others left nothing");
            // Those of this round are over, and there is room again.
            let worker = rig.work(instant());
            let runs: Vec<_> = taken.into_iter().map(|run| run.expect("taken").run_id).collect();
            all_end_of(&rig, SCOPE, &runs).await;
            worker.stop().await;
            begin(&rig, &rig.engine, SCOPE, key).await.expect("there is room");
            write(&rig, "DELETE FROM run_queue").await;
        }
    }

    async fn who_will_not_wait_is_held_up_by_what_is_live_and_by_nothing_else(db: Database) {
        let mut rig = Rig::new(db).await;
        rig.limits.lane_runs = 2;
        let worker = rig.work(driver(|attempt| async move { park(&attempt, &["call_1"]) }));
        let parked = [run_of(&rig, FREE).await, run_of(&rig, TIGHT).await];
        rig.wait_for(parked, Status::RequiresAction).await;
        worker.stop().await;
        // Runs that wait for tool outputs, and those of others, take no place.
        for _ in 0..3 {
            begin(&rig, &rig.engine, OTHER, FREE).await.expect("queued");
        }
        run_of(&rig, TIGHT).await;
        rig.limits.on_limit = OnLimit::Reject;
        let refused = begin(&rig, &rig.engine, SCOPE, TIGHT).await.expect_err("the key's cap");
        assert_eq!(refused.fact("of"), Some("key"));
        run_of(&rig, WIDER).await;
        let refused = begin(&rig, &rig.engine, SCOPE, FREE).await.expect_err("the lane's cap");
        assert_eq!(refused.fact("of"), Some("project"));
        rig.limits.on_limit = OnLimit::Queue;
        run_of(&rig, TIGHT).await;
    }

    async fn claims_get_their_turn_while_many_are_refused(db: Database) {
        let mut rig = Rig::new(db).await;
        rig.limits.lane_runs = 2;
        let runs = join_all((0..20).map(|_| run_of(&rig, FREE))).await;
        rig.limits.on_limit = OnLimit::Reject;
        let (rig, over) = (Arc::new(rig), CancellationToken::new());
        let knocking = (0..6).map(|_| {
            let (rig, over) = (Arc::clone(&rig), over.clone());
            tokio::spawn(async move {
                while !over.is_cancelled() {
                    let _ = begin(&rig, &rig.engine, SCOPE, FREE).await;
                }
            })
        });
        let knocking: Vec<_> = knocking.collect();
        let worker = rig.work(instant());
        for run in runs {
            assert_eq!(rig.ended(run).await, Status::Completed);
        }
        over.cancel();
        for task in knocking {
            task.await.expect("no panic");
        }
        worker.stop().await;
    }
}
