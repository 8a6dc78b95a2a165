//! Questions about organisations, which own projects. Asked by the organisations service, for the
//! server's operator, and by the start of the server; so these have no owner themselves.

use sea_orm::sea_query::{Expr, Func};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DbBackend, EntityTrait, IntoActiveModel, QueryFilter, QueryTrait,
};
use uuid::Uuid;

use super::Tx;
use super::sql::{self, statement};
pub use super::tables::organisation::Model as Organisation;
use super::tables::organisation::{Column, Entity};
use super::window;
use crate::kernel::ids::{self, Kind};
use crate::kernel::page::{self, Page, Paged};
use crate::kernel::{Error, Reason, Result, Timestamp};

/// What an operator may change of an organisation; `None` leaves it.
#[derive(Debug, Clone, Default)]
pub struct Change {
    /// Name.
    pub name: Option<String>,
    /// Name of its plan.
    pub plan: Option<String>,
    /// What it has instead of its plan's values, JSON.
    pub limits: Option<String>,
    /// Labels, JSON object of texts.
    pub metadata: Option<String>,
}

/// Keeps a new organisation.
///
/// # Errors
/// Those of the database.
pub async fn insert(conn: &impl ConnectionTrait, organisation: Organisation) -> Result<()> {
    Entity::insert(organisation.into_active_model()).exec_without_returning(conn).await?;
    Ok(())
}

/// An organisation that is not deleted.
///
/// # Errors
/// `organisation_not_found`; those of the database.
pub async fn live(conn: &impl ConnectionTrait, id: Uuid) -> Result<Organisation> {
    let found = Entity::find_by_id(id).filter(Column::DeletedAt.is_null());
    sql::only(conn, found).await?.ok_or_else(|| not_found(id))
}

/// An organisation that nobody else changes until the transaction ends.
///
/// # Errors
/// `organisation_not_found`; those of the database.
pub async fn locked(tx: &Tx, id: Uuid) -> Result<Organisation> {
    let found = Entity::find_by_id(id).filter(Column::DeletedAt.is_null());
    sql::only(tx, sql::for_update(tx, found)).await?.ok_or_else(|| not_found(id))
}

/// Keeps an organisation from being deleted until the transaction ends.
///
/// # Errors
/// `organisation_not_found`; those of the database.
pub async fn hold(tx: &Tx, id: Uuid) -> Result<()> {
    let lock = match tx.get_database_backend() {
        DbBackend::Postgres => " FOR SHARE",
        _ => "",
    };
    let sql = format!("SELECT 1 FROM organisations WHERE id = $1 AND deleted_at IS NULL{lock}");
    let row = tx.query_one_raw(statement(tx, &sql, [id.into()])).await?;
    row.map(|_| ()).ok_or_else(|| not_found(id))
}

/// A page of organisations.
///
/// # Errors
/// Those of the database.
pub async fn list(conn: &impl ConnectionTrait, page: &Page) -> Result<Paged<Organisation>> {
    let all = Entity::find().filter(Column::DeletedAt.is_null());
    let mut select = all.clone();
    window::narrow(QueryTrait::query(&mut select), page, window::by(Column::CreatedAt, Column::Id));
    let rows = select.all(conn).await?;
    let mut paged = Paged::of(page, rows, |row| page::Key { at: row.created_at, id: row.id });
    paged.total = window::total(conn, all, page).await?;
    Ok(paged)
}

/// Changes what an operator may change.
///
/// # Errors
/// `organisation_not_found`; those of the database.
pub async fn update(
    conn: &impl ConnectionTrait,
    id: Uuid,
    change: Change,
    now: Timestamp,
) -> Result<Organisation> {
    let Change { name, plan, limits, metadata } = change;
    let mut update = Entity::update_many()
        .col_expr(Column::UpdatedAt, Expr::val(now.0))
        .filter(Column::Id.eq(id))
        .filter(Column::DeletedAt.is_null());
    let values = [
        (Column::Name, name),
        (Column::Plan, plan),
        (Column::Limits, limits),
        (Column::Metadata, metadata),
    ];
    for (column, value) in values {
        if let Some(value) = value {
            update = update.col_expr(column, Expr::val(value));
        }
    }
    update.exec_with_returning(conn).await?.pop().ok_or_else(|| not_found(id))
}

/// Deletes an organisation, and tells what it was.
///
/// # Errors
/// `organisation_not_found`; `validation_failed` while it has projects; those of the database.
pub async fn delete(tx: &Tx, id: Uuid, now: Timestamp) -> Result<Organisation> {
    let deleted_at = Func::coalesce([Expr::col(Column::DeletedAt), Expr::val(now.0)]);
    let update = Entity::update_many()
        .col_expr(Column::DeletedAt, deleted_at.into())
        .filter(Column::Id.eq(id))
        .filter(Column::DeletedAt.is_null());
    let row = update.exec_with_returning(tx).await?.pop().ok_or_else(|| not_found(id))?;
    let sql = "SELECT count(*) FROM projects WHERE organisation_id = $1 AND deleted_at IS NULL";
    let count = tx.query_one_raw(statement(tx, sql, [id.into()])).await?;
    let count: i64 = count.map(|row| row.try_get_by_index(0)).transpose()?.unwrap_or(0);
    if count == 0 {
        return Ok(row);
    }
    let id = ids::format(Kind::Organisation, id);
    let message = format!("organisation {id} has {count} projects; delete them first");
    Err(Error::new(Reason::ValidationFailed, message).with("projects", count.to_string()))
}

/// The error for an organisation that does not exist.
#[must_use]
pub fn not_found(id: Uuid) -> Error {
    let message = format!("organisation {} not found", ids::format(Kind::Organisation, id));
    Error::new(Reason::OrganisationNotFound, message)
}
