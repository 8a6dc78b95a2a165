//! Questions about the queue: one row per run that has not ended, and the only door to its log and
//! journal. Whoever changes a run changes this row first, under its epoch; so everything about one
//! run happens one after the other. Asked by `engine` only.

use sea_orm::{ConnectionTrait, QueryResult, Statement};
use uuid::Uuid;

use super::sessions::Session;
use super::sql::statement;
use super::{Tx, owner};
use crate::kernel::telemetry::Queue;
use crate::kernel::{Error, Result, Scope, Timestamp, faults};

/// A claim: which worker holds which epoch of which run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Lease {
    /// Run.
    pub run_id: Uuid,
    /// Epoch.
    pub epoch: i64,
}

/// What the queue row says after a write under its epoch, or of a run that left the queue.
#[derive(Debug, Clone)]
pub struct Passed {
    /// Number of the next event after those that were asked for.
    pub next_seq: i64,
    /// True when a cancel was asked for.
    pub cancel_requested: bool,
    /// True when the run's tokens count in somebody's quota.
    pub metered: bool,
    /// Its session, when others may wait behind the run: not while it waits behind one itself.
    pub heads: Option<Session>,
}

/// What becomes of a lease that is given back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Release {
    /// In order: the claim does not count as a stall.
    Orderly,
    /// After a failure: the claim counts, and the next one waits the longer the more there were.
    Stalled,
}

/// State of a run that waits behind another one of its session.
pub(super) const BEHIND: i16 = 3;

/// Microseconds that the next claim waits after so many stalls: 0, 1 s, 2 s, 4 s … 60 s.
const BACKOFF: &str = "CASE WHEN stalls <= 1 THEN 0 WHEN stalls >= 8 THEN 60000000
    ELSE (1 << (stalls - 2)) * 1000000 END";

/// What there is to do for a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outlook {
    /// Runs may be claimed, if their lanes have room.
    pub ready: bool,
    /// Runs are to be ended that nobody drives, or whose worker does not.
    pub due: bool,
}

/// Looks what there is to do, in one question. `since`: cancels that were asked for before are
/// overdue.
pub async fn outlook(
    conn: &impl ConnectionTrait,
    version: i32,
    since: Timestamp,
    now: Timestamp,
) -> Result<Outlook> {
    let sql = "SELECT
        EXISTS (SELECT 1 FROM run_queue WHERE state = 0 AND key_id IS NULL
            AND available_at <= $1 AND min_version <= $3)
        OR EXISTS (SELECT 1 FROM run_queue WHERE state = 0 AND key_id IS NOT NULL
            AND available_at <= $1 AND min_version <= $3),
        EXISTS (SELECT 1 FROM run_queue WHERE state >= 2 AND available_at <= $1)
        OR EXISTS (SELECT 1 FROM run_queue WHERE cancel_requested_at IS NOT NULL
            AND (state <> 1 OR cancel_requested_at <= $2))";
    let values = [now.0.into(), since.0.into(), version.into()];
    let row = conn.query_one_raw(statement(conn, sql, values)).await?;
    let row = row.ok_or_else(|| Error::internal("a question without an answer"))?;
    Ok(Outlook { ready: row.try_get_by_index(0)?, due: row.try_get_by_index(1)? })
}

/// How many runs have not ended, of all owners, and since when the first of them is ready. For who
/// looks after the server; each part by an index of its own.
pub async fn depth(conn: &impl ConnectionTrait, now: Timestamp) -> Result<Queue> {
    let sql = "SELECT
        (SELECT count(*) FROM run_queue WHERE state = 0 AND key_id IS NULL)
            + (SELECT count(*) FROM run_queue WHERE state = 0 AND key_id IS NOT NULL),
        (SELECT count(*) FROM run_queue WHERE state = 1),
        (SELECT count(*) FROM run_queue WHERE state >= 2),
        (SELECT count(*) FROM run_queue WHERE state = 3),
        (SELECT min(available_at) FROM run_queue WHERE state = 0 AND key_id IS NULL),
        (SELECT min(available_at) FROM run_queue WHERE state = 0 AND key_id IS NOT NULL)";
    let row = conn.query_one_raw(statement(conn, sql, [])).await?;
    let row = row.ok_or_else(|| Error::internal("a question without an answer"))?;
    let count = |place| -> Result<u64> {
        Ok(u64::try_from(row.try_get_by_index::<i64>(place)?).unwrap_or(0))
    };
    let first = |place| -> Result<Option<i64>> { Ok(row.try_get_by_index(place)?) };
    let oldest = first(4)?.into_iter().chain(first(5)?).min().unwrap_or(now.0);
    Ok(Queue {
        ready: count(0)?,
        leased: count(1)?,
        waiting: count(2)?.saturating_sub(count(3)?),
        behind: count(3)?,
        oldest_us: u64::try_from(now.0.saturating_sub(oldest)).unwrap_or(0),
    })
}

/// Runs of a lane that are leased. Exact while the lane is held.
pub async fn leased(tx: &Tx, scope: Scope) -> Result<i64> {
    let sql = "SELECT count(*) FROM run_queue
        WHERE project_id = $1 AND environment = $2 AND state = 1";
    let values = [scope.project.into(), scope.environment.as_str().into()];
    count(tx, statement(tx, sql, values)).await
}

/// Runs of a key with a cap of its own that are leased, in all lanes. Exact while the key is held.
pub async fn leased_of_key(tx: &Tx, key_id: Uuid) -> Result<i64> {
    let sql = "SELECT count(*) FROM run_queue WHERE key_id = $1 AND state = 1";
    count(tx, statement(tx, sql, [key_id.into()])).await
}

async fn count(tx: &Tx, statement: Statement) -> Result<i64> {
    let row = tx.query_one_raw(statement).await?;
    Ok(row.map(|row| row.try_get_by_index(0)).transpose()?.unwrap_or(0))
}

/// Only the claim that holds the run gets through.
fn fence() -> &'static str {
    if faults::without("epoch") { "$2 IS NOT NULL" } else { "epoch = $2" }
}

/// The fence: sets aside the numbers of `events` events for this claim; `None` when the run is no
/// longer its. A commit that ends a step shows that the run gets on.
pub async fn pass(tx: &Tx, lease: Lease, events: i64, gets_on: bool) -> Result<Option<Passed>> {
    let sql = format!(
        "UPDATE run_queue SET next_seq = next_seq + $3,
            stalls = CASE WHEN $4 THEN 0 ELSE stalls END
        WHERE run_id = $1 AND {} AND state = 1
        RETURNING {PASSED}",
        fence()
    );
    let values = [lease.run_id.into(), lease.epoch.into(), events.into(), gets_on.into()];
    passed(tx.query_one_raw(statement(tx, &sql, values)).await?)
}

/// Removes a claimed run that ends; `None` when it is no longer the claim's.
pub async fn leave(tx: &Tx, lease: Lease) -> Result<Option<Passed>> {
    let sql = format!(
        "DELETE FROM run_queue WHERE run_id = $1 AND {} AND state = 1
        RETURNING {PASSED}",
        fence()
    );
    let values = [lease.run_id.into(), lease.epoch.into()];
    passed(tx.query_one_raw(statement(tx, &sql, values)).await?)
}

/// Lets a claimed run wait for its caller until `until`, after `pass` let it through.
pub async fn park(tx: &Tx, lease: Lease, until: Timestamp) -> Result<()> {
    let sql = "UPDATE run_queue SET state = 2, worker_id = NULL, available_at = $3, stalls = 0
        WHERE run_id = $1 AND epoch = $2 AND state = 1";
    let values = [lease.run_id.into(), lease.epoch.into(), until.0.into()];
    tx.execute_raw(statement(tx, sql, values)).await?;
    Ok(())
}

/// Gives back a claimed run; false when it is no longer the claim's.
pub async fn release(tx: &Tx, lease: Lease, how: Release, now: Timestamp) -> Result<bool> {
    let back = match how {
        Release::Orderly => {
            "stalls = CASE WHEN stalls > 0 THEN stalls - 1 ELSE 0 END, available_at = $3".to_owned()
        }
        Release::Stalled => format!("available_at = $3 + {BACKOFF}"),
    };
    let sql = format!(
        "UPDATE run_queue SET state = 0, worker_id = NULL, priority = 0, {back}
        WHERE run_id = $1 AND epoch = $2 AND state = 1"
    );
    let values = [lease.run_id.into(), lease.epoch.into(), now.0.into()];
    Ok(tx.execute_raw(statement(tx, &sql, values)).await?.rows_affected() == 1)
}

/// Gives back everything that a worker holds, or, with `None`, that anybody holds. How many runs
/// that were.
pub async fn release_all(tx: &Tx, worker: Option<Uuid>, now: Timestamp) -> Result<u64> {
    let sql = format!(
        "UPDATE run_queue SET state = 0, worker_id = NULL, priority = 0,
            available_at = $1 + {BACKOFF}
        WHERE state = 1"
    );
    let done = match worker {
        Some(id) => {
            let sql = format!("{sql} AND worker_id = $2");
            tx.execute_raw(statement(tx, &sql, [now.0.into(), id.into()])).await?
        }
        None => tx.execute_raw(statement(tx, &sql, [now.0.into()])).await?,
    };
    Ok(done.rows_affected())
}

/// What a worker holds, and whether a cancel was asked for.
pub async fn held(conn: &impl ConnectionTrait, worker: Uuid) -> Result<Vec<(Lease, bool)>> {
    let sql = "SELECT run_id, epoch, cancel_requested_at FROM run_queue
        WHERE worker_id = $1 AND state = 1";
    let rows = conn.query_all_raw(statement(conn, sql, [worker.into()])).await?;
    let held = |row: QueryResult| -> Result<(Lease, bool)> {
        let lease = Lease { run_id: row.try_get_by_index(0)?, epoch: row.try_get_by_index(1)? };
        Ok((lease, row.try_get_by_index::<Option<i64>>(2)?.is_some()))
    };
    rows.into_iter().map(held).collect()
}

/// Asks for a cancel: sets aside the number of its event. Says it, and which worker holds the run,
/// if one does. `None` when the owner has no such live run, or a cancel was asked for before.
pub async fn request_cancel(
    tx: &Tx,
    scope: Scope,
    run_id: Uuid,
    now: Timestamp,
) -> Result<Option<(i64, Option<Uuid>)>> {
    let sql = "UPDATE run_queue SET cancel_requested_at = $4, next_seq = next_seq + 1
        WHERE run_id = $1 AND project_id = $2 AND environment = $3
            AND cancel_requested_at IS NULL
        RETURNING next_seq - 1, CASE WHEN state = 1 THEN worker_id END";
    let values =
        [run_id.into(), scope.project.into(), scope.environment.as_str().into(), now.0.into()];
    let Some(row) = tx.query_one_raw(statement(tx, sql, values)).await? else { return Ok(None) };
    Ok(Some((row.try_get_by_index(0)?, row.try_get_by_index(1)?)))
}

/// Locks the live run of an owner; false when there is none.
pub async fn lock(tx: &Tx, scope: Scope, run_id: Uuid) -> Result<bool> {
    let sql = "UPDATE run_queue SET state = state
        WHERE run_id = $1 AND project_id = $2 AND environment = $3";
    let values = [run_id.into(), scope.project.into(), scope.environment.as_str().into()];
    Ok(tx.execute_raw(statement(tx, sql, values)).await?.rows_affected() == 1)
}

/// Makes a waiting run ready, before new ones.
pub async fn wake(tx: &Tx, run_id: Uuid, now: Timestamp) -> Result<()> {
    let sql = "UPDATE run_queue SET state = 0, priority = 50, available_at = $2, stalls = 0
        WHERE run_id = $1 AND state = 2";
    tx.execute_raw(statement(tx, sql, [run_id.into(), now.0.into()])).await?;
    Ok(())
}

/// Runs that wait, for their caller or behind another, and whose time is over.
pub async fn due(conn: &impl ConnectionTrait, now: Timestamp) -> Result<Vec<Uuid>> {
    let sql = "SELECT run_id FROM run_queue WHERE state >= 2 AND available_at <= $1
        ORDER BY available_at LIMIT 100";
    ids(conn.query_all_raw(statement(conn, sql, [now.0.into()])).await?)
}

/// Removes a run that waits and whose time is over; `None` when it is not.
pub async fn expire(tx: &Tx, run_id: Uuid, now: Timestamp) -> Result<Option<Passed>> {
    let sql = format!(
        "DELETE FROM run_queue WHERE run_id = $1 AND state >= 2 AND available_at <= $2
        RETURNING {PASSED}"
    );
    passed(tx.query_one_raw(statement(tx, &sql, [run_id.into(), now.0.into()])).await?)
}

/// Runs whose cancel nobody will confirm: no worker holds them, or theirs has not answered since
/// before `since`.
pub async fn unconfirmed(conn: &impl ConnectionTrait, since: Timestamp) -> Result<Vec<Uuid>> {
    let sql = "SELECT run_id FROM run_queue WHERE cancel_requested_at IS NOT NULL
        AND (state <> 1 OR cancel_requested_at <= $1) LIMIT 100";
    ids(conn.query_all_raw(statement(conn, sql, [since.0.into()])).await?)
}

/// Removes a run whose cancel was asked for, whoever holds it: its worker finds the fence closed.
/// `None` when it has ended.
pub async fn remove_cancelled(tx: &Tx, run_id: Uuid) -> Result<Option<Passed>> {
    let sql = format!(
        "DELETE FROM run_queue WHERE run_id = $1 AND cancel_requested_at IS NOT NULL
        RETURNING {PASSED}"
    );
    passed(tx.query_one_raw(statement(tx, &sql, [run_id.into()])).await?)
}

/// What [`passed`] reads.
const PASSED: &str = "next_seq, cancel_requested_at, metered, state, session_id, project_id,
    environment";

fn passed(row: Option<QueryResult>) -> Result<Option<Passed>> {
    let Some(row) = row else { return Ok(None) };
    let cancel_requested = row.try_get_by_index::<Option<i64>>(1)?.is_some();
    let (next_seq, metered) = (row.try_get_by_index(0)?, row.try_get_by_index(2)?);
    let heads = match row.try_get_by_index::<Option<String>>(4)? {
        Some(id) if row.try_get_by_index::<i16>(3)? != BEHIND => {
            let environment: String = row.try_get_by_index(6)?;
            Some(Session { scope: owner::scope(row.try_get_by_index(5)?, &environment)?, id })
        }
        _ => None,
    };
    Ok(Some(Passed { next_seq, cancel_requested, metered, heads }))
}

fn ids(rows: Vec<QueryResult>) -> Result<Vec<Uuid>> {
    rows.into_iter().map(|row| Ok(row.try_get_by_index(0)?)).collect()
}
