//! Removes runs that ended long ago, with all that is kept of them: a few at a time, by one replica
//! at a time. Asked by `upkeep.rs` only. Never touches a run that has not ended.

use sea_orm::{ConnectionTrait, DbBackend, QueryResult, Statement, Value};
use serde_json::Map;
use uuid::Uuid;

use super::sql::{pieces, places, statement};
use super::{Tx, labels, owner};
use crate::kernel::{Environment, Error, Result, Timestamp};

/// The number of the lock that the replica holds which removes. Not the linker's of the audit log,
/// which a busy server holds nearly always.
const TURN: &str = "SELECT pg_try_advisory_xact_lock(7885633)";

/// What is kept of a run in tables of its own.
const PARTS: [&str; 3] = ["run_events", "run_steps", "run_inbox"];

/// A run that is to be removed.
#[derive(Debug)]
pub struct Ended {
    /// Run.
    pub id: Uuid,
    project: Uuid,
    created_at: i64,
    metadata: String,
}

/// Removes at most `most` runs of an environment that ended before `before`, those that ended first
/// first; how many. `None` when another replica is at it.
///
/// # Errors
/// Those of the database.
pub async fn remove(
    tx: &Tx,
    environment: Environment,
    before: Timestamp,
    most: u64,
) -> Result<Option<u64>> {
    if tx.get_database_backend() == DbBackend::Postgres {
        let row = tx.query_one_raw(statement(tx, TURN, [])).await?;
        let held = row.map(|row| row.try_get_by_index::<bool>(0)).transpose()?;
        if held != Some(true) {
            return Ok(None);
        }
    }
    let runs = ended(tx, environment, before, most).await?;
    let ids: Vec<Uuid> = runs.iter().map(|run| run.id).collect();
    for run in &runs {
        let metadata: Map<String, serde_json::Value> =
            serde_json::from_str(&run.metadata).map_err(Error::internal)?;
        let scope = owner::scope(run.project, environment.as_str())?;
        labels::remove_run(tx, scope, (run.id, run.created_at), &metadata).await?;
    }
    for piece in pieces(&ids) {
        for part in PARTS {
            delete(tx, (part, "run_id"), piece).await?;
        }
        delete(tx, ("runs", "id"), piece).await?;
    }
    Ok(Some(u64::try_from(ids.len()).unwrap_or(u64::MAX)))
}

/// Runs of an environment that ended before `before`, those that ended first first, at most `most`.
///
/// # Errors
/// Those of the database.
pub async fn ended(
    conn: &impl ConnectionTrait,
    environment: Environment,
    before: Timestamp,
    most: u64,
) -> Result<Vec<Ended>> {
    let sql = "SELECT id, project_id, created_at, metadata FROM runs
        WHERE environment = $1 AND completed_at IS NOT NULL AND completed_at < $2
        ORDER BY completed_at LIMIT $3 + 0";
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    let values = [environment.as_str().into(), before.0.into(), most.into()];
    let read = |row: QueryResult| {
        Ok(Ended {
            id: row.try_get_by_index(0)?,
            project: row.try_get_by_index(1)?,
            created_at: row.try_get_by_index(2)?,
            metadata: row.try_get_by_index(3)?,
        })
    };
    let rows = conn.query_all_raw(statement(conn, sql, values)).await?;
    rows.into_iter().map(read).collect()
}

async fn delete(tx: &Tx, (table, column): (&str, &str), ids: &[Uuid]) -> Result<()> {
    let sql = format!("DELETE FROM {table} WHERE {column} IN ({})", places(1, ids.len()));
    let values = ids.iter().map(|id| Value::from(*id));
    let backend = tx.get_database_backend();
    tx.execute_raw(Statement::from_sql_and_values(backend, sql, values)).await?;
    Ok(())
}
