//! Three real replicas on a Postgres and a Redis of their own, and what is done to them: each fault
//! is noted with the runs that it hits. Made by the scenarios.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use runplane::kernel::Clock;
use runplane::store::{Store, StoreConfig};
use sea_orm::{ConnectionTrait, QueryResult, Statement, Value};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use uuid::Uuid;

use super::doors::{Doors, pass};
use super::history::{Fault, Leased};
use super::postgres::Postgres;
use super::settings::{self, Patience};
use crate::harness::process::{self, Program};
use crate::harness::redis::Redis;
use crate::harness::tools::Tools;

/// Replicas.
pub const REPLICAS: usize = 3;
/// Between two looks at how many runs are leased.
const LOOK: Duration = Duration::from_millis(100);

/// What every replica has.
const CONFIG: &str = "
[auth]
pepper = 'a pepper for tests, of no worth'
[store]
max_connections = 10
[log]
filter = 'info'
";

/// How to start.
pub struct Setup {
    /// With a Redis.
    pub redis: bool,
    /// How patient the workers are.
    pub patience: Patience,
    /// More configuration, TOML.
    pub config: String,
    /// What the replicas are told to do wrong.
    pub faults: String,
}

/// A cluster under way.
pub struct Cluster {
    /// What is done to it, and whom that hit.
    pub faults: Vec<Fault>,
    /// The replicas.
    pub replicas: Vec<Program>,
    /// Where its callers find it; with the first admin key.
    pub doors: Doors,
    /// The tool server.
    pub tools: Arc<Tools>,
    /// Its Redis.
    pub redis: Option<Arc<Redis>>,
    /// Its database, read beside the replicas; not where one process has it for itself.
    pub store: Option<Store>,
    /// How patient its workers are.
    pub patience: Patience,
    /// The time.
    pub clock: Clock,
    leased: Arc<Mutex<Vec<Leased>>>,
    looking: Option<JoinHandle<()>>,
    /// The worker of each replica, as far as it is known.
    workers: Vec<Option<Uuid>>,
    /// Last, for all of the above stands on it.
    pub postgres: Option<Postgres>,
}

impl Default for Setup {
    fn default() -> Self {
        let faults = settings::faults();
        Self { redis: false, patience: Patience::told(), config: String::new(), faults }
    }
}

impl Cluster {
    /// Starts three replicas on a Postgres.
    pub async fn start(setup: Setup) -> Self {
        let postgres = Postgres::start();
        let mut cluster = Self::new(&setup, (&postgres.url(), REPLICAS)).await;
        cluster.revive(0).await;
        let url = postgres.url();
        let config = StoreConfig { url, max_connections: 3, ..StoreConfig::default() };
        let store = Store::open(&config, cluster.clock.clone()).await.expect("the store opens");
        cluster.looking = Some(tokio::spawn(look(store.clone(), Arc::clone(&cluster.leased))));
        (cluster.store, cluster.postgres) = (Some(store), Some(postgres));
        cluster.know(0).await;
        for place in 1..REPLICAS {
            cluster.revive(place).await;
        }
        cluster
    }

    /// Starts one process on an SQLite file.
    pub async fn embedded(setup: Setup) -> Self {
        let mut cluster = Self::new(&setup, ("", 1)).await;
        cluster.revive(0).await;
        cluster
    }

    async fn new(setup: &Setup, (url, replicas): (&str, usize)) -> Self {
        let redis = setup.redis.then(|| Arc::new(Redis::start()));
        let mut config: toml::Table = CONFIG.parse().expect("TOML");
        let told = redis.as_ref().map(|redis| redis.config()).unwrap_or_default();
        for changes in [setup.patience.config(), &told, &setup.config] {
            process::merge(&mut config, changes.parse().expect("TOML"));
        }
        let program = |_| {
            let mut program = Program::on(url, &config.to_string());
            program.faults.clone_from(&setup.faults);
            program
        };
        Self {
            faults: Vec::new(),
            replicas: (0..replicas).map(program).collect(),
            doors: Doors::new(replicas),
            tools: Arc::new(Tools::start().await),
            redis,
            store: None,
            patience: setup.patience,
            clock: Clock::system(),
            leased: Arc::default(),
            looking: None,
            workers: vec![None; replicas],
            postgres: None,
        }
    }

    /// The database at the end; where one process has it for itself, that is killed.
    pub async fn database(&mut self) -> Store {
        if let Some(store) = &self.store {
            return store.clone();
        }
        self.replicas[0].kill().await;
        let url = format!("sqlite:{}", self.replicas[0].folder().join("runplane.db").display());
        let config = StoreConfig { url, ..StoreConfig::default() };
        Store::open(&config, self.clock.clone()).await.expect("the file is free")
    }

    /// Asks the database beside the replicas; nothing while it is away.
    pub async fn query(
        &self,
        sql: &str,
        values: impl IntoIterator<Item = Value>,
    ) -> Vec<QueryResult> {
        let Some(store) = &self.store else { return Vec::new() };
        query(store, sql, values).await
    }

    /// Starts a replica that does not run.
    pub async fn revive(&mut self, place: usize) {
        let key = self.doors.key().to_owned();
        let api = self.replicas[place].start_with(&key).await;
        if key.is_empty() {
            self.doors = self.doors.with_key(&api.key);
        }
        self.doors.set(place, Some(api.url));
        self.know(place).await;
    }

    /// `kill -9`.
    pub async fn kill(&mut self, place: usize) {
        self.note(&format!("kill -9 of replica {place}"), &[place]).await;
        self.doors.set(place, None);
        self.replicas[place].kill().await;
        self.faults.last_mut().expect("it was noted").at_us = self.clock.now().0;
        self.workers[place] = None;
    }

    /// Notes a fault that comes now, with the runs that these replicas drive.
    pub async fn note(&mut self, what: &str, places: &[usize]) {
        let mut held = Vec::new();
        for place in places {
            if self.workers[*place].is_none() {
                self.know(*place).await;
            }
            if let Some(worker) = self.workers[*place] {
                held.extend(self.held(worker).await);
            }
        }
        let at_us = self.clock.now().0;
        self.faults.push(Fault { what: what.to_owned(), at_us, until_us: at_us, held });
    }

    /// The last fault is over.
    pub fn over(&mut self) {
        let now = self.clock.now().0;
        self.faults.last_mut().expect("a fault").until_us = now;
    }

    /// What was seen of leases.
    pub fn leased(&self) -> Vec<Leased> {
        self.leased.lock().expect("leased").clone()
    }

    /// Forgets which worker a replica has: it begins anew, or may have.
    pub fn forget(&mut self, place: usize) {
        self.workers[place] = None;
    }

    /// How many runs a replica drives.
    pub async fn driven(&self, place: usize) -> usize {
        match self.workers[place] {
            Some(worker) => self.held(worker).await.len(),
            None => 0,
        }
    }

    /// The worker of a replica.
    pub fn worker(&self, place: usize) -> Option<Uuid> {
        self.workers[place]
    }

    /// Workers as the database has them.
    pub async fn all_workers(&self) -> Vec<Uuid> {
        let rows = self.query("SELECT id FROM workers ORDER BY started_at", []).await;
        rows.iter().filter_map(|row| row.try_get_by_index(0).ok()).collect()
    }

    /// Finds the worker of a replica that has just started: the one that was not there before.
    async fn know(&mut self, place: usize) {
        if self.store.is_none() {
            return;
        }
        let find = async {
            loop {
                let all = self.all_workers().await;
                let new = |id: &&Uuid| !self.workers.iter().flatten().any(|known| known == *id);
                if let Some(id) = all.iter().rev().find(new) {
                    return *id;
                }
                pass(LOOK).await;
            }
        };
        self.workers[place] = timeout(Duration::from_secs(10), find).await.ok();
    }

    async fn held(&self, worker: Uuid) -> Vec<String> {
        let sql = "SELECT run_id FROM run_queue WHERE worker_id = $1 AND state = 1";
        let rows = self.query(sql, [worker.into()]).await;
        let id = |row: &QueryResult| super::rows::run_id(row.try_get_by_index(0).ok()?);
        rows.iter().filter_map(id).collect()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Some(looking) = &self.looking {
            looking.abort();
        }
        // One that is stopped could not be ended.
        for replica in self.replicas.iter().filter(|replica| replica.is_running()) {
            replica.thaw();
        }
    }
}

/// Asks the database; nothing while it is away.
async fn query(
    store: &Store,
    sql: &str,
    values: impl IntoIterator<Item = Value>,
) -> Vec<QueryResult> {
    let conn = store.read();
    let statement = Statement::from_sql_and_values(conn.get_database_backend(), sql, values);
    conn.query_all_raw(statement).await.unwrap_or_default()
}

/// Looks again and again how many runs each owner has leased; keeps the most.
async fn look(store: Store, leased: Arc<Mutex<Vec<Leased>>>) {
    let sql = "SELECT CAST(project_id AS TEXT) || '/' || environment, CAST(cap AS BIGINT),
            (SELECT count(*) FROM run_queue q WHERE q.project_id = l.project_id
                AND q.environment = l.environment AND q.state = 1)
        FROM lanes l WHERE kind = 'run'";
    loop {
        for row in query(&store, sql, []).await {
            let seen = (row.try_get_by_index(0), row.try_get_by_index(1), row.try_get_by_index(2));
            let (Ok(lane), Ok(cap), Ok(count)) = seen else { continue };
            let seen = Leased { lane, cap, count };
            let mut leased = leased.lock().expect("leased");
            match leased.iter_mut().find(|most| most.lane == seen.lane) {
                Some(most) if most.count - most.cap < seen.count - seen.cap => *most = seen,
                Some(_) => {}
                None => leased.push(seen),
            }
        }
        pass(LOOK).await;
    }
}
