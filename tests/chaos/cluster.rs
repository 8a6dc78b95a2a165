//! Three real replicas on a Postgres and a Redis of their own, and what is done to them: each fault
//! is noted with the runs that it hits. Made by the scenarios.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use runplane::kernel::Clock;
use runplane::store::tables::worker;
use runplane::store::{Store, StoreConfig};
use sea_orm::{ConnectionTrait, EntityTrait, Statement, Value};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use uuid::Uuid;

use super::doors::{Doors, pass};
use super::history::{Fault, Leased};
use super::postgres::Postgres;
use super::settings::{self, Patience};
use crate::harness::process::Program;
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
    /// Its database, read beside the replicas.
    pub store: Store,
    /// How patient its workers are.
    pub patience: Patience,
    /// The time.
    pub clock: Clock,
    leased: Arc<Mutex<Vec<Leased>>>,
    looking: JoinHandle<()>,
    /// The worker of each replica, as far as it is known.
    workers: Vec<Option<Uuid>>,
    /// Last, for all of the above stands on it.
    pub postgres: Postgres,
}

impl Default for Setup {
    fn default() -> Self {
        let without = settings::without();
        let faults = if without.is_empty() { String::new() } else { format!("without:{without}") };
        Self { redis: false, patience: Patience::told(), config: String::new(), faults }
    }
}

impl Cluster {
    /// Starts all of it.
    pub async fn start(setup: Setup) -> Self {
        let (postgres, tools) = (Postgres::start(), Arc::new(Tools::start().await));
        let redis = setup.redis.then(|| Arc::new(Redis::start()));
        let patience = setup.patience;
        let mut config = format!("{CONFIG}\n{}\n", patience.config());
        if let Some(redis) = &redis {
            config += &redis.config();
        }
        let mut merged: toml::Table = config.parse().expect("TOML");
        crate::harness::process::merge(&mut merged, setup.config.parse().expect("TOML"));
        let config = merged.to_string();
        let url = postgres.url();
        let program = |_| {
            let mut program = Program::on(&url, &config);
            program.faults.clone_from(&setup.faults);
            program
        };
        let mut replicas: Vec<Program> = (0..REPLICAS).map(program).collect();
        let first = replicas[0].start().await;
        let doors = Doors::new(REPLICAS).with_key(&first.key);
        doors.set(0, Some(first.url.clone()));
        let clock = Clock::system();
        let config = StoreConfig { url, max_connections: 3, ..StoreConfig::default() };
        let store = Store::open(&config, clock.clone()).await.expect("the store opens");
        let leased = Arc::<Mutex<Vec<Leased>>>::default();
        let looking = tokio::spawn(look(store.clone(), Arc::clone(&leased)));
        let mut cluster = Self {
            faults: Vec::new(),
            replicas,
            doors,
            tools,
            redis,
            store,
            patience,
            clock,
            leased,
            looking,
            workers: vec![None; REPLICAS],
            postgres,
        };
        cluster.know(0).await;
        for place in 1..REPLICAS {
            cluster.revive(place).await;
        }
        cluster
    }

    /// Starts a replica that does not run.
    pub async fn revive(&mut self, place: usize) {
        let key = self.doors.key().to_owned();
        let api = self.replicas[place].start_with(&key).await;
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

    /// The worker of a replica.
    pub fn worker(&self, place: usize) -> Option<Uuid> {
        self.workers[place]
    }

    /// Workers as the database has them.
    pub async fn all_workers(&self) -> Vec<Uuid> {
        let rows = worker::Entity::find().all(self.store.read()).await.unwrap_or_default();
        let mut rows: Vec<_> = rows.into_iter().map(|row| (row.started_at, row.id)).collect();
        rows.sort_unstable();
        rows.into_iter().map(|(_, id)| id).collect()
    }

    /// Finds the worker of a replica that has just started: the one that was not there before.
    async fn know(&mut self, place: usize) {
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
        let rows = query(&self.store, sql, [worker.into()]).await;
        let id = |row: &sea_orm::QueryResult| super::rows::run_id(row.try_get_by_index(0).ok()?);
        rows.iter().filter_map(id).collect()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.looking.abort();
        // One that is stopped could not be ended.
        for replica in self.replicas.iter().filter(|replica| replica.is_running()) {
            replica.thaw();
        }
    }
}

/// Asks the database; nothing while it is away.
pub async fn query(
    store: &Store,
    sql: &str,
    values: impl IntoIterator<Item = Value>,
) -> Vec<sea_orm::QueryResult> {
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
