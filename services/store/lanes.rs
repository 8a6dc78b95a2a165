//! Questions about lanes: how many runs of an owner may go at once, and whose turn it is. Asked by
//! `engine` only. Locking a lane is what makes its cap exact: whoever claims from it holds it.

use sea_orm::ConnectionTrait;

use super::Tx;
use super::sql::{skip_locked, statement};
use crate::kernel::{Environment, Error, Result, Scope, Timestamp};

/// A lane whose turn it is.
#[derive(Debug, Clone, Copy)]
pub struct Lane {
    /// Whose it is.
    pub scope: Scope,
    /// Most leased runs.
    pub cap: i64,
}

/// Makes the lane of an owner, unless there is one.
pub async fn ensure(tx: &Tx, scope: Scope, cap: i32) -> Result<()> {
    let sql = "INSERT INTO lanes (project_id, environment, kind, cap, last_served_at, paused)
        VALUES ($1, $2, 'run', $3, 0, FALSE) ON CONFLICT DO NOTHING";
    let values = [scope.project.into(), scope.environment.as_str().into(), cap.into()];
    tx.execute_raw(statement(tx, sql, values)).await?;
    Ok(())
}

/// Sets the cap of an owner's lane.
pub async fn set_cap(tx: &Tx, scope: Scope, cap: i32) -> Result<()> {
    let sql = "INSERT INTO lanes (project_id, environment, kind, cap, last_served_at, paused)
        VALUES ($1, $2, 'run', $3, 0, FALSE)
        ON CONFLICT (project_id, environment, kind) DO UPDATE SET cap = excluded.cap";
    let values = [scope.project.into(), scope.environment.as_str().into(), cap.into()];
    tx.execute_raw(statement(tx, sql, values)).await?;
    Ok(())
}

/// Lanes with ready runs and room, the longest unserved first; held until the transaction ends.
/// `+ 0` hides the limit from SQLite's planner, which would plan anew each time to look at it.
pub async fn ready(tx: &Tx, now: Timestamp, most: i64) -> Result<Vec<Lane>> {
    let sql = format!(
        "SELECT l.project_id, l.environment, l.cap FROM lanes l
        WHERE l.kind = 'run' AND NOT l.paused
            AND EXISTS (SELECT 1 FROM run_queue q
                WHERE q.project_id = l.project_id AND q.environment = l.environment
                    AND q.state = 0 AND q.available_at <= $1 AND q.cancel_requested_at IS NULL)
            AND (SELECT count(*) FROM run_queue q
                WHERE q.project_id = l.project_id AND q.environment = l.environment
                    AND q.state = 1) < l.cap
        ORDER BY l.last_served_at LIMIT $2 + 0{}",
        skip_locked(tx)
    );
    let rows = tx.query_all_raw(statement(tx, &sql, [now.0.into(), most.into()])).await?;
    let lane = |row: sea_orm::QueryResult| -> Result<Lane> {
        let environment: String = row.try_get_by_index(1)?;
        let environment = Environment::parse(&environment)
            .ok_or_else(|| Error::internal(format!("a lane has the environment {environment}")))?;
        let scope = Scope { project: row.try_get_by_index(0)?, environment };
        Ok(Lane { scope, cap: i64::from(row.try_get_by_index::<i32>(2)?) })
    };
    rows.into_iter().map(lane).collect()
}

/// Sends the lane to the back of the line.
pub async fn served(tx: &Tx, scope: Scope, now: Timestamp) -> Result<()> {
    let sql = "UPDATE lanes SET last_served_at = $3
        WHERE project_id = $1 AND environment = $2 AND kind = 'run'";
    let values = [scope.project.into(), scope.environment.as_str().into(), now.0.into()];
    tx.execute_raw(statement(tx, sql, values)).await?;
    Ok(())
}
