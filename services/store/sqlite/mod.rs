//! The store on SQLite: one file, held by one process; one writer whose jobs share commits, and a
//! pool of readers. Used by `store/mod.rs` alone.

pub mod backup;
mod lock;
mod readers;
mod writer;

use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use sea_orm::sqlx::ConnectOptions as _;
use sea_orm::sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sea_orm::{ConnectOptions, Database, DatabaseConnection, TransactionTrait};

use self::lock::FileLock;
pub(super) use self::readers::Readers;
use self::writer::Writer;
use super::{Reader, Tx, Work, migrations};
use crate::kernel::config::{StoreConfig, Synchronous};
use crate::kernel::telemetry::Meters;
use crate::kernel::{Error, Reason, Result};

/// Rows of one answer that may wait to be taken: a whole page, so that no reader waits within one.
const ROWS: usize = 128;

/// The file, its writer and its readers.
#[derive(Debug)]
pub(super) struct Sqlite {
    writer: Writer,
    reader: Reader,
}

impl Sqlite {
    pub(super) async fn open(config: &StoreConfig, meters: Meters) -> Result<Self> {
        let Opened { lock, writing, .. } = opened(config, config.migrate).await?;
        let options = settings(config, parsed(config)?)
            .pragma("query_only", "on")
            .row_buffer_size(ROWS)
            .disable_statement_logging();
        let patience = Duration::from_millis(config.acquire_timeout_ms);
        let most = config.read_connections.max(1);
        let readers = Readers::open(options, most, patience, meters).await;
        let reader = readers.map_err(not_opened)?.into();
        let writer = Writer::start(writing, lock, config);
        Ok(Self { writer, reader })
    }

    pub(super) async fn tx<T, F>(&self, name: &'static str, job: F) -> Result<T>
    where
        T: Send + 'static,
        F: for<'t> Fn(&'t Tx) -> Work<'t, T> + Send + Sync + 'static,
    {
        self.writer.tx(name, job).await
    }

    pub(super) fn read(&self) -> &Reader {
        &self.reader
    }

    pub(super) fn commits(&self) -> u64 {
        self.writer.commits()
    }

    pub(super) async fn close(&self) {
        self.reader.close().await;
        self.writer.close().await;
    }
}

/// The file, with the schema that it needs.
struct Opened {
    lock: FileLock,
    writing: DatabaseConnection,
    changes: Vec<String>,
}

async fn opened(config: &StoreConfig, may_migrate: bool) -> Result<Opened> {
    let file = parsed(config)?.get_filename().to_owned();
    make_folder(&file)?;
    let lock = FileLock::take(&file)?;
    let writing = connect(config).await?;
    let tx = writing.begin().await?;
    let changes = migrations::run(&tx, may_migrate).await?;
    tx.commit().await?;
    Ok(Opened { lock, writing, changes })
}

/// Brings the schema to its newest change, while no server has the file; the names of the changes.
pub(super) async fn migrate(config: &StoreConfig) -> Result<Vec<String>> {
    let Opened { lock: _held, writing, changes } = opened(config, true).await?;
    writing.close().await?;
    Ok(changes)
}

/// The names of the changes that the schema lacks. A server may have the file.
pub(super) async fn pending(config: &StoreConfig) -> Result<Vec<String>> {
    let parsed = parsed(config)?;
    if !parsed.get_filename().exists() {
        return Ok(migrations::names());
    }
    let mut options = ConnectOptions::new(&config.url);
    options.max_connections(1).sqlx_logging(false).map_sqlx_sqlite_opts(read_only);
    let conn = Database::connect(options).await.map_err(not_opened)?;
    let pending = migrations::pending(&conn).await;
    conn.close().await?;
    pending
}

/// A connection beside the server's, if there is one: it takes no lock and changes nothing.
fn read_only(options: SqliteConnectOptions) -> SqliteConnectOptions {
    options.read_only(true).create_if_missing(false).busy_timeout(Duration::from_secs(5))
}

/// The options of `store.url`, which names a file.
fn parsed(config: &StoreConfig) -> Result<SqliteConnectOptions> {
    if config.url.contains(":memory:") || config.url.contains("mode=memory") {
        return Err(Error::field("store.url", "store.url must name a file"));
    }
    SqliteConnectOptions::from_str(&config.url)
        .map_err(|error| Error::field("store.url", format!("store.url: {error}")))
}

/// Opens the connection that writes, which stays for ever.
async fn connect(config: &StoreConfig) -> Result<DatabaseConnection> {
    let changed = config.clone();
    let mut options = ConnectOptions::new(&config.url);
    options
        .max_connections(1)
        .min_connections(1)
        .idle_timeout(None)
        .max_lifetime(None)
        .acquire_timeout(Duration::from_millis(config.acquire_timeout_ms))
        .test_before_acquire(false)
        .record_stmt_in_spans(false)
        .sqlx_logging(false)
        .map_sqlx_sqlite_opts(move |sqlite| settings(&changed, sqlite).create_if_missing(true));
    Database::connect(options).await.map_err(not_opened)
}

/// What holds for every connection to the file.
fn settings(config: &StoreConfig, sqlite: SqliteConnectOptions) -> SqliteConnectOptions {
    let synchronous = match config.synchronous {
        Synchronous::Full => SqliteSynchronous::Full,
        Synchronous::Normal => SqliteSynchronous::Normal,
    };
    sqlite
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(synchronous)
        .foreign_keys(false)
        .busy_timeout(Duration::from_secs(5))
        .pragma("temp_store", "memory")
}

fn not_opened(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    let message = "cannot open the database file of store.url";
    Error::new(Reason::Unavailable, message).caused_by(error)
}

fn make_folder(file: &Path) -> Result<()> {
    let Some(folder) = file.parent() else { return Ok(()) };
    std::fs::create_dir_all(folder).map_err(|error| {
        Error::new(Reason::Unavailable, format!("cannot make the folder {}", folder.display()))
            .caused_by(error)
    })
}
