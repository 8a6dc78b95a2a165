//! The store on SQLite: one file, held by one process; one writer whose jobs share commits, and a
//! pool of readers. Used by `store/mod.rs` alone.

mod lock;
mod writer;

use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use sea_orm::sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sea_orm::{ConnectOptions, Database, DatabaseConnection, TransactionTrait};

use self::lock::FileLock;
use self::writer::Writer;
use super::{Tx, Work, migrations};
use crate::kernel::config::{StoreConfig, Synchronous};
use crate::kernel::{Error, Reason, Result};

/// The file, its writer and its readers.
#[derive(Debug)]
pub(super) struct Sqlite {
    writer: Writer,
    readers: DatabaseConnection,
}

impl Sqlite {
    pub(super) async fn open(config: &StoreConfig) -> Result<Self> {
        let parsed = SqliteConnectOptions::from_str(&config.url)
            .map_err(|error| Error::field("store.url", format!("store.url: {error}")))?;
        let file = parsed.get_filename().to_owned();
        if config.url.contains(":memory:") || config.url.contains("mode=memory") {
            return Err(Error::field("store.url", "store.url must name a file"));
        }
        make_folder(&file)?;
        let lock = FileLock::take(&file)?;
        let writing = connect(config, 1, false).await?;
        let tx = writing.begin().await?;
        migrations::run(&tx).await?;
        tx.commit().await?;
        let readers = connect(config, config.read_connections.max(1), true).await?;
        let writer = Writer::start(writing, lock, config);
        Ok(Self { writer, readers })
    }

    pub(super) async fn tx<T, F>(&self, name: &'static str, job: F) -> Result<T>
    where
        T: Send + 'static,
        F: for<'t> Fn(&'t Tx) -> Work<'t, T> + Send + Sync + 'static,
    {
        self.writer.tx(name, job).await
    }

    pub(super) fn read(&self) -> &DatabaseConnection {
        &self.readers
    }

    pub(super) fn commits(&self) -> u64 {
        self.writer.commits()
    }

    pub(super) async fn close(&self) {
        if let Err(error) = self.readers.close_by_ref().await {
            tracing::warn!(%error, "cannot close the database");
        }
        self.writer.close().await;
    }
}

/// Opens connections to the file. Those that write are one, and stay for ever.
async fn connect(config: &StoreConfig, most: u32, reading: bool) -> Result<DatabaseConnection> {
    let synchronous = match config.synchronous {
        Synchronous::Full => SqliteSynchronous::Full,
        Synchronous::Normal => SqliteSynchronous::Normal,
    };
    let mut options = ConnectOptions::new(&config.url);
    options
        .max_connections(most)
        .min_connections(1)
        .idle_timeout(None)
        .max_lifetime(None)
        .acquire_timeout(Duration::from_millis(config.acquire_timeout_ms))
        .test_before_acquire(false)
        .record_stmt_in_spans(false)
        .sqlx_logging(false)
        .map_sqlx_sqlite_opts(move |sqlite| {
            let sqlite = sqlite
                .create_if_missing(!reading)
                .journal_mode(SqliteJournalMode::Wal)
                .synchronous(synchronous)
                .foreign_keys(false)
                .busy_timeout(Duration::from_secs(5))
                .pragma("temp_store", "memory");
            if reading { sqlite.pragma("query_only", "on") } else { sqlite }
        });
    Database::connect(options).await.map_err(|error| {
        Error::new(Reason::Unavailable, "cannot open the database file of store.url")
            .caused_by(error)
    })
}

fn make_folder(file: &Path) -> Result<()> {
    let Some(folder) = file.parent() else { return Ok(()) };
    std::fs::create_dir_all(folder).map_err(|error| {
        Error::new(Reason::Unavailable, format!("cannot make the folder {}", folder.display()))
            .caused_by(error)
    })
}
