//! Questions about workers: which processes hold leases, and which have stopped beating. Asked by
//! `engine` only.

use sea_orm::{ConnectionTrait, EntityTrait};
use uuid::Uuid;

use super::Tx;
use super::sql::{key_share, statement};
use super::tables::worker;
use crate::kernel::{Result, Timestamp, faults};

/// Adds a worker, whose lease ends at `lease_until`. Adding it again is no error.
pub async fn register(tx: &Tx, id: Uuid, now: Timestamp, lease_until: Timestamp) -> Result<()> {
    let sql = "INSERT INTO workers (id, beat, lease_until, started_at, version)
        VALUES ($1, 0, $2, $3, 0)
        ON CONFLICT (id) DO UPDATE SET lease_until = excluded.lease_until";
    let values = [id.into(), lease_until.0.into(), now.0.into()];
    tx.execute_raw(statement(tx, sql, values)).await?;
    Ok(())
}

/// One heartbeat; false when the worker has been reaped.
pub async fn beat(tx: &Tx, id: Uuid, lease_until: Timestamp) -> Result<bool> {
    let sql = "UPDATE workers SET beat = beat + 1, lease_until = $2 WHERE id = $1";
    let done = tx.execute_raw(statement(tx, sql, [id.into(), lease_until.0.into()])).await?;
    Ok(done.rows_affected() == 1)
}

/// True when the worker has not been reaped; it cannot be before the transaction ends.
pub async fn hold(tx: &Tx, id: Uuid) -> Result<bool> {
    if faults::without("key_share") {
        return Ok(true);
    }
    let sql = format!("SELECT 1 FROM workers WHERE id = $1{}", key_share(tx));
    Ok(tx.query_one_raw(statement(tx, &sql, [id.into()])).await?.is_some())
}

/// Every worker.
pub async fn list(conn: &impl ConnectionTrait) -> Result<Vec<worker::Model>> {
    Ok(worker::Entity::find().all(conn).await?)
}

/// Removes a worker that still stands at `beat`; false when it has beaten since, or is gone.
pub async fn remove(tx: &Tx, id: Uuid, beat: i64) -> Result<bool> {
    let sql = "DELETE FROM workers WHERE id = $1 AND beat = $2";
    let done = tx.execute_raw(statement(tx, sql, [id.into(), beat.into()])).await?;
    Ok(done.rows_affected() == 1)
}

/// Removes a worker that ends in order.
pub async fn resign(tx: &Tx, id: Uuid) -> Result<()> {
    let sql = "DELETE FROM workers WHERE id = $1";
    tx.execute_raw(statement(tx, sql, [id.into()])).await?;
    Ok(())
}

/// Removes all workers: only the owner of an exclusive database may.
pub async fn remove_all(tx: &Tx) -> Result<()> {
    tx.execute_raw(statement(tx, "DELETE FROM workers", [])).await?;
    Ok(())
}
