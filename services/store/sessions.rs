//! Questions about conversations: runs of one owner with the same session id, which go one after
//! the other in the order of their turns. Asked by `engine` only; who may join one says `reach.rs`.
//!
//! Locks are taken in one order, so that nobody ends in a deadlock: the turns of who creates, rows
//! of the queue by their turns, and last the turns of who ends. With those in hand, only whoever
//! has ended the first run waits for a row: that of the next. So nobody waits for these turns who
//! holds a row of the session without having held all before it, whether they are being cancelled
//! or not. Whoever ends a run that waits behind another takes no turns: nobody waits for it.

use std::collections::HashMap;

use sea_orm::{ConnectionTrait, Statement, Value};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::queue::BEHIND;
use super::sql::{lock_rows, pieces, places, statement, take_turns};
use super::{Tx, owner};
use crate::kernel::{Result, Scope, Timestamp};

/// A conversation: the same id of another owner is another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Whose it is.
    pub scope: Scope,
    /// Its id, as the owner has chosen it.
    pub id: String,
}

/// A run that has not ended.
#[derive(Debug, Clone, Copy)]
pub struct Live {
    /// Run.
    pub run_id: Uuid,
    /// Nobody has asked to cancel it.
    pub goes_on: bool,
}

impl Session {
    /// The name of its locks.
    fn name(&self) -> Uuid {
        let mut hash = Sha256::new();
        hash.update(b"session");
        hash.update(self.scope.project.as_bytes());
        for part in [self.scope.environment.as_str(), &self.id] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        let digest: [u8; 32] = hash.finalize().into();
        let mut half = [0; 16];
        half.copy_from_slice(&digest[..16]);
        Uuid::from_bytes(half)
    }

    /// Owner and id, as the questions here take them.
    fn values(&self) -> [Value; 3] {
        let Scope { project, environment } = self.scope;
        [project.into(), environment.as_str().into(), self.id.clone().into()]
    }
}

/// Lets one after the other create runs of the session, until the transaction ends.
pub async fn take_turns_creating(tx: &Tx, session: &Session) -> Result<()> {
    take_turns(tx, session.name(), false).await
}

/// Lets one after the other decide which run of the session goes next, until the transaction ends.
/// Whoever holds it waits for no row of the queue that another may hold who waits for it.
pub async fn take_turns_ending(tx: &Tx, session: &Session) -> Result<()> {
    take_turns(tx, session.name(), true).await
}

/// Runs of the session that have not ended, in their order, at most `most`; their rows are held
/// until the transaction ends, each after those before it.
pub async fn hold_live(tx: &Tx, session: &Session, most: i64) -> Result<Vec<Live>> {
    let sql = format!(
        "SELECT q.run_id, q.cancel_requested_at FROM run_queue q
        WHERE q.project_id = $1 AND q.environment = $2 AND q.session_id = $3
        ORDER BY q.session_turn LIMIT $4 + 0{}",
        lock_rows(tx, "q")
    );
    let [project, environment, id] = session.values();
    let values = [project, environment, id, most.into()];
    let rows = tx.query_all_raw(statement(tx, &sql, values)).await?;
    let live = |row: sea_orm::QueryResult| {
        let goes_on = row.try_get_by_index::<Option<i64>>(1)?.is_none();
        Ok(Live { run_id: row.try_get_by_index(0)?, goes_on })
    };
    rows.into_iter().map(live).collect()
}

/// The run whose turn it is, and whether it waits behind one that is no more; `None` when no run of
/// the session is live.
async fn first(tx: &Tx, session: &Session) -> Result<Option<(Uuid, bool)>> {
    let sql = "SELECT run_id, state FROM run_queue
        WHERE project_id = $1 AND environment = $2 AND session_id = $3
        ORDER BY session_turn LIMIT 1";
    let row = tx.query_one_raw(statement(tx, sql, session.values())).await?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some((row.try_get_by_index(0)?, row.try_get_by_index::<i16>(1)? == BEHIND)))
}

/// True while a run of the session has not ended. Exact while its turns are held.
pub async fn is_busy(tx: &Tx, session: &Session) -> Result<bool> {
    Ok(first(tx, session).await?.is_some())
}

/// The turn of the next run. Exact while its turns are held.
pub async fn next_turn(tx: &Tx, session: &Session) -> Result<i64> {
    let sql = "SELECT session_turn FROM runs
        WHERE project_id = $1 AND environment = $2 AND session_id = $3
        ORDER BY session_turn DESC, id DESC LIMIT 1";
    let row = tx.query_one_raw(statement(tx, sql, session.values())).await?;
    let last: Option<i64> = row.map(|row| row.try_get_by_index(0)).transpose()?;
    Ok(last.unwrap_or(0) + 1)
}

/// Makes the run ready that waits behind the one that has just ended; false when none does.
pub async fn go_on(tx: &Tx, session: &Session, now: Timestamp) -> Result<bool> {
    take_turns_ending(tx, session).await?;
    // One that is being cancelled is gone when its row is let go: then the one behind it goes.
    while let Some((run_id, true)) = first(tx, session).await? {
        let sql = "UPDATE run_queue SET state = 0, available_at = $2
            WHERE run_id = $1 AND state = 3";
        let done = tx.execute_raw(statement(tx, sql, [run_id.into(), now.0.into()])).await?;
        if done.rows_affected() == 1 {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Sessions whose first run waits, though there is none before it that could make it ready; at most
/// a hundred. Nobody of this version leaves one so.
pub async fn stranded(conn: &impl ConnectionTrait) -> Result<Vec<Session>> {
    let sql = "SELECT q.project_id, q.environment, q.session_id FROM run_queue q
        WHERE q.state = 3 AND q.session_id IS NOT NULL AND NOT EXISTS (
            SELECT 1 FROM run_queue b
            WHERE b.project_id = q.project_id AND b.environment = q.environment
                AND b.session_id = q.session_id AND b.session_turn < q.session_turn)
        LIMIT 100";
    let rows = conn.query_all_raw(statement(conn, sql, [])).await?;
    let session = |row: sea_orm::QueryResult| -> Result<Session> {
        let environment: String = row.try_get_by_index(1)?;
        let scope = owner::scope(row.try_get_by_index(0)?, &environment)?;
        Ok(Session { scope, id: row.try_get_by_index(2)? })
    };
    rows.into_iter().map(session).collect()
}

/// Runs of the session before this turn, newest first, at most `most`, each with the bytes of its
/// messages as they are kept.
pub async fn before(
    conn: &impl ConnectionTrait,
    session: &Session,
    turn: i64,
    most: i64,
) -> Result<Vec<(Uuid, i64)>> {
    let sql = "SELECT r.id, (SELECT COALESCE(sum(octet_length(e.data)), 0) FROM run_events e
            WHERE e.run_id = r.id AND e.type = 'step')
        FROM runs r
        WHERE r.project_id = $1 AND r.environment = $2 AND r.session_id = $3
            AND r.session_turn < $4
        ORDER BY r.session_turn DESC, r.id DESC LIMIT $5 + 0";
    let [project, environment, id] = session.values();
    let values = [project, environment, id, turn.into(), most.into()];
    let rows = conn.query_all_raw(statement(conn, sql, values)).await?;
    let sized =
        |row: sea_orm::QueryResult| Ok((row.try_get_by_index(0)?, row.try_get_by_index(1)?));
    rows.into_iter().map(sized).collect()
}

/// The messages of these runs, oldest first, as JSON.
pub async fn messages(
    conn: &impl ConnectionTrait,
    runs: &[Uuid],
) -> Result<HashMap<Uuid, Vec<String>>> {
    let mut messages: HashMap<Uuid, Vec<String>> = HashMap::with_capacity(runs.len());
    for piece in pieces(runs) {
        let sql = format!(
            "SELECT run_id, data FROM run_events WHERE run_id IN ({}) AND type = 'step'
            ORDER BY run_id, seq",
            places(1, piece.len())
        );
        let values = piece.iter().map(|id| Value::from(*id));
        let backend = conn.get_database_backend();
        let statement = Statement::from_sql_and_values(backend, sql, values);
        for row in conn.query_all_raw(statement).await? {
            messages.entry(row.try_get_by_index(0)?).or_default().push(row.try_get_by_index(1)?);
        }
    }
    Ok(messages)
}

/// What a run that joins the session has to do with: at most `most` of its newest runs, which it is
/// told of, and as many of those that have not ended.
pub async fn around(
    conn: &impl ConnectionTrait,
    session: &Session,
    most: i64,
) -> Result<Vec<Uuid>> {
    let newest = "SELECT id FROM runs
        WHERE project_id = $1 AND environment = $2 AND session_id = $3
        ORDER BY session_turn DESC, id DESC LIMIT $4 + 0";
    let live = "SELECT run_id FROM run_queue
        WHERE project_id = $1 AND environment = $2 AND session_id = $3
        ORDER BY session_turn LIMIT $4 + 0";
    let mut ids: Vec<Uuid> = Vec::new();
    for sql in [newest, live] {
        let [project, environment, id] = session.values();
        let values = [project, environment, id, most.into()];
        for row in conn.query_all_raw(statement(conn, sql, values)).await? {
            ids.push(row.try_get_by_index(0)?);
        }
    }
    ids.sort_unstable();
    ids.dedup();
    Ok(ids)
}
