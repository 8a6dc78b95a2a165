//! Questions about the answers that are kept for calls that may come again. Written by
//! `change.rs` in the transaction of the change, asked by `gateway/idempotency.rs`; what has
//! expired is nobody's and purged.

use sea_orm::ConnectionTrait;
use uuid::Uuid;

use super::Tx;
use super::sql::{skip_locked, statement};
use crate::kernel::call::Ticket;
use crate::kernel::{Error, Reason, Result, Scope, Timestamp, ids};

/// Most records that one purge removes.
const PURGE: i64 = 1000;

/// What is kept of a call.
#[derive(Debug, Clone)]
pub struct Kept {
    /// Digest of its request.
    pub fingerprint: Vec<u8>,
    /// Its answer, sealed.
    pub answer: Vec<u8>,
    /// Until when it is known.
    pub expires_at: Timestamp,
}

/// Keeps an answer and the id of what it is about; false when the call is known already. Waits for
/// another transaction that keeps the same. What has expired makes room.
pub(super) async fn keep(
    tx: &Tx,
    scope: Scope,
    ticket: &Ticket,
    (answer, target): (&[u8], &str),
) -> Result<bool> {
    let now = ticket.created_at;
    let sql = "INSERT INTO idempotency_keys (project_id, environment, digest, route, fingerprint,
            answer, resource_id, created_at, expires_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
        ON CONFLICT (project_id, environment, digest, route) DO UPDATE
            SET fingerprint = excluded.fingerprint, answer = excluded.answer,
                resource_id = excluded.resource_id, created_at = excluded.created_at,
                expires_at = excluded.expires_at
            WHERE idempotency_keys.expires_at <= $8";
    let values = [
        scope.project.into(),
        scope.environment.as_str().into(),
        ticket.digest.to_vec().into(),
        ticket.route.into(),
        ticket.fingerprint.to_vec().into(),
        answer.to_vec().into(),
        ids::parse(ids::Kind::Run, target).into(),
        now.0.into(),
        ticket.expires_at.0.into(),
    ];
    Ok(tx.execute_raw(statement(tx, sql, values)).await?.rows_affected() == 1)
}

/// What is kept of a call that is known at this time.
///
/// # Errors
/// Those of the database.
pub async fn get(
    conn: &impl ConnectionTrait,
    scope: Scope,
    ticket: &Ticket,
) -> Result<Option<Kept>> {
    let sql = "SELECT fingerprint, answer, expires_at FROM idempotency_keys
        WHERE project_id = $1 AND environment = $2 AND digest = $3 AND route = $4
            AND expires_at > $5";
    let values = [
        scope.project.into(),
        scope.environment.as_str().into(),
        ticket.digest.to_vec().into(),
        ticket.route.into(),
        ticket.created_at.0.into(),
    ];
    let Some(row) = conn.query_one_raw(statement(conn, sql, values)).await? else {
        return Ok(None);
    };
    let (fingerprint, answer) = (row.try_get_by_index(0)?, row.try_get_by_index(1)?);
    Ok(Some(Kept { fingerprint, answer, expires_at: Timestamp(row.try_get_by_index(2)?) }))
}

/// The runs that calls with this key have created: one for each method that it was used with.
///
/// # Errors
/// Those of the database.
pub async fn runs(
    conn: &impl ConnectionTrait,
    scope: Scope,
    digest: &[u8; 32],
    now: Timestamp,
) -> Result<Vec<Uuid>> {
    let sql = "SELECT DISTINCT resource_id FROM idempotency_keys
        WHERE project_id = $1 AND environment = $2 AND digest = $3
            AND resource_id IS NOT NULL AND expires_at > $4";
    let values = [
        scope.project.into(),
        scope.environment.as_str().into(),
        digest.to_vec().into(),
        now.0.into(),
    ];
    let rows = conn.query_all_raw(statement(conn, sql, values)).await?;
    rows.into_iter().map(|row| Ok(row.try_get_by_index(0)?)).collect()
}

/// Removes what has expired, some of it; how much. Asked again while there is more.
///
/// # Errors
/// Those of the database.
pub async fn purge(tx: &Tx, now: Timestamp) -> Result<u64> {
    let sql = format!(
        "DELETE FROM idempotency_keys WHERE (project_id, environment, digest, route) IN
        (SELECT project_id, environment, digest, route FROM idempotency_keys
            WHERE expires_at <= $1 LIMIT $2{})",
        skip_locked(tx, "idempotency_keys")
    );
    let values = [now.0.into(), PURGE.into()];
    Ok(tx.execute_raw(statement(tx, &sql, values)).await?.rows_affected())
}

/// The failure of a call whose key another call is using.
#[must_use]
pub fn in_use() -> Error {
    let error = Error::new(Reason::IdempotencyKeyInUse, Reason::IdempotencyKeyInUse.row().example);
    error.with("retry_after_s", "1")
}
