//! The changes of the schema, one file per change, run by `Store::open` inside one transaction. A
//! change that has been released is never edited: the next one is a new file.

mod m0001_projects_and_keys;
mod m0002_agents;
mod m0003_runs;
mod m0004_engine;
mod m0005_tenancy;
mod m0006_replicas;
mod m0007_traces;

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
            Box::new(m0007_traces::Migration),
        ]
    }
}

/// Brings the schema to the newest change. Refuses a database that a newer version has changed.
pub(super) async fn run(tx: &DatabaseTransaction) -> Result<()> {
    let known: HashSet<String> =
        Migrator::migrations().iter().map(|change| change.name().to_owned()).collect();
    let applied = Migrator::get_migration_models(tx).await?;
    if let Some(newer) = applied.iter().find(|model| !known.contains(&model.version)) {
        let message = format!(
            "the database has the change {}, unknown to this version; start a newer version",
            newer.version
        );
        return Err(Error::new(Reason::Unavailable, message));
    }
    Migrator::up(tx, None).await?;
    Ok(())
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
