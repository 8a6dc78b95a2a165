//! Questions about conversations: runs of one owner with the same session id, which go one after
//! the other in the order of their turns. Asked by `engine`; `other` by the runs service.
//!
//! Locks are taken in one order, so that nobody ends in a deadlock: the turns of who creates, rows
//! of the queue by their turns, and last the turns of who ends. Whoever ends a run that waits
//! behind another takes no turns: nobody waits for it.

use std::collections::HashMap;

use sea_orm::{ConnectionTrait, Statement, Value};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::Tx;
use super::queue::BEHIND;
use super::sql::{pieces, places, statement, take_turns};
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
    /// Its agent.
    pub agent_id: Uuid,
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

/// Runs of the session that have not ended and that nobody has asked to cancel, in their order, at
/// most `most`.
pub async fn live(tx: &Tx, session: &Session, most: i64) -> Result<Vec<Live>> {
    let sql = "SELECT q.run_id, r.agent_id FROM run_queue q JOIN runs r ON r.id = q.run_id
        WHERE q.project_id = $1 AND q.environment = $2 AND q.session_id = $3
            AND q.cancel_requested_at IS NULL
        ORDER BY q.session_turn LIMIT $4 + 0";
    let [project, environment, id] = session.values();
    let values = [project, environment, id, most.into()];
    let rows = tx.query_all_raw(statement(tx, sql, values)).await?;
    let live = |row: sea_orm::QueryResult| {
        Ok(Live { run_id: row.try_get_by_index(0)?, agent_id: row.try_get_by_index(1)? })
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

/// The agent of a run of the session that is none of these; `None` when there is no such run.
pub async fn other(
    conn: &impl ConnectionTrait,
    session: &Session,
    agents: &[Uuid],
) -> Result<Option<Uuid>> {
    let known = match agents.len() {
        0 => String::new(),
        count => format!(" AND agent_id NOT IN ({})", places(4, count)),
    };
    let sql = format!(
        "SELECT agent_id FROM runs
        WHERE project_id = $1 AND environment = $2 AND session_id = $3{known} LIMIT 1"
    );
    let mut values = session.values().to_vec();
    values.extend(agents.iter().map(|id| Value::from(*id)));
    let statement = Statement::from_sql_and_values(conn.get_database_backend(), sql, values);
    let row = conn.query_one_raw(statement).await?;
    Ok(row.map(|row| row.try_get_by_index(0)).transpose()?)
}
