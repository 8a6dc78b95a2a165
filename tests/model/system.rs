//! The real store on SQLite, and what it says of all runs.

use std::collections::BTreeMap;
use std::sync::Arc;

use runplane::cache::Bus;
use runplane::engine::{Engine, EngineConfig, NewRun, OnLimit, OnSessionBusy, RunLimits, Status};
use runplane::kernel::plan::Quota;
use runplane::kernel::spec::AgentSpec;
use runplane::kernel::{Clock, Environment, Scope};
use runplane::store::{Store, StoreConfig, Synchronous};
use sea_orm::{ConnectionTrait, DbBackend, QueryResult, Statement, TryGetable};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::reference::{CANCEL, KEY_CAP, LANE_CAP, Place, Run, Step};
use crate::harness::databases::{self, START};

pub const SCOPE: Scope = Scope { project: Uuid::from_u128(1), environment: Environment::Test };
const KEY: Uuid = Uuid::from_u128(2);

pub struct System {
    pub store: Store,
    pub clock: Clock,
    spec: Arc<AgentSpec>,
    _place: databases::Place,
}

impl System {
    pub async fn open() -> Self {
        let (config, place) = databases::sqlite_place();
        let config = StoreConfig { synchronous: Synchronous::Normal, ..config };
        let clock = Clock::manual(START);
        let store = Store::open(&config, clock.clone()).await.expect("the store opens");
        let spec = json!({
            "name": "a", "model": "sim", "max_steps": 10, "timeout_seconds": 86_400_000,
        });
        let spec = Arc::new(serde_json::from_value(spec).expect("a spec"));
        Self { store, clock, spec, _place: place }
    }

    /// An engine on an empty store.
    pub async fn begin(&self) -> Engine {
        let tables =
            ["workers", "lanes", "runs", "run_queue", "run_steps", "run_events", "run_inbox"];
        let wipe = self.store.tx("test.wipe", move |tx| {
            Box::pin(async move {
                for table in tables {
                    tx.execute_unprepared(&format!("DELETE FROM {table}")).await?;
                }
                Ok(())
            })
        });
        wipe.await.expect("an empty store");
        let config = EngineConfig { cancel_ms: CANCEL.unsigned_abs() / 1000, ..Default::default() };
        Engine::new(self.store.clone(), Bus::memory(), self.clock.clone(), config)
    }

    pub fn new_run(&self, capped: bool) -> NewRun {
        let limits = RunLimits {
            lane_runs: u32::try_from(LANE_CAP).expect("small"),
            key_runs: capped.then(|| u32::try_from(KEY_CAP).expect("small")),
            quota: Quota::default(),
            key_quota: Quota::default(),
            on_limit: OnLimit::Queue,
            queued_runs: u32::MAX,
            on_session_busy: OnSessionBusy::Queue,
        };
        NewRun {
            agent_id: Uuid::from_u128(7),
            agent_version: 1,
            spec: Arc::clone(&self.spec),
            input: Value::Null,
            parameters: Map::new(),
            timeout: None,
            metadata: Map::new(),
            session_id: None,
            key_id: capped.then_some(KEY),
            limits,
        }
    }

    pub async fn beat_of(&self, worker: Uuid) -> Option<i64> {
        let rows = self.rows("SELECT id, beat FROM workers").await;
        rows.iter().find(|row| at::<Uuid>(row, 0) == worker).map(|row| at(row, 1))
    }

    /// The runs as the store has them, checked for what must be true whatever happened.
    pub async fn runs(&self) -> BTreeMap<Uuid, Run> {
        let mut runs = BTreeMap::new();
        let sql = "SELECT id, status, attempt, last_seq, key_id IS NOT NULL FROM runs";
        for row in self.rows(sql).await {
            let status: String = at(&row, 1);
            let mut run = Run::new(at(&row, 0), at(&row, 4), 0);
            run.status = Status::parse(&status).expect("a status");
            (run.attempt, run.seq, run.place) = (at(&row, 2), at(&row, 3), Place::Over);
            runs.insert(run.id, run);
        }
        self.queue(&mut runs).await;
        self.journal(&mut runs).await;
        self.log(&runs).await;
        let leased = |run: &&Run| matches!(run.place, Place::Leased(_));
        assert!(runs.values().filter(leased).count() <= LANE_CAP, "the lane's cap");
        assert!(runs.values().filter(leased).filter(|r| r.capped).count() <= KEY_CAP, "the key's");
        runs
    }

    async fn queue(&self, runs: &mut BTreeMap<Uuid, Run>) {
        let sql =
            "SELECT run_id, state, priority, available_at, worker_id, epoch, stalls, next_seq,
            cancel_requested_at FROM run_queue";
        for row in self.rows(sql).await {
            let run = runs.get_mut(&at::<Uuid>(&row, 0)).expect("a run of the queue is a run");
            assert!(!run.status.is_terminal(), "an ended run is in the queue: {run:?}");
            let holder: Option<Uuid> = at(&row, 4);
            run.place = match at::<i16>(&row, 1) {
                0 => Place::Ready { priority: at(&row, 2), at: at(&row, 3) },
                1 => Place::Leased(holder.expect("a leased run has a holder")),
                _ => Place::Waiting(at(&row, 3)),
            };
            (run.epoch, run.stalls, run.cancel) = (at(&row, 5), at(&row, 6), at(&row, 8));
            assert_eq!(at::<i64>(&row, 7), run.seq + 1, "{run:?}");
        }
        let queued = |run: &Run| run.place != Place::Over;
        assert!(runs.values().all(|run| queued(run) != run.status.is_terminal()), "{runs:?}");
    }

    async fn journal(&self, runs: &mut BTreeMap<Uuid, Run>) {
        let sql = "SELECT run_id, step, status, result, attempt, epoch FROM run_steps";
        for row in self.rows(sql).await {
            let run = runs.get_mut(&at::<Uuid>(&row, 0)).expect("a run");
            let (status, result, attempt) = (at(&row, 2), at(&row, 3), at(&row, 4));
            let step = Step { status, result, attempt, epoch: at(&row, 5) };
            run.steps.insert(at(&row, 1), step);
        }
    }

    /// Numbers from 1 without a gap, and the end last.
    async fn log(&self, runs: &BTreeMap<Uuid, Run>) {
        let sql = "SELECT run_id, count(*), min(seq), max(seq),
                sum(type IN ('run.completed', 'run.cancelled', 'run.expired', 'run.incomplete')),
                max(CASE WHEN type IN ('run.completed', 'run.cancelled', 'run.expired',
                    'run.incomplete') THEN seq ELSE 0 END)
            FROM run_events GROUP BY run_id";
        for row in self.rows(sql).await {
            let run = &runs[&at::<Uuid>(&row, 0)];
            let numbers: (i64, i64, i64) = (at(&row, 1), at(&row, 2), at(&row, 3));
            assert_eq!(numbers, (run.seq, 1, run.seq), "{run:?}");
            let end = if run.status.is_terminal() { (1, run.seq) } else { (0, 0) };
            assert_eq!((at::<i64>(&row, 4), at::<i64>(&row, 5)), end, "{run:?}");
        }
    }

    async fn rows(&self, sql: &str) -> Vec<QueryResult> {
        let query = Statement::from_string(DbBackend::Sqlite, sql);
        self.store.read().query_all_raw(query).await.expect("an answer")
    }
}

fn at<T: TryGetable>(row: &QueryResult, place: usize) -> T {
    row.try_get_by_index(place).expect("a value")
}
