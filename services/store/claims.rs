//! Questions that claim: which of the ready runs of a lane a worker takes next. Beside `queue.rs`,
//! which has the rest of the row's life. Asked by `engine` only, with the lane in hand.

use sea_orm::{ConnectionTrait, DbBackend, QueryResult, Statement, Value};
use uuid::Uuid;

use super::Tx;
use super::lanes::Lane;
use super::queue::Lease;
use super::sql::{pieces, places, skip_locked, statement};
use crate::kernel::{Result, Scope, Timestamp};

/// Who claims.
#[derive(Debug, Clone, Copy)]
pub struct Claimer {
    /// Worker.
    pub worker: Uuid,
    /// Newest version of the journal that it can read.
    pub version: i32,
    /// When.
    pub now: Timestamp,
}

/// A run that was just claimed.
#[derive(Debug, Clone, Copy)]
pub struct Claimed {
    /// The claim.
    pub lease: Lease,
    /// Claims since the last completed step, with this one.
    pub stalls: i32,
    /// Number that was set aside for the event that tells of the claim.
    pub seq: i64,
    /// Since when it might have been claimed.
    pub available_at: Timestamp,
}

/// A run that may be claimed. They go in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Candidate {
    /// Lower goes first.
    pub priority: i16,
    /// Since when it may be claimed.
    pub available_at: i64,
    /// Run.
    pub run_id: Uuid,
}

/// Claims without progress after which a run is taken alone: it may be what ends its workers. Those
/// that were beside it are taken alone too, and so get on; else they would share its fate to the
/// end, for what was lost together is ready together.
const SUSPECT: i32 = 3;

/// The condition that a ready run is no suspect, or the first of those in its lane and of its kind
/// of keys, and the worker drives none. `place` names the lane and what a run must be to be due.
fn alone(worker: &str, place: &str) -> String {
    format!(
        "(stalls < {SUSPECT} OR run_id = (SELECT run_id FROM run_queue
            WHERE {place} AND priority = 0 AND stalls >= {SUSPECT}
                AND NOT EXISTS (SELECT 1 FROM run_queue held WHERE held.worker_id = {worker}
                    AND held.state = 1 AND held.stalls > {SUSPECT})
            ORDER BY priority, available_at, run_id LIMIT 1 + 0))"
    )
}

/// Leases up to `most` ready runs of a lane to a worker, of keys without a cap of their own. What
/// it writes of them, an older worker may not be able to read: it does not get them again. For
/// the `+ 0`, see [`super::lanes::ready`].
pub async fn claim(tx: &Tx, claimer: Claimer, lane: Lane, most: i64) -> Result<Vec<Claimed>> {
    // Postgres might ask the subquery again for each row; an array it makes once.
    let (from, to) = match tx.get_database_backend() {
        DbBackend::Postgres => ("= ANY (ARRAY(", "))"),
        _ => ("IN (", ")"),
    };
    let place = "project_id = $2 AND environment = $3 AND state = 0 AND key_id IS NULL
        AND available_at <= $4 AND cancel_requested_at IS NULL AND min_version <= $6";
    let alone = alone("$1", place);
    let sql = format!(
        "UPDATE run_queue SET state = 1, worker_id = $1, epoch = epoch + 1, stalls = stalls + 1,
            next_seq = next_seq + 1, min_version = $6
        WHERE run_id {from}SELECT run_id FROM run_queue
            WHERE {place} AND {alone}
            ORDER BY priority, available_at, run_id LIMIT $5 + 0{}{to}
        RETURNING run_id, epoch, stalls, next_seq - 1, available_at",
        skip_locked(tx, "run_queue")
    );
    let (Scope { project, environment }, Claimer { worker, version, now }) = (lane.scope, claimer);
    let values = [
        worker.into(),
        project.into(),
        environment.as_str().into(),
        now.0.into(),
        most.into(),
        version.into(),
    ];
    let rows = tx.query_all_raw(statement(tx, &sql, values)).await?;
    rows.into_iter().map(claimed).collect()
}

/// The first due runs of a lane, at most `most`, of one key with a cap of its own or of all keys
/// without; held until the transaction ends.
pub async fn first(
    tx: &Tx,
    claimer: Claimer,
    scope: Scope,
    capped_key: Option<Uuid>,
    most: i64,
) -> Result<Vec<Candidate>> {
    let key = if capped_key.is_some() { "= $7" } else { "IS NULL" };
    let place = format!(
        "project_id = $1 AND environment = $2 AND state = 0 AND key_id {key}
            AND available_at <= $3 AND cancel_requested_at IS NULL AND min_version <= $5"
    );
    let alone = alone("$6", &place);
    let sql = format!(
        "SELECT priority, available_at, run_id FROM run_queue
        WHERE {place} AND {alone}
        ORDER BY priority, available_at, run_id LIMIT $4 + 0{}",
        skip_locked(tx, "run_queue")
    );
    let Scope { project, environment } = scope;
    let Claimer { worker, version, now } = claimer;
    let mut values: Vec<Value> = vec![
        project.into(),
        environment.as_str().into(),
        now.0.into(),
        most.into(),
        version.into(),
        worker.into(),
    ];
    values.extend(capped_key.map(Value::from));
    let statement = Statement::from_sql_and_values(tx.get_database_backend(), sql, values);
    let candidate = |row: QueryResult| -> Result<Candidate> {
        let (priority, available_at) = (row.try_get_by_index(0)?, row.try_get_by_index(1)?);
        Ok(Candidate { priority, available_at, run_id: row.try_get_by_index(2)? })
    };
    tx.query_all_raw(statement).await?.into_iter().map(candidate).collect()
}

/// Leases runs that are held to a worker.
pub async fn lease(tx: &Tx, claimer: Claimer, runs: &[Uuid]) -> Result<Vec<Claimed>> {
    let mut all = Vec::with_capacity(runs.len());
    for piece in pieces(runs) {
        let sql = format!(
            "UPDATE run_queue SET state = 1, worker_id = $1, epoch = epoch + 1,
                stalls = stalls + 1, next_seq = next_seq + 1, min_version = $2
            WHERE run_id IN ({}) AND state = 0
            RETURNING run_id, epoch, stalls, next_seq - 1, available_at",
            places(3, piece.len())
        );
        let mut values: Vec<Value> = vec![claimer.worker.into(), claimer.version.into()];
        values.extend(piece.iter().map(|id| Value::from(*id)));
        let backend = tx.get_database_backend();
        let rows = tx.query_all_raw(Statement::from_sql_and_values(backend, sql, values)).await?;
        for row in rows {
            all.push(claimed(row)?);
        }
    }
    Ok(all)
}

fn claimed(row: QueryResult) -> Result<Claimed> {
    let lease = Lease { run_id: row.try_get_by_index(0)?, epoch: row.try_get_by_index(1)? };
    let (stalls, seq) = (row.try_get_by_index(2)?, row.try_get_by_index(3)?);
    let available_at = Timestamp(row.try_get_by_index(4)?);
    Ok(Claimed { lease, stalls, seq, available_at })
}
