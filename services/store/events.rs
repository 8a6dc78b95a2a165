//! Questions about the event log of runs: append only, gapless per run, read by position. Written
//! by `engine` only.

use sea_orm::{
    ColumnTrait, ConnectionTrait, DbBackend, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
    Statement, Value,
};
use uuid::Uuid;

use super::Tx;
use super::sql::{pieces, places, statement};
use super::tables::run_event;
pub use super::tables::run_event::Model as Row;
use crate::kernel::{Result, Timestamp};

/// Runs that Postgres is asked about at once.
const REACHED_MAX: usize = 1000;

/// A row to append.
#[derive(Debug, Clone, Copy)]
pub struct New<'a> {
    /// Run.
    pub run_id: Uuid,
    /// Number, taken from the run's queue row.
    pub seq: i64,
    /// Type.
    pub r#type: &'a str,
    /// JSON.
    pub data: &'a str,
}

/// Appends events, of one run or of many.
pub async fn append(tx: &Tx, rows: &[New<'_>], now: Timestamp) -> Result<()> {
    for piece in pieces(rows) {
        let mut sql = String::from("INSERT INTO run_events (run_id, seq, type, data, at) VALUES ");
        let mut values: Vec<Value> = Vec::with_capacity(piece.len() * 5);
        for (i, row) in piece.iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            sql.push_str(&format!("{comma}({})", places(i * 5 + 1, 5)));
            values.push(row.run_id.into());
            values.push(row.seq.into());
            values.push(row.r#type.into());
            values.push(row.data.into());
            values.push(now.0.into());
        }
        let backend = tx.get_database_backend();
        tx.execute_raw(Statement::from_sql_and_values(backend, sql, values)).await?;
    }
    Ok(())
}

/// Events after `after`, oldest first, at most `most`.
pub async fn after(
    conn: &impl ConnectionTrait,
    run_id: Uuid,
    after: i64,
    most: u64,
) -> Result<Vec<Row>> {
    let page = run_event::Entity::find()
        .filter(run_event::Column::RunId.eq(run_id))
        .filter(run_event::Column::Seq.gt(after))
        .order_by_asc(run_event::Column::Seq)
        .limit(most);
    Ok(page.all(conn).await?)
}

/// Events after `after`, oldest first, at most `most`: the first, and as many more as fit into
/// about `bytes`, so that nobody holds a page of very large ones in memory.
pub async fn page(
    conn: &impl ConnectionTrait,
    run_id: Uuid,
    after: i64,
    (most, bytes): (i64, i64),
) -> Result<Vec<Row>> {
    let sql = "SELECT run_id, seq, type, data, at FROM (
            SELECT run_id, seq, type, data, at,
                SUM(octet_length(data)) OVER (ORDER BY seq) - octet_length(data) AS ahead
            FROM (SELECT run_id, seq, type, data, at FROM run_events
                WHERE run_id = $1 AND seq > $2 ORDER BY seq LIMIT $3) AS events
        ) AS sized WHERE ahead < $4 ORDER BY seq";
    let values = [run_id.into(), after.into(), most.into(), bytes.into()];
    let question = run_event::Entity::find().from_raw_sql(statement(conn, sql, values));
    Ok(question.all(conn).await?)
}

/// Data of every event of one type, oldest first.
pub async fn of_type(
    conn: &impl ConnectionTrait,
    run_id: Uuid,
    r#type: &str,
) -> Result<Vec<String>> {
    let sql = "SELECT data FROM run_events WHERE run_id = $1 AND type = $2 ORDER BY seq";
    let rows = conn.query_all_raw(statement(conn, sql, [run_id.into(), r#type.into()])).await?;
    rows.into_iter().map(|row| Ok(row.try_get_by_index(0)?)).collect()
}

/// Type of a run's event before `seq`.
pub async fn type_before(tx: &Tx, run_id: Uuid, seq: i64) -> Result<Option<String>> {
    let sql = "SELECT type FROM run_events WHERE run_id = $1 AND seq = $2";
    let row = tx.query_one_raw(statement(tx, sql, [run_id.into(), (seq - 1).into()])).await?;
    Ok(row.map(|row| row.try_get_by_index(0)).transpose()?)
}

/// The number of the last event of each of these runs that has not ended; runs that have ended are
/// left out.
pub async fn reached(conn: &impl ConnectionTrait, runs: &[Uuid]) -> Result<Vec<(Uuid, i64)>> {
    let backend = conn.get_database_backend();
    let mut all = Vec::with_capacity(runs.len());
    let mut asked = Vec::new();
    if backend == DbBackend::Postgres {
        // A statement of one text, however many they are.
        let which = "= ANY($1::text::uuid[])";
        asked.extend(runs.chunks(REACHED_MAX).map(|piece| (which.into(), vec![array(piece)])));
    } else {
        let which = |piece: &[Uuid]| format!("IN ({})", places(1, piece.len()));
        let values = |piece: &[Uuid]| piece.iter().map(|id| Value::from(*id)).collect();
        asked.extend(pieces(runs).into_iter().map(|piece| (which(piece), values(piece))));
    }
    for (which, values) in asked {
        let sql = format!("SELECT run_id, next_seq - 1 FROM run_queue WHERE run_id {which}");
        let rows = conn.query_all_raw(Statement::from_sql_and_values(backend, sql, values)).await?;
        for row in rows {
            all.push((row.try_get_by_index(0)?, row.try_get_by_index(1)?));
        }
    }
    Ok(all)
}

/// Ids as Postgres reads them in a text.
fn array(ids: &[Uuid]) -> Value {
    let ids: Vec<String> = ids.iter().map(Uuid::to_string).collect();
    format!("{{{}}}", ids.join(",")).into()
}
