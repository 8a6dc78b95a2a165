//! Questions about projects, which own everything else; so these have no owner themselves. Asked by
//! the projects service, for the server's operator, by the start of the server, by `runplane keys
//! create`, and by the runtime for the signing secret.

use sea_orm::sea_query::Expr;
use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, IntoActiveModel, QueryFilter, QueryOrder, QueryTrait,
};
use uuid::Uuid;

use super::sql::{self, statement};
pub use super::tables::project::Model as Project;
use super::tables::project::{Column, Entity};
use super::window;
use super::{Tx, lanes};
use crate::kernel::ids::{self, Kind};
use crate::kernel::page::{self, Page, Paged};
use crate::kernel::{Error, Reason, Result, Timestamp};

/// What an operator may change of a project; `None` leaves it.
#[derive(Debug, Clone, Default)]
pub struct Change {
    /// Name.
    pub name: Option<String>,
    /// Name of its plan.
    pub plan: Option<String>,
    /// Labels, JSON object of texts.
    pub metadata: Option<String>,
}

/// Keeps a new project.
///
/// # Errors
/// Those of the database.
pub async fn insert(conn: &impl ConnectionTrait, project: Project) -> Result<()> {
    Entity::insert(project.into_active_model()).exec_without_returning(conn).await?;
    Ok(())
}

/// The project with this id, deleted or not.
///
/// # Errors
/// Those of the database.
pub async fn get(conn: &impl ConnectionTrait, id: Uuid) -> Result<Option<Project>> {
    sql::only(conn, Entity::find_by_id(id)).await
}

/// The oldest project that is not deleted; `None` on the first start.
///
/// # Errors
/// Those of the database.
pub async fn first(conn: &impl ConnectionTrait) -> Result<Option<Project>> {
    let oldest = Entity::find()
        .filter(Column::DeletedAt.is_null())
        .order_by_asc(Column::CreatedAt)
        .order_by_asc(Column::Id);
    Ok(oldest.one(conn).await?)
}

/// A project that is not deleted.
///
/// # Errors
/// `project_not_found`; those of the database.
pub async fn live(conn: &impl ConnectionTrait, id: Uuid) -> Result<Project> {
    let found = Entity::find_by_id(id).filter(Column::DeletedAt.is_null());
    sql::only(conn, found).await?.ok_or_else(|| not_found(id))
}

/// A page of projects, of all organisations or of one.
///
/// # Errors
/// Those of the database.
pub async fn list(
    conn: &impl ConnectionTrait,
    organisation: Option<Uuid>,
    page: &Page,
) -> Result<Paged<Project>> {
    let mut all = Entity::find().filter(Column::DeletedAt.is_null());
    if let Some(organisation) = organisation {
        all = all.filter(Column::OrganisationId.eq(organisation));
    }
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
/// `project_not_found`; those of the database.
pub async fn update(
    conn: &impl ConnectionTrait,
    id: Uuid,
    change: Change,
    now: Timestamp,
) -> Result<Project> {
    let Change { name, plan, metadata } = change;
    let mut update = Entity::update_many()
        .col_expr(Column::UpdatedAt, Expr::val(now.0))
        .filter(Column::Id.eq(id))
        .filter(Column::DeletedAt.is_null());
    for (column, value) in
        [(Column::Name, name), (Column::Plan, plan), (Column::Metadata, metadata)]
    {
        if let Some(value) = value {
            update = update.col_expr(column, Expr::val(value));
        }
    }
    update.exec_with_returning(conn).await?.pop().ok_or_else(|| not_found(id))
}

/// Deletes a project, and tells what it was. Its agents are nobody's any more that an
/// organisation's key could reach, and none of its runs is taken by a worker.
///
/// # Errors
/// `project_not_found`; those of the database.
pub async fn delete(tx: &Tx, id: Uuid, now: Timestamp) -> Result<Project> {
    let update = Entity::update_many()
        .col_expr(Column::DeletedAt, Expr::val(now.0))
        .filter(Column::Id.eq(id))
        .filter(Column::DeletedAt.is_null());
    let row = update.exec_with_returning(tx).await?.pop().ok_or_else(|| not_found(id))?;
    let sql = "UPDATE agents SET organisation_id = NULL WHERE project_id = $1";
    tx.execute_raw(statement(tx, sql, [id.into()])).await?;
    lanes::pause(tx, id).await?;
    Ok(row)
}

/// The error for a project that does not exist.
#[must_use]
pub fn not_found(id: Uuid) -> Error {
    let message = format!("project {} not found", ids::format(Kind::Project, id));
    Error::new(Reason::ProjectNotFound, message)
}
