//! Questions about keys. Asked by the keys service and, by the public part of a key, by
//! `gateway/auth.rs`. Never sees a secret: what is kept is its HMAC.

use sea_orm::sea_query::{Expr, Func};
use sea_orm::{
    ColumnTrait, Condition, ConnectionTrait, EntityTrait, IntoActiveModel, QueryFilter, QueryTrait,
    UpdateMany,
};
use uuid::Uuid;

use super::Tx;
use super::owner::{self, Owned};
use super::sql;
pub use super::tables::api_key::Model as Key;
use super::tables::api_key::{Column, Entity};
use super::window;
use crate::kernel::ids::{self, Kind};
use crate::kernel::page::{self, Page, Paged};
use crate::kernel::{Error, Reason, Result, Scope, Timestamp};

/// A key is marked as used at most once in this time.
const TOUCH_US: i64 = 60_000_000;

/// How long an ended session is still known, so that its caller is told `expired_token`.
const SESSION_GRACE_US: i64 = 3_600_000_000;

/// Most sessions that one purge removes.
const PURGE: i64 = 1000;

/// What a caller may change of a key; `None` leaves it.
#[derive(Debug, Clone, Default)]
pub struct Change {
    /// Name.
    pub name: Option<String>,
    /// Labels, JSON object of texts.
    pub metadata: Option<String>,
    /// What it has instead of its plan's values, JSON.
    pub limits: Option<String>,
}

/// Keeps a new key. Its owner is the scope, whatever the row says.
///
/// # Errors
/// `name_taken` when the public part is in use, which says that the caller's randomness is broken;
/// those of the database.
pub async fn insert(conn: &impl ConnectionTrait, scope: Scope, mut key: Key) -> Result<Key> {
    owner::set(&mut key.project_id, &mut key.environment, scope);
    let row = key.clone().into_active_model();
    Entity::insert(row).exec_without_returning(conn).await.map_err(|error| {
        if super::is_unique_violation(&error) {
            let message = format!("the key id {} is in use", key.key_id);
            return Error::new(Reason::NameTaken, message).caused_by(error);
        }
        error.into()
    })?;
    Ok(key)
}

/// The key with this public part, and its owner: the one question without an owner, since it finds
/// the owner.
///
/// # Errors
/// Those of the database.
pub async fn by_public_id(
    conn: &impl ConnectionTrait,
    key_id: &str,
) -> Result<Option<(Scope, Key)>> {
    let found = Entity::find().filter(Column::KeyId.eq(key_id));
    let Some(key) = sql::only(conn, found).await? else { return Ok(None) };
    Ok(Some((owner::scope(key.project_id, &key.environment)?, key)))
}

/// A key, revoked or not.
///
/// # Errors
/// `key_not_found`; those of the database.
pub async fn get(conn: &impl ConnectionTrait, scope: Scope, id: Uuid) -> Result<Key> {
    let found = Entity::find_by_id(id).owned(scope).filter(Column::ParentId.is_null());
    sql::only(conn, found).await?.ok_or_else(|| not_found(id))
}

/// A key that nobody else changes until the transaction ends.
///
/// # Errors
/// `key_not_found`; those of the database.
pub async fn locked(tx: &Tx, scope: Scope, id: Uuid) -> Result<Key> {
    let found = Entity::find_by_id(id).owned(scope).filter(Column::ParentId.is_null());
    sql::only(tx, sql::for_update(tx, found)).await?.ok_or_else(|| not_found(id))
}

/// A page of keys, revoked ones included.
///
/// # Errors
/// Those of the database.
pub async fn list(conn: &impl ConnectionTrait, scope: Scope, page: &Page) -> Result<Paged<Key>> {
    let all = Entity::find().owned(scope).filter(Column::ParentId.is_null());
    let mut select = all.clone();
    window::narrow(QueryTrait::query(&mut select), page, window::by(Column::CreatedAt, Column::Id));
    let rows = select.all(conn).await?;
    let mut paged = Paged::of(page, rows, |key| page::Key { at: key.created_at, id: key.id });
    paged.total = window::total(conn, all, page).await?;
    Ok(paged)
}

/// Changes what a caller may change.
///
/// # Errors
/// `key_not_found`; those of the database.
pub async fn update(
    conn: &impl ConnectionTrait,
    scope: Scope,
    id: Uuid,
    change: Change,
) -> Result<Key> {
    let Change { name, metadata, limits } = change;
    if name.is_none() && metadata.is_none() && limits.is_none() {
        return get(conn, scope, id).await;
    }
    let mut update = one(scope, id);
    let values = [(Column::Name, name), (Column::Metadata, metadata), (Column::Limits, limits)];
    for (column, value) in values {
        if let Some(value) = value {
            update = update.col_expr(column, Expr::val(value));
        }
    }
    returned(conn, update).await?.ok_or_else(|| not_found(id))
}

/// Names the successor of a key and lets it end at `end`, or earlier when it would have ended
/// before.
///
/// # Errors
/// `key_not_found`; `validation_failed` when the key was revoked, has ended or has a successor;
/// those of the database.
pub async fn replace(
    conn: &impl ConnectionTrait,
    scope: Scope,
    (id, successor): (Uuid, Uuid),
    (now, end): (Timestamp, Timestamp),
) -> Result<Key> {
    let sooner = Expr::case(Column::ExpiresAt.lt(end.0), Expr::col(Column::ExpiresAt));
    let lives = Condition::any().add(Column::ExpiresAt.is_null()).add(Column::ExpiresAt.gt(now.0));
    let update = one(scope, id)
        .col_expr(Column::ExpiresAt, sooner.finally(end.0).into())
        .col_expr(Column::ReplacedBy, Expr::val(successor))
        .filter(Column::RevokedAt.is_null())
        .filter(Column::ReplacedBy.is_null())
        .filter(lives);
    if let Some(key) = returned(conn, update).await? {
        return Ok(key);
    }
    get(conn, scope, id).await?;
    let message = format!("{} was revoked, has ended or was replaced", ids::format(Kind::Key, id));
    Err(Error::new(Reason::ValidationFailed, message).with("field", "id"))
}

/// Revokes a key for ever. The first time counts.
///
/// # Errors
/// `key_not_found`; those of the database.
pub async fn revoke(
    conn: &impl ConnectionTrait,
    scope: Scope,
    id: Uuid,
    now: Timestamp,
) -> Result<Key> {
    let first = Func::coalesce([Expr::col(Column::RevokedAt), Expr::val(now.0)]);
    let update = one(scope, id).col_expr(Column::RevokedAt, first.into());
    returned(conn, update).await?.ok_or_else(|| not_found(id))
}

/// Marks a key as used, to the minute.
///
/// # Errors
/// Those of the database.
pub async fn touch(
    conn: &impl ConnectionTrait,
    scope: Scope,
    id: Uuid,
    now: Timestamp,
) -> Result<()> {
    let stale = Condition::any()
        .add(Column::LastUsedAt.is_null())
        .add(Column::LastUsedAt.lte(now.0.saturating_sub(TOUCH_US)));
    let update = one(scope, id).col_expr(Column::LastUsedAt, Expr::val(now.0)).filter(stale);
    update.exec(conn).await?;
    Ok(())
}

/// Ends a session for ever; its public part, `None` when the owner has no such session.
///
/// # Errors
/// Those of the database.
pub async fn end_session(
    conn: &impl ConnectionTrait,
    scope: Scope,
    id: Uuid,
    now: Timestamp,
) -> Result<Option<String>> {
    let update = Entity::update_many()
        .owned(scope)
        .filter(Column::Id.eq(id))
        .filter(Column::ParentId.is_not_null())
        .col_expr(Column::RevokedAt, Expr::val(now.0));
    Ok(returned(conn, update).await?.map(|session| session.key_id))
}

/// Removes sessions that have ended, some of them; how many. Asked again while there are more.
///
/// # Errors
/// Those of the database.
pub async fn purge_sessions(conn: &impl ConnectionTrait, now: Timestamp) -> Result<u64> {
    let sql = format!(
        "DELETE FROM api_keys WHERE id IN (SELECT id FROM api_keys
        WHERE parent_id IS NOT NULL AND expires_at <= $1 LIMIT $2{})",
        sql::skip_locked(conn, "api_keys")
    );
    let values = [now.0.saturating_sub(SESSION_GRACE_US).into(), PURGE.into()];
    Ok(conn.execute_raw(sql::statement(conn, &sql, values)).await?.rows_affected())
}

/// The error for a key that the owner does not have.
#[must_use]
pub fn not_found(id: Uuid) -> Error {
    let message = format!("key {} not found", ids::format(Kind::Key, id));
    Error::new(Reason::KeyNotFound, message)
}

fn one(scope: Scope, id: Uuid) -> UpdateMany<Entity> {
    Entity::update_many().owned(scope).filter(Column::Id.eq(id)).filter(Column::ParentId.is_null())
}

async fn returned(conn: &impl ConnectionTrait, update: UpdateMany<Entity>) -> Result<Option<Key>> {
    Ok(update.exec_with_returning(conn).await?.pop())
}
