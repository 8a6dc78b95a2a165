//! The store on Postgres: each job has a transaction of its own, done again when it lost a race
//! against another. Used by `store/mod.rs` alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sea_orm::{
    ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DatabaseTransaction, DbErr,
    TransactionTrait,
};

use tokio::time::Instant;

use super::{Load, Reader, Tx, Work, error, guarded, migrations};
use crate::kernel::config::StoreConfig;
use crate::kernel::telemetry::Meters;
use crate::kernel::{Error, Reason, Result};

/// Most times that a job is done.
const ATTEMPTS_MAX: u32 = 5;
/// A process that hangs in the middle of a transaction holds rows, such as the lane of a project or
/// its own worker's, that others need to go on, and does not even close its connection: the server
/// gives it up after so long. Less than a lease; no job waits for anything but the database.
const IDLE_IN_TRANSACTION: (&str, &str) = ("idle_in_transaction_session_timeout", "5s");
/// Two servers that start at once change the schema one after the other: the number of the lock.
const MIGRATION_LOCK: &str = "SELECT pg_advisory_xact_lock(7885631)";
/// How long a change waits for a table that others use, and everybody behind it; how often it is
/// tried, and the milliseconds between.
const MIGRATION_PATIENCE: &str = "SET LOCAL lock_timeout = '250ms'";
const MIGRATIONS_MAX: u32 = 300;
const MIGRATION_PAUSE_MS: std::ops::Range<u64> = 500..1500;

/// A pool of connections.
#[derive(Debug)]
pub(super) struct Postgres {
    pool: DatabaseConnection,
    reader: Reader,
    connections: u32,
    commits: AtomicU64,
    load: Arc<Load>,
    meters: Meters,
}

impl Postgres {
    pub(super) async fn open(
        config: &StoreConfig,
        load: Arc<Load>,
        meters: &Meters,
    ) -> Result<Self> {
        let pool = connect(config, config.max_connections).await?;
        migrate(&pool, config.migrate).await?;
        let (reader, connections) = (pool.clone().into(), config.max_connections);
        let (commits, meters) = (AtomicU64::new(0), meters.clone());
        Ok(Self { pool, reader, connections, commits, load, meters })
    }

    pub(super) async fn tx<T, F>(&self, name: &'static str, job: F) -> Result<T>
    where
        T: Send,
        F: for<'t> Fn(&'t Tx) -> Work<'t, T> + Send + Sync,
    {
        let mut attempt = 1;
        loop {
            let outcome = self.once(name, &job).await;
            let lost = match &outcome {
                Err(error) => error::database(error).is_some_and(error::is_again),
                Ok(_) => false,
            };
            if !lost || attempt == ATTEMPTS_MAX {
                return outcome;
            }
            self.meters.repeated();
            tracing::debug!(name, attempt, "lost a race, doing it again");
            let ceiling_ms = 5 << attempt;
            tokio::time::sleep(Duration::from_millis(rand::random_range(1..=ceiling_ms))).await;
            attempt += 1;
        }
    }

    async fn once<T, F>(&self, name: &'static str, job: &F) -> Result<T>
    where
        F: for<'t> Fn(&'t Tx) -> Work<'t, T> + Send + Sync,
    {
        let begun = Instant::now();
        let opened = self.begin().await;
        self.meters.waited(begun.elapsed());
        let tx = Tx::new(opened?);
        match guarded(name, job, &tx).await {
            Ok(value) => {
                tx.commit().await?;
                self.commits.fetch_add(1, Ordering::Relaxed);
                Ok(value)
            }
            Err(error) => {
                // A rollback that fails leaves a broken connection, which the server rolls back
                // itself.
                let _ = tx.rollback().await;
                Err(error)
            }
        }
    }

    /// Begins. After a restart of the server every connection of the pool is dead, and each says so
    /// once: nothing has been done then, so the next one is tried.
    async fn begin(&self) -> Result<DatabaseTransaction, DbErr> {
        let _waiting = self.load.enter();
        for _ in 0..self.connections {
            match self.pool.begin().await {
                Err(error) if error::is_dead(&error) => {
                    tracing::debug!(%error, "a dead connection")
                }
                outcome => return outcome,
            }
        }
        self.pool.begin().await
    }

    pub(super) fn read(&self) -> &Reader {
        &self.reader
    }

    pub(super) fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }

    pub(super) async fn close(&self) {
        if let Err(error) = self.pool.close_by_ref().await {
            tracing::warn!(%error, "cannot close the database");
        }
    }
}

/// A pool of connections.
async fn connect(config: &StoreConfig, connections: u32) -> Result<DatabaseConnection> {
    let mut options = ConnectOptions::new(&config.url);
    options
        .max_connections(connections)
        .acquire_timeout(Duration::from_millis(config.acquire_timeout_ms))
        .connect_timeout(Duration::from_millis(config.acquire_timeout_ms))
        .test_before_acquire_if_idle_for(Duration::from_secs(1))
        .set_application_name("runplane")
        .record_stmt_in_spans(false)
        .sqlx_logging(false)
        .map_sqlx_postgres_opts(|options| options.options([IDLE_IN_TRANSACTION]));
    Database::connect(options).await.map_err(|error| {
        Error::new(Reason::Unavailable, "cannot connect to the database of store.url")
            .caused_by(error)
    })
}

/// Sees to the schema. A change of a table waits for those who use it, and whoever comes after
/// waits behind it: so it waits a little, gives up, and comes again.
async fn migrate(pool: &DatabaseConnection, may: bool) -> Result<Vec<String>> {
    let mut attempt = 1;
    loop {
        match migrate_once(pool, may).await {
            Err(error) if attempt < MIGRATIONS_MAX && is_in_use(&error) => {
                tracing::info!(attempt, "the tables are in use, trying again");
                let pause = Duration::from_millis(rand::random_range(MIGRATION_PAUSE_MS));
                tokio::time::sleep(pause).await;
                attempt += 1;
            }
            outcome => return outcome,
        }
    }
}

async fn migrate_once(pool: &DatabaseConnection, may: bool) -> Result<Vec<String>> {
    let tx = pool.begin().await?;
    tx.execute_unprepared(MIGRATION_LOCK).await?;
    tx.execute_unprepared(MIGRATION_PATIENCE).await?;
    let changed = migrations::run(&tx, may).await?;
    tx.commit().await?;
    Ok(changed)
}

fn is_in_use(error: &Error) -> bool {
    error::database(error).is_some_and(error::is_in_use)
}

/// Brings the schema of a database that no store of this process has opened to its newest change;
/// the names of the changes.
pub(super) async fn migrate_alone(config: &StoreConfig) -> Result<Vec<String>> {
    let pool = connect(config, 1).await?;
    let changes = migrate(&pool, true).await;
    pool.close().await?;
    changes
}

/// The names of the changes that the schema lacks.
pub(super) async fn pending(config: &StoreConfig) -> Result<Vec<String>> {
    let pool = connect(config, 1).await?;
    let pending = migrations::pending(&pool).await;
    pool.close().await?;
    pending
}
