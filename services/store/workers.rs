//! Questions about workers: which processes hold leases, and which have stopped beating. Asked by
//! `engine` only, and by `serve` for how many share the limits.

use sea_orm::{ConnectionTrait, DbBackend, EntityTrait, QueryResult};
use uuid::Uuid;

use super::queue::{self, Lease};
use super::sql::{key_share, statement};
use super::tables::worker;
use super::{Store, Tx};
use crate::kernel::{Result, Timestamp, faults};

/// A worker as another one sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sight {
    /// Worker.
    pub id: Uuid,
    /// How often it has beaten.
    pub beat: i64,
    /// When its lease ends.
    pub lease_until: Timestamp,
}

/// What a heartbeat has found.
#[derive(Debug, Default)]
pub struct Beat {
    /// What the worker holds, and whether a cancel was asked for.
    pub held: Vec<(Lease, bool)>,
    /// The other workers.
    pub others: Vec<Sight>,
}

/// Adds a worker whose journal is of this version, and whose lease ends at `lease_until`. Adding it
/// again is no error.
pub async fn register(
    tx: &Tx,
    id: Uuid,
    version: i32,
    now: Timestamp,
    lease_until: Timestamp,
) -> Result<()> {
    let sql = "INSERT INTO workers (id, beat, lease_until, started_at, version)
        VALUES ($1, 0, $2, $3, $4)
        ON CONFLICT (id) DO UPDATE SET lease_until = excluded.lease_until";
    let values = [id.into(), lease_until.0.into(), now.0.into(), version.into()];
    tx.execute_raw(statement(tx, sql, values)).await?;
    Ok(())
}

/// One heartbeat, in one round trip: the beat, what the worker holds, and how the others stand.
/// `None` when the worker has been reaped. A store that no other process shares needs no beat.
pub async fn beat(store: &Store, id: Uuid, lease_until: Timestamp) -> Result<Option<Beat>> {
    let conn = store.read();
    if conn.get_database_backend() != DbBackend::Postgres {
        let held = queue::held(conn, id).await?;
        return Ok(Some(Beat { held, others: Vec::new() }));
    }
    // One statement is its own transaction there.
    let sql = "WITH own AS (UPDATE workers SET beat = beat + 1, lease_until = $2 WHERE id = $1
            RETURNING id)
        SELECT 0, id, CAST(0 AS BIGINT), CAST(NULL AS BIGINT) FROM own
        UNION ALL SELECT 1, run_id, epoch, cancel_requested_at FROM run_queue
            WHERE worker_id = $1 AND state = 1
        UNION ALL SELECT 2, id, beat, lease_until FROM workers WHERE id <> $1";
    let (mut beat, mut alive) = (Beat::default(), false);
    for row in conn.query_all_raw(statement(conn, sql, [id.into(), lease_until.0.into()])).await? {
        alive |= beat.read(&row)?;
    }
    Ok(alive.then_some(beat))
}

impl Beat {
    /// Takes a row; true when it says that the worker lives.
    fn read(&mut self, row: &QueryResult) -> Result<bool> {
        let (kind, id, number) =
            (row.try_get_by_index::<i32>(0)?, row.try_get_by_index(1)?, row.try_get_by_index(2)?);
        let at: Option<i64> = row.try_get_by_index(3)?;
        match kind {
            0 => return Ok(true),
            1 => self.held.push((Lease { run_id: id, epoch: number }, at.is_some())),
            _ => {
                let lease_until = Timestamp(at.unwrap_or_default());
                self.others.push(Sight { id, beat: number, lease_until });
            }
        }
        Ok(false)
    }
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
