//! Questions about the journal: which steps of a run were begun, and what came of them. Asked by
//! `engine` only, under the fence of the run's queue row.

use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder};
use uuid::Uuid;

use super::Tx;
use super::sql::statement;
use super::tables::run_step;
pub use super::tables::run_step::Model as Row;
use crate::kernel::{Result, Timestamp, faults};

/// A step that begins.
#[derive(Debug, Clone, Copy)]
pub struct Begun<'a> {
    /// Round.
    pub step: i32,
    /// Call in the round.
    pub call: i32,
    /// Kind.
    pub kind: &'a str,
    /// Key that goes out with the call.
    pub idem_key: &'a str,
    /// What is intended, JSON.
    pub request: &'a str,
}

/// A step that ends.
#[derive(Debug, Clone, Copy)]
pub struct Ended<'a> {
    /// Round.
    pub step: i32,
    /// Call in the round.
    pub call: i32,
    /// 1 ok, 2 error, 3 unknown.
    pub status: i16,
    /// What came of it, JSON.
    pub result: &'a str,
}

/// The claim that writes.
#[derive(Debug, Clone, Copy)]
pub struct Writer {
    /// Run.
    pub run_id: Uuid,
    /// Epoch of the claim.
    pub epoch: i64,
    /// When.
    pub now: Timestamp,
}

/// Writes the intent; a step that another claim had begun counts one attempt more. One that has
/// ended stays as it is.
pub async fn begin(tx: &Tx, writer: Writer, begun: Begun<'_>) -> Result<()> {
    let sql = "INSERT INTO run_steps AS s
        (run_id, step, call, kind, idem_key, status, attempt, epoch, request, started_at)
        VALUES ($1, $2, $3, $4, $5, 0, 1, $6, $7, $8)
        ON CONFLICT (run_id, step, call) DO UPDATE SET
            attempt = s.attempt + CASE WHEN s.epoch <> excluded.epoch THEN 1 ELSE 0 END,
            epoch = excluded.epoch, request = excluded.request
        WHERE s.status = 0";
    let values = [
        writer.run_id.into(),
        begun.step.into(),
        begun.call.into(),
        begun.kind.into(),
        begun.idem_key.into(),
        writer.epoch.into(),
        begun.request.into(),
        writer.now.0.into(),
    ];
    tx.execute_raw(statement(tx, sql, values)).await?;
    Ok(())
}

/// Writes the end of a begun step; false when it is not begun, or has ended.
pub async fn end(tx: &Tx, writer: Writer, ended: Ended<'_>) -> Result<bool> {
    let open = if faults::without("status") { "" } else { " AND status = 0" };
    let sql = format!(
        "UPDATE run_steps SET status = $4, result = $5, epoch = $6, finished_at = $7
        WHERE run_id = $1 AND step = $2 AND call = $3{open}"
    );
    let values = [
        writer.run_id.into(),
        ended.step.into(),
        ended.call.into(),
        ended.status.into(),
        ended.result.into(),
        writer.epoch.into(),
        writer.now.0.into(),
    ];
    Ok(tx.execute_raw(statement(tx, &sql, values)).await?.rows_affected() == 1)
}

/// The journal of a run, in order of step and call.
pub async fn list(conn: &impl ConnectionTrait, run_id: Uuid) -> Result<Vec<Row>> {
    let all = run_step::Entity::find()
        .filter(run_step::Column::RunId.eq(run_id))
        .order_by_asc(run_step::Column::Step)
        .order_by_asc(run_step::Column::Call);
    Ok(all.all(conn).await?)
}
