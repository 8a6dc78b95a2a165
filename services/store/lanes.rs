//! Questions about lanes: how many runs of an owner may go at once, and whose turn it is; and how
//! many of a key's, for keys with a cap of their own. Asked by `engine` only. Locking a lane is
//! what makes its cap exact: whoever claims from it holds it. Claims never wait for a lane that
//! another holds, so they cannot end in a deadlock.

use sea_orm::{ConnectionTrait, QueryResult};
use uuid::Uuid;

use super::claims::Claimer;
use super::sql::{skip_locked, statement, take_turns};
use super::{Tx, owner};
use crate::kernel::{Environment, Result, Scope, Timestamp};

/// A lane whose turn it is.
#[derive(Debug, Clone, Copy)]
pub struct Lane {
    /// Whose it is.
    pub scope: Scope,
    /// Most leased runs.
    pub cap: i64,
    /// True when runs are ready in it whose key has a cap of its own.
    pub capped: bool,
}

/// A key with a cap of its own, ready runs in a lane, and room when the question was asked.
#[derive(Debug, Clone, Copy)]
pub struct CappedKey {
    /// Key.
    pub key_id: Uuid,
    /// Most leased runs.
    pub cap: i64,
}

/// Sets the cap of an owner's lane, and makes the lane when there is none.
pub async fn set_cap(tx: &Tx, scope: Scope, cap: u32) -> Result<()> {
    upsert(tx, (scope.project, scope.environment.as_str(), "run"), cap).await
}

/// Sets the cap of a key.
pub async fn set_key_cap(tx: &Tx, key_id: Uuid, cap: u32) -> Result<()> {
    upsert(tx, (key_id, "", "key"), cap).await
}

async fn upsert(tx: &Tx, (id, environment, kind): (Uuid, &str, &str), cap: u32) -> Result<()> {
    // Where it is so already, nothing is locked.
    let sql = "INSERT INTO lanes (project_id, environment, kind, cap, last_served_at, paused)
        SELECT $1, $2, $3, $4, 0, FALSE WHERE NOT EXISTS (SELECT 1 FROM lanes
            WHERE project_id = $1 AND environment = $2 AND kind = $3 AND cap = $4)
        ON CONFLICT (project_id, environment, kind) DO UPDATE SET cap = excluded.cap";
    let cap = i32::try_from(cap).unwrap_or(i32::MAX);
    let values = [id.into(), environment.into(), kind.into(), cap.into()];
    tx.execute_raw(statement(tx, sql, values)).await?;
    Ok(())
}

/// Lets one after the other create runs of an owner, until the transaction ends. Not by the lane's
/// row: while creations queue for that, a claim would seldom get it.
pub async fn take_turns_creating(tx: &Tx, scope: Scope) -> Result<()> {
    take_turns(tx, scope.project, scope.environment == Environment::Live).await
}

/// The same for runs of a key, in whatever lane. Asked after the lane, never before.
pub async fn take_turns_with_key(tx: &Tx, key_id: Uuid) -> Result<()> {
    take_turns(tx, key_id, false).await
}

/// Whose runs are ready: lanes, and keys with a cap in lanes. Both leap over the index from one to
/// the next, so they take as many steps as they find, however many runs each has.
///
/// SQLite begins where a row of values would be, not behind all that begin with it: hence the
/// priority that no run has. It compares whole rows only if the types fit: hence the `|| ''`.
const READY: &str = "lanes_ready(project_id, environment) AS (
        SELECT q.project_id, q.environment FROM run_queue q
        WHERE q.run_id = (SELECT n.run_id FROM run_queue n
            WHERE n.state = 0 AND n.key_id IS NULL
            ORDER BY n.project_id, n.environment, n.priority, n.available_at, n.run_id LIMIT 1)
        UNION ALL
        SELECT q.project_id, q.environment FROM lanes_ready r JOIN run_queue q
        ON q.run_id = (SELECT n.run_id FROM run_queue n
            WHERE n.state = 0 AND n.key_id IS NULL
                AND (n.project_id, n.environment, n.priority)
                    > (r.project_id, r.environment || '', 32767)
            ORDER BY n.project_id, n.environment, n.priority, n.available_at, n.run_id LIMIT 1)
    ), keys_ready(project_id, environment, key_id) AS (
        SELECT q.project_id, q.environment, q.key_id FROM run_queue q
        WHERE q.run_id = (SELECT n.run_id FROM run_queue n
            WHERE n.state = 0 AND n.key_id IS NOT NULL
            ORDER BY n.project_id, n.environment, n.key_id, n.priority, n.available_at, n.run_id
            LIMIT 1)
        UNION ALL
        SELECT q.project_id, q.environment, q.key_id FROM keys_ready r JOIN run_queue q
        ON q.run_id = (SELECT n.run_id FROM run_queue n
            WHERE n.state = 0 AND n.key_id IS NOT NULL
                AND (n.project_id, n.environment, n.key_id, n.priority)
                    > (r.project_id, r.environment || '', r.key_id, 32767)
            ORDER BY n.project_id, n.environment, n.key_id, n.priority, n.available_at, n.run_id
            LIMIT 1)
    )";

/// Lanes with runs that may be claimed, the longest unserved first; held until the transaction
/// ends. A lane in which all ready runs wait for their keys is none of them.
///
/// `+ 0` hides the limit from SQLite's planner, which would plan anew each time to look at it.
/// `IS NOT NULL` instead of `EXISTS`, with an order that only the right index has, keeps Postgres
/// from reading all that is ready.
pub async fn ready(tx: &Tx, claimer: Claimer, most: i64) -> Result<Vec<Lane>> {
    let sql = format!(
        "WITH RECURSIVE {READY}
        SELECT l.project_id, l.environment, l.cap,
            EXISTS (SELECT 1 FROM run_queue q
                WHERE q.project_id = l.project_id AND q.environment = l.environment
                    AND q.state = 0 AND q.key_id IS NOT NULL)
        FROM (
            SELECT r.project_id, r.environment FROM lanes_ready r
            WHERE (SELECT q.run_id FROM run_queue q
                WHERE q.project_id = r.project_id AND q.environment = r.environment
                    AND q.state = 0 AND q.key_id IS NULL AND q.available_at <= $1
                    AND q.cancel_requested_at IS NULL AND q.min_version <= $3
                ORDER BY q.priority, q.available_at, q.run_id LIMIT 1) IS NOT NULL
            UNION
            SELECT r.project_id, r.environment FROM keys_ready r
            WHERE (SELECT q.run_id FROM run_queue q
                WHERE q.project_id = r.project_id AND q.environment = r.environment
                    AND q.key_id = r.key_id AND q.state = 0 AND q.available_at <= $1
                    AND q.cancel_requested_at IS NULL AND q.min_version <= $3
                ORDER BY q.priority, q.available_at, q.run_id LIMIT 1) IS NOT NULL
                AND (SELECT count(*) FROM run_queue q WHERE q.key_id = r.key_id AND q.state = 1)
                    < (SELECT k.cap FROM lanes k WHERE k.project_id = r.key_id
                        AND k.environment = '' AND k.kind = 'key')
        ) s JOIN lanes l ON l.project_id = s.project_id AND l.environment = s.environment
            AND l.kind = 'run'
        WHERE NOT l.paused AND (SELECT count(*) FROM run_queue q
            WHERE q.project_id = s.project_id AND q.environment = s.environment
                AND q.state = 1) < l.cap
        ORDER BY l.last_served_at LIMIT $2 + 0{}",
        skip_locked(tx, "l")
    );
    let values = [claimer.now.0.into(), most.into(), claimer.version.into()];
    let rows = tx.query_all_raw(statement(tx, &sql, values)).await?;
    let lane = |row: QueryResult| -> Result<Lane> {
        let environment: String = row.try_get_by_index(1)?;
        let scope = owner::scope(row.try_get_by_index(0)?, &environment)?;
        let cap = i64::from(row.try_get_by_index::<i32>(2)?);
        Ok(Lane { scope, cap, capped: row.try_get_by_index(3)? })
    };
    rows.into_iter().map(lane).collect()
}

/// Keys with a cap of their own that have due runs in this lane and room, those with the first runs
/// first; held until the transaction ends. A key that is claimed for in another lane at the moment
/// is left out.
pub async fn capped(tx: &Tx, claimer: Claimer, scope: Scope, most: i64) -> Result<Vec<CappedKey>> {
    let sql = format!(
        "WITH RECURSIVE keys(id) AS (
            SELECT (SELECT q.key_id FROM run_queue q
                WHERE q.project_id = $1 AND q.environment = $2 AND q.state = 0
                    AND q.key_id IS NOT NULL
                ORDER BY q.key_id, q.priority, q.available_at, q.run_id LIMIT 1)
            UNION ALL
            SELECT (SELECT q.key_id FROM run_queue q
                WHERE q.project_id = $1 AND q.environment = $2 AND q.state = 0
                    AND q.key_id > keys.id
                ORDER BY q.key_id, q.priority, q.available_at, q.run_id LIMIT 1)
            FROM keys WHERE keys.id IS NOT NULL
        )
        SELECT k.project_id, k.cap
        FROM keys JOIN lanes k ON k.project_id = keys.id AND k.environment = '' AND k.kind = 'key'
            JOIN run_queue h ON h.run_id = (SELECT q.run_id FROM run_queue q
                WHERE q.project_id = $1 AND q.environment = $2 AND q.key_id = keys.id
                    AND q.state = 0 AND q.available_at <= $3 AND q.cancel_requested_at IS NULL
                    AND q.min_version <= $5
                ORDER BY q.priority, q.available_at, q.run_id LIMIT 1)
        WHERE (SELECT count(*) FROM run_queue q WHERE q.key_id = keys.id AND q.state = 1) < k.cap
        ORDER BY h.priority, h.available_at, h.run_id LIMIT $4 + 0{}",
        skip_locked(tx, "k")
    );
    let Scope { project, environment } = scope;
    let Claimer { version, now, .. } = claimer;
    let values =
        [project.into(), environment.as_str().into(), now.0.into(), most.into(), version.into()];
    let rows = tx.query_all_raw(statement(tx, &sql, values)).await?;
    let key = |row: QueryResult| -> Result<CappedKey> {
        let cap = i64::from(row.try_get_by_index::<i32>(1)?);
        Ok(CappedKey { key_id: row.try_get_by_index(0)?, cap })
    };
    rows.into_iter().map(key).collect()
}

/// Sends the lane to the back of the line.
pub async fn served(tx: &Tx, scope: Scope, now: Timestamp) -> Result<()> {
    let sql = "UPDATE lanes SET last_served_at = $3
        WHERE project_id = $1 AND environment = $2 AND kind = 'run'";
    let values = [scope.project.into(), scope.environment.as_str().into(), now.0.into()];
    tx.execute_raw(statement(tx, sql, values)).await?;
    Ok(())
}
