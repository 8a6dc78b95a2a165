//! Statements written once for both databases: `$1`, `$2`… are values in either. Used by the
//! questions that are too hot, or too particular, for entities.

use sea_orm::{
    ConnectionTrait, DbBackend, EntityTrait, FromQueryResult, QuerySelect, QueryTrait, Select,
    Statement, Value,
};

use uuid::Uuid;

use super::Tx;
use crate::kernel::Result;

/// Most rows or ids in one statement. Longer lists are cut, so that few distinct statements are
/// prepared.
pub(super) const CHUNK: usize = 32;

/// A statement with its values.
pub(super) fn statement<const N: usize>(
    conn: &impl ConnectionTrait,
    sql: &str,
    values: [Value; N],
) -> Statement {
    Statement::from_sql_and_values(conn.get_database_backend(), sql, values)
}

/// The row of a question that finds at most one. Unlike `one` it binds no `LIMIT`: to look at such
/// a value, SQLite would plan the question anew each time it is asked.
pub(super) async fn only<E: EntityTrait>(
    conn: &impl ConnectionTrait,
    select: Select<E>,
) -> Result<Option<E::Model>> {
    let row = conn.query_one(&select.into_query()).await?;
    Ok(row.map(|row| E::Model::from_query_result(&row, "")).transpose()?)
}

/// The same question, holding what it finds. One writer needs no lock.
pub(super) fn for_update<E: EntityTrait>(
    conn: &impl ConnectionTrait,
    select: Select<E>,
) -> Select<E> {
    match conn.get_database_backend() {
        DbBackend::Postgres => select.lock_exclusive(),
        _ => select,
    }
}

/// The words that lock the rows of one table of a `SELECT`, one after the other. One writer needs
/// no lock.
pub(super) fn lock_rows(conn: &impl ConnectionTrait, table: &str) -> String {
    match conn.get_database_backend() {
        DbBackend::Postgres => format!(" FOR UPDATE OF {table}"),
        _ => String::new(),
    }
}

/// The words that lock the rows of one table of a `SELECT`, and pass over those locked by others.
/// One writer needs no lock.
pub(super) fn skip_locked(conn: &impl ConnectionTrait, table: &str) -> String {
    match conn.get_database_backend() {
        DbBackend::Postgres => format!(" FOR UPDATE OF {table} SKIP LOCKED"),
        _ => String::new(),
    }
}

/// Waits until no other transaction holds the same name, and holds it until this one ends. One
/// writer takes turns anyway.
pub(super) async fn take_turns(tx: &Tx, name: Uuid, other: bool) -> Result<()> {
    if tx.get_database_backend() != DbBackend::Postgres {
        return Ok(());
    }
    let (high, low) = name.as_u64_pair();
    // Two names with one number would only wait for each other.
    let number = (high ^ low.rotate_left(1) ^ u64::from(other)).cast_signed();
    tx.execute_raw(statement(tx, "SELECT pg_advisory_xact_lock($1)", [number.into()])).await?;
    Ok(())
}

/// The words that keep the rows of a `SELECT` from being deleted, but not from being changed.
pub(super) fn key_share(conn: &impl ConnectionTrait) -> &'static str {
    match conn.get_database_backend() {
        DbBackend::Postgres => " FOR KEY SHARE",
        _ => "",
    }
}

/// `$first,$first+1,…`, `count` of them.
pub(super) fn places(first: usize, count: usize) -> String {
    let mut text = String::with_capacity(count * 4);
    for place in first..first + count {
        if place > first {
            text.push(',');
        }
        text.push('$');
        text.push_str(&place.to_string());
    }
    text
}

/// Cuts a slice into pieces whose lengths are powers of two, at most [`CHUNK`]: 13 becomes 8, 4 and
/// 1.
pub(super) fn pieces<T>(mut all: &[T]) -> Vec<&[T]> {
    let mut pieces = Vec::new();
    while !all.is_empty() {
        let largest = 1usize << all.len().ilog2();
        let (piece, rest) = all.split_at(largest.min(CHUNK));
        pieces.push(piece);
        all = rest;
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_cut_into_powers_of_two() {
        let lengths = |n: usize| -> Vec<usize> {
            pieces(&vec![0u8; n]).into_iter().map(<[u8]>::len).collect()
        };
        assert!(lengths(0).is_empty());
        assert_eq!(lengths(13), [8, 4, 1]);
        assert_eq!(lengths(70), [32, 32, 4, 2]);
    }

    #[test]
    fn places_are_numbered_on() {
        assert_eq!(places(3, 3), "$3,$4,$5");
        assert_eq!(places(1, 0), "");
    }
}
