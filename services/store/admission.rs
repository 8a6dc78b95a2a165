//! Questions about how many runs there are, for who decides whether there may be one more, and how
//! that comes into the queue. Asked by `engine` only, in the transaction that creates a run. Each
//! counts to a limit: who asks wants to know no more.

use sea_orm::{ConnectionTrait, Value};
use uuid::Uuid;

use super::queue::BEHIND;
use super::sql::statement;
use super::{Tx, projects};
use crate::kernel::{Result, Scope, Timestamp};

/// A run that comes into the queue.
#[derive(Debug, Clone, Copy)]
pub struct New<'a> {
    /// Run.
    pub run_id: Uuid,
    /// Number of its next event.
    pub next_seq: i64,
    /// Key that creates it, when that has a cap of its own.
    pub capped_key: Option<Uuid>,
    /// True when its tokens count in somebody's quota.
    pub metered: bool,
    /// Its conversation, and its place in it.
    pub session: Option<(&'a str, i64)>,
    /// When it may be claimed, or when it ends at the latest if it waits behind another run.
    pub from: From,
}

/// Whether a run that comes into the queue waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// It may be claimed since then.
    Ready(Timestamp),
    /// It waits behind another run of its session, until then.
    Behind(Timestamp),
}

/// Adds a run.
///
/// # Errors
/// `project_not_found` when the project was deleted; those of the database.
pub async fn insert(tx: &Tx, scope: Scope, new: New<'_>) -> Result<()> {
    if is_paused(tx, scope).await? {
        return Err(projects::not_found(scope.project));
    }
    let sql = "INSERT INTO run_queue (run_id, project_id, environment, state, priority,
            available_at, epoch, stalls, next_seq, min_version, key_id, metered, session_id,
            session_turn)
        VALUES ($1, $2, $3, $4, 100, $5, 0, 0, $6, 0, $7, $8, $9, $10)";
    let (state, at) = match new.from {
        From::Ready(at) => (0_i16, at),
        From::Behind(until) => (BEHIND, until),
    };
    let (session, turn) = new.session.unzip();
    let values = [
        new.run_id.into(),
        scope.project.into(),
        scope.environment.as_str().into(),
        state.into(),
        at.0.into(),
        new.next_seq.into(),
        new.capped_key.into(),
        new.metered.into(),
        session.map(str::to_owned).into(),
        turn.unwrap_or(0).into(),
    ];
    tx.execute_raw(statement(tx, sql, values)).await?;
    Ok(())
}

/// True when no worker takes runs of the project any more, since it was deleted.
async fn is_paused(tx: &Tx, scope: Scope) -> Result<bool> {
    let sql = "SELECT 1 FROM lanes
        WHERE project_id = $1 AND environment = $2 AND kind = 'run' AND paused";
    let values = [scope.project.into(), scope.environment.as_str().into()];
    Ok(tx.query_one_raw(statement(tx, sql, values)).await?.is_some())
}

/// Runs of an owner that are ready or leased. One statement, so that a run which is claimed
/// meanwhile counts once.
pub async fn live(tx: &Tx, scope: Scope, most: i64) -> Result<i64> {
    count(tx, scope, &["state = 1", READY[0], READY[1]], most).await
}

/// Runs of an owner that wait for a worker, or behind another run of their session.
pub async fn queued(tx: &Tx, scope: Scope, most: i64) -> Result<i64> {
    count(tx, scope, &[READY[0], READY[1], "state = 3"], most).await
}

/// Runs of a key with a cap of its own that are ready or leased, in all lanes.
pub async fn live_of_key(tx: &Tx, key_id: Uuid, most: i64) -> Result<i64> {
    let sql = "SELECT count(*) FROM (SELECT 1 FROM run_queue
        WHERE key_id = $1 AND state IN (0, 1) LIMIT $2) live";
    number(tx, sql, [key_id.into(), most.into()]).await
}

/// Ready runs: each has an index of its own.
const READY: [&str; 2] = ["state = 0 AND key_id IS NULL", "state = 0 AND key_id IS NOT NULL"];

async fn count(tx: &Tx, scope: Scope, which: &[&str], most: i64) -> Result<i64> {
    let parts = which.iter().map(|which| {
        format!(
            "SELECT 1 FROM (SELECT 1 FROM run_queue
                WHERE project_id = $1 AND environment = $2 AND {which} LIMIT $3) part"
        )
    });
    let parts: Vec<String> = parts.collect();
    let sql = format!("SELECT count(*) FROM ({}) counted", parts.join(" UNION ALL "));
    let values = [scope.project.into(), scope.environment.as_str().into(), most.into()];
    number(tx, &sql, values).await
}

async fn number<const N: usize>(tx: &Tx, sql: &str, values: [Value; N]) -> Result<i64> {
    let row = tx.query_one_raw(statement(tx, sql, values)).await?;
    Ok(row.map(|row| row.try_get_by_index(0)).transpose()?.unwrap_or(0))
}
