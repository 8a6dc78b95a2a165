//! The changes of the schema, one file per change, run in one transaction. A change that has been
//! released is never edited: the next one is a new file. Changes add, so that the version before
//! goes on beside the new one and can come back; what nobody uses any more is taken away by a later
//! version, which says so in `schema_needs`. Used by `store/` alone.

mod m0001_projects_and_keys;
mod m0002_agents;
mod m0003_runs;
mod m0004_engine;
mod m0005_tenancy;
mod m0006_replicas;
mod m0007_traces;
mod m0008_upgrades;
#[cfg(feature = "faults")]
mod newer;

use sea_orm::{ConnectionTrait, DatabaseTransaction, DbBackend, DbErr, Statement};
use sea_orm_migration::{MigrationName, MigrationTrait, MigratorTrait, SchemaManager, async_trait};

use crate::kernel::{Error, Reason, Result};

/// A change that is all statements, as most are.
struct Change {
    name: &'static str,
    statements: &'static [&'static str],
}

/// The change of a file, which is called as the file is.
macro_rules! change {
    ($file:ident) => {
        Box::new(Change { name: stringify!($file), statements: $file::STATEMENTS })
    };
}

impl MigrationName for Change {
    fn name(&self) -> &str {
        self.name
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Change {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        define(manager, self.statements).await
    }
}

/// Every change, oldest first.
#[derive(Debug)]
struct Migrator;

impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        #[cfg_attr(not(feature = "faults"), expect(unused_mut, reason = "tests add one"))]
        let mut all: Vec<Box<dyn MigrationTrait>> = vec![
            change!(m0001_projects_and_keys),
            change!(m0002_agents),
            change!(m0003_runs),
            change!(m0004_engine),
            Box::new(m0005_tenancy::Migration),
            change!(m0006_replicas),
            change!(m0007_traces),
            change!(m0008_upgrades),
        ];
        #[cfg(feature = "faults")]
        if newer::is_there() {
            all.push(Box::new(newer::Migration));
        }
        all
    }
}

/// Brings the schema to the newest change, when it `may`; the names of what was changed. A schema
/// that a newer version has changed is left as it is, when that goes on with this version.
///
/// # Errors
/// `unavailable` when changes are missing that may not be made here, and for a schema that needs a
/// newer version.
pub(super) async fn run(tx: &DatabaseTransaction, may: bool) -> Result<Vec<String>> {
    let applied = applied(tx).await?;
    let missing = missing(&applied);
    if let Some(change) = newer(tx, &applied).await? {
        tracing::info!(change, "a newer version has changed the database");
        return Ok(missing);
    }
    if !may && !missing.is_empty() {
        let message = format!(
            "the database lacks {}, and store.migrate is false; run `runplane migrate`",
            missing.join(", ")
        );
        return Err(Error::new(Reason::Unavailable, message));
    }
    if !missing.is_empty() {
        Migrator::up(tx, None).await?;
        tracing::info!(changes = missing.join(", "), "the schema of the database was changed");
    }
    Ok(missing)
}

/// Refuses a schema that needs a newer version.
///
/// # Errors
/// `unavailable` for such a schema.
pub(super) async fn fits(conn: &impl ConnectionTrait) -> Result<()> {
    newer(conn, &applied(conn).await?).await.map(|_| ())
}

/// A change of a newer version that goes on with this one.
async fn newer(conn: &impl ConnectionTrait, applied: &[String]) -> Result<Option<String>> {
    let names = names();
    let Some(newer) = applied.iter().find(|name| !names.contains(name)) else { return Ok(None) };
    let need = needed(conn).await?;
    if names.contains(&need) && missing(applied).is_empty() {
        return Ok(Some(newer.clone()));
    }
    let message = format!(
        "the database has the change {newer}, unknown to this version; start a newer version"
    );
    Err(Error::new(Reason::Unavailable, message))
}

/// The names of the changes that the database lacks, oldest first.
///
/// # Errors
/// `unavailable` for a schema that needs a newer version.
pub(super) async fn pending(conn: &impl ConnectionTrait) -> Result<Vec<String>> {
    fits(conn).await?;
    Ok(missing(&applied(conn).await?))
}

/// The names of all changes, oldest first.
pub(super) fn names() -> Vec<String> {
    Migrator::migrations().iter().map(|change| change.name().to_owned()).collect()
}

fn missing(applied: &[String]) -> Vec<String> {
    names().into_iter().filter(|name| !applied.contains(name)).collect()
}

/// The changes that the database has; none when nothing has ever been changed.
async fn applied(conn: &impl ConnectionTrait) -> Result<Vec<String>> {
    let backend = conn.get_database_backend();
    let there = match backend {
        DbBackend::Sqlite => {
            "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'seaql_migrations'"
        }
        _ => "SELECT 1 WHERE to_regclass('seaql_migrations') IS NOT NULL",
    };
    if conn.query_one_raw(Statement::from_string(backend, there)).await?.is_none() {
        return Ok(Vec::new());
    }
    let names = "SELECT version FROM seaql_migrations ORDER BY version";
    let rows = conn.query_all_raw(Statement::from_string(backend, names)).await?;
    Ok(rows.iter().map(|row| row.try_get_by_index(0)).collect::<Result<_, DbErr>>()?)
}

/// The newest change that a program must know to work with the database.
async fn needed(conn: &impl ConnectionTrait) -> Result<String> {
    let sql =
        Statement::from_string(conn.get_database_backend(), "SELECT change FROM schema_needs");
    let row = conn.query_one_raw(sql).await?;
    let row = row.ok_or_else(|| Error::internal("schema_needs is empty"))?;
    Ok(row.try_get_by_index(0)?)
}

/// Runs statements written once for both databases, one after the other: `{uuid}` and `{bytes}`
/// become the column types of the dialect, `{clustered}` stores a table in the order of its primary
/// key where that is a choice, `{hot}` leaves room in the pages of a table whose rows change often.
async fn define(manager: &SchemaManager<'_>, statements: &[&str]) -> Result<(), DbErr> {
    let conn = manager.get_connection();
    let backend = conn.get_database_backend();
    let (uuid, bytes, clustered, hot) = match backend {
        DbBackend::Sqlite => ("BLOB", "BLOB", "WITHOUT ROWID", ""),
        _ => ("UUID", "BYTEA", "", "WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02)"),
    };
    for statement in statements {
        let sql = statement
            .replace("{uuid}", uuid)
            .replace("{bytes}", bytes)
            .replace("{clustered}", clustered)
            .replace("{hot}", hot);
        conn.execute_raw(Statement::from_string(backend, sql)).await?;
    }
    Ok(())
}
