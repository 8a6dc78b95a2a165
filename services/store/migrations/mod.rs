//! The changes of the schema, one file per change, run inside one transaction by `Store::open` and
//! `store::migrate`. A change that has been released is never edited: the next one is a new file.

mod m0001_projects_and_keys;
mod m0002_agents;
mod m0003_runs;
mod m0004_engine;
mod m0005_tenancy;
mod m0006_replicas;

use std::collections::HashSet;

use sea_orm::{ConnectionTrait, DatabaseTransaction, DbBackend, DbErr, Statement};
use sea_orm_migration::{MigrationTrait, MigratorTrait, SchemaManager};

use crate::kernel::{Error, Reason, Result};

/// Every change, oldest first.
#[derive(Debug)]
struct Migrator;

impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m0001_projects_and_keys::Migration),
            Box::new(m0002_agents::Migration),
            Box::new(m0003_runs::Migration),
            Box::new(m0004_engine::Migration),
            Box::new(m0005_tenancy::Migration),
            Box::new(m0006_replicas::Migration),
        ]
    }
}

/// Brings the schema to the newest change; the names of the changes that were made. Refuses a
/// database that a newer version has changed.
pub(super) async fn run(tx: &DatabaseTransaction) -> Result<Vec<String>> {
    let applied = Migrator::get_migration_models(tx).await?;
    let applied: HashSet<String> = applied.into_iter().map(|model| model.version).collect();
    let missing = missing(&applied)?;
    Migrator::up(tx, None).await?;
    Ok(missing)
}

/// The names of the changes that [`run`] would make, oldest first; changes nothing.
pub(super) async fn pending(conn: &impl ConnectionTrait) -> Result<Vec<String>> {
    if !has_table(conn, "seaql_migrations").await? {
        return Ok(names());
    }
    let sql = "SELECT version FROM seaql_migrations";
    let rows = conn.query_all_raw(Statement::from_string(conn.get_database_backend(), sql)).await?;
    let applied = rows.iter().map(|row| row.try_get::<String>("", "version"));
    missing(&applied.collect::<Result<_, _>>()?)
}

/// The names of all changes, oldest first.
pub(super) fn names() -> Vec<String> {
    Migrator::migrations().iter().map(|change| change.name().to_owned()).collect()
}

/// The changes that were not made yet; refuses those that are unknown here.
fn missing(applied: &HashSet<String>) -> Result<Vec<String>> {
    let names = names();
    if let Some(newer) = applied.iter().find(|name| !names.contains(name)) {
        let message = format!(
            "the database has the change {newer}, unknown to this version; start a newer version"
        );
        return Err(Error::new(Reason::Unavailable, message));
    }
    Ok(names.into_iter().filter(|name| !applied.contains(name)).collect())
}

async fn has_table(conn: &impl ConnectionTrait, name: &str) -> Result<bool> {
    let backend = conn.get_database_backend();
    let sql = match backend {
        DbBackend::Sqlite => "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = $1",
        _ => "SELECT 1 FROM pg_catalog.pg_class WHERE oid = to_regclass($1)",
    };
    let question = Statement::from_sql_and_values(backend, sql, [name.into()]);
    Ok(conn.query_one_raw(question).await?.is_some())
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
