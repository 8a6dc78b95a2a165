//! Questions about projects, which own everything else; so these have no owner themselves. Asked by
//! the start of the server, by `runplane keys create`, and by the runtime for the signing secret.

use sea_orm::{ConnectionTrait, EntityTrait, IntoActiveModel, QueryOrder};
use uuid::Uuid;

use super::sql;
pub use super::tables::project::Model as Project;
use super::tables::project::{Column, Entity};
use crate::kernel::Result;

/// Keeps a new project.
///
/// # Errors
/// Those of the database.
pub async fn insert(conn: &impl ConnectionTrait, project: Project) -> Result<()> {
    Entity::insert(project.into_active_model()).exec_without_returning(conn).await?;
    Ok(())
}

/// The project with this id.
///
/// # Errors
/// Those of the database.
pub async fn get(conn: &impl ConnectionTrait, id: Uuid) -> Result<Option<Project>> {
    sql::only(conn, Entity::find_by_id(id)).await
}

/// The oldest project; `None` on the first start.
///
/// # Errors
/// Those of the database.
pub async fn first(conn: &impl ConnectionTrait) -> Result<Option<Project>> {
    let oldest = Entity::find().order_by_asc(Column::CreatedAt).order_by_asc(Column::Id);
    Ok(oldest.one(conn).await?)
}
