//! What is kept: one schema on SQLite (one process, one file) and on Postgres (many replicas).
//! Everything that writes goes through [`Store::tx`], everything that only reads through
//! [`Store::read`]; the questions themselves stand one file per table and begin with their owner.
//! Never knows a message of the contract.

pub mod admission;
pub mod agents;
pub mod audit;
mod change;
pub mod claims;
pub mod error;
pub mod events;
pub mod idempotency;
pub mod inbox;
pub mod keys;
pub mod labels;
pub mod lanes;
mod load;
mod migrations;
pub mod moves;
pub mod organisations;
mod owner;
mod postgres;
pub mod projects;
pub mod queue;
pub mod reach;
mod reader;
pub mod retention;
pub mod runs;
mod schema;
pub mod sessions;
mod sql;
mod sqlite;
pub mod steps;
pub mod tables;
pub mod tenants;
mod tx;
pub mod usage;
mod window;
pub mod workers;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::Notify;
use tokio::time::Instant;
use tracing::{Instrument, Span};

pub use crate::kernel::config::{StoreConfig, Synchronous};
pub use error::{database, is_unique_violation};
pub use load::Load;
pub use reader::Reader;
use schema::{Scheme, scheme};
pub use schema::{changes, migrate, pending};
pub use sqlite::backup;
pub use tx::Tx;

use crate::kernel::telemetry::{Meters, TRACE};
use crate::kernel::{Clock, Error, Reason, Result, faults};

/// What a job returns.
pub type Work<'t, T> = BoxFuture<'t, Result<T>>;

/// The database. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    back: Back,
    clock: Clock,
    audited: Arc<Notify>,
    orphaned: Arc<Notify>,
    load: Arc<Load>,
    meters: Meters,
}

#[derive(Debug, Clone)]
enum Back {
    Sqlite(Arc<sqlite::Sqlite>),
    Postgres(Arc<postgres::Postgres>),
}

impl Store {
    /// Opens the database of the configuration and brings its schema to the newest change.
    ///
    /// # Errors
    /// `invalid_field` for a URL that is neither SQLite's nor Postgres's; `unavailable` when the
    /// database does not answer, another process has the file, or a newer version has changed the
    /// schema.
    pub async fn open(config: &StoreConfig, clock: Clock) -> Result<Self> {
        Self::open_metered(config, clock, Meters::default()).await
    }

    /// The same, measured.
    ///
    /// # Errors
    /// Those of [`Store::open`].
    pub async fn open_metered(config: &StoreConfig, clock: Clock, meters: Meters) -> Result<Self> {
        let (back, load) = match scheme(config)? {
            Scheme::Sqlite => {
                let sqlite = sqlite::Sqlite::open(config, meters.clone()).await?;
                (Back::Sqlite(Arc::new(sqlite)), Arc::new(Load::of_queue(config)))
            }
            Scheme::Postgres => {
                let load = Arc::new(Load::of_pool(config));
                let postgres = postgres::Postgres::open(config, Arc::clone(&load), &meters).await?;
                (Back::Postgres(Arc::new(postgres)), load)
            }
        };
        let (audited, orphaned) = (Arc::default(), Arc::default());
        Ok(Self { back, clock, audited, orphaned, load, meters })
    }

    /// Does a job in a transaction and answers when it is durable. `Err` from the job, and a panic
    /// in it, undoes the job and nothing else; so does a statement that fails, whatever the job
    /// makes of it. The job may be done more than once, so it must have no effect but through its
    /// `Tx`; it must not call `tx` again. Dropping the future does not promise that the job is not
    /// done.
    ///
    /// # Errors
    /// The job's own; `unavailable` when the database is away; `internal_error` for everything
    /// else.
    pub async fn tx<T, F>(&self, name: &'static str, job: F) -> Result<T>
    where
        T: Send + 'static,
        F: for<'t> Fn(&'t Tx) -> Work<'t, T> + Send + Sync + 'static,
    {
        let begun = Instant::now();
        let span = self.span(name);
        let work = async {
            match &self.back {
                Back::Sqlite(sqlite) => {
                    let _job = self.load.enter();
                    sqlite.tx(name, job).await
                }
                Back::Postgres(postgres) => postgres.tx(name, job).await,
            }
        };
        let outcome = work.instrument(span.clone()).await;
        if let Err(error) = &outcome {
            span.record("error.type", error.reason.row().code);
        }
        drop(span);
        let elapsed = begun.elapsed();
        self.meters.transacted(name, elapsed);
        tracing::trace!(name, ok = outcome.is_ok(), ?elapsed, "transaction");
        if outcome.is_ok() && name == "engine.commit" {
            faults::point("mid_commit_reply_lost");
        }
        if outcome.is_ok() && faults::is_answer_lost() {
            return Err(Error::new(Reason::Unavailable, "the database did not answer in time"));
        }
        outcome
    }

    fn span(&self, name: &'static str) -> Span {
        let system = if self.is_exclusive() { "sqlite" } else { "postgresql" };
        tracing::info_span!(
            target: TRACE,
            "transaction",
            otel.name = format_args!("transaction {name}"),
            otel.kind = "client",
            db.system.name = system,
            db.operation.name = name,
            "error.type" = tracing::field::Empty,
        )
    }

    /// What is measured.
    #[must_use]
    pub fn meters(&self) -> &Meters {
        &self.meters
    }

    /// How busy it is, and what it takes.
    #[must_use]
    pub fn load(&self) -> &Load {
        &self.load
    }

    /// A connection for questions that change nothing; on SQLite it refuses to write. Sees every
    /// job that `tx` has answered.
    #[must_use]
    pub fn read(&self) -> &Reader {
        match &self.back {
            Back::Sqlite(sqlite) => sqlite.read(),
            Back::Postgres(postgres) => postgres.read(),
        }
    }

    /// Says that lines of the audit log were written, which the linker is to link.
    pub fn audited(&self) {
        self.audited.notify_one();
    }

    /// Waits until lines of the audit log were written since the last time.
    pub async fn audit_lines(&self) {
        self.audited.notified().await;
    }

    /// Says that a project was deleted, whose runs are to end.
    pub fn orphaned(&self) {
        self.orphaned.notify_one();
    }

    /// Waits until a project was deleted since the last time.
    pub async fn orphans(&self) {
        self.orphaned.notified().await;
    }

    /// The clock that rows are dated by.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// True on SQLite: no other process can share the data, so whatever was leased at the start
    /// belongs to nobody.
    #[must_use]
    pub fn is_exclusive(&self) -> bool {
        matches!(self.back, Back::Sqlite(_))
    }

    /// How many transactions the database has committed since the start. Fewer than jobs when jobs
    /// share a commit.
    #[must_use]
    pub fn commits(&self) -> u64 {
        match &self.back {
            Back::Sqlite(sqlite) => sqlite.commits(),
            Back::Postgres(postgres) => postgres.commits(),
        }
    }

    /// True when the database answers.
    pub async fn is_ready(&self) -> bool {
        self.read().is_ready().await
    }

    /// Takes no more jobs, does those that wait, and lets go of the database.
    pub async fn close(&self) {
        match &self.back {
            Back::Sqlite(sqlite) => sqlite.close().await,
            Back::Postgres(postgres) => postgres.close().await,
        }
    }
}

/// Does a job; a panic in it becomes an error, and so does success after a failed statement.
async fn guarded<T, F>(name: &'static str, job: &F, tx: &Tx) -> Result<T>
where
    F: for<'t> Fn(&'t Tx) -> Work<'t, T> + Send + Sync,
{
    let attempt = AssertUnwindSafe(async { job(tx).await });
    let outcome = attempt.catch_unwind().await;
    match (outcome, tx.take_failed()) {
        (Ok(Ok(_)), true) => {
            Err(Error::internal(format!("the job {name} went on after a failed statement")))
        }
        (Ok(outcome), _) => outcome,
        (Err(_), _) => Err(Error::internal(format!("the job {name} panicked"))),
    }
}
