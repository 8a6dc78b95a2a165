//! Questions about organisations, which own projects. Asked by the organisations service, for the
//! server's operator, and by the start of the server; so these have no owner themselves.

use sea_orm::{ConnectionTrait, EntityTrait, IntoActiveModel};

use super::tables::organisation::Entity;
pub use super::tables::organisation::Model as Organisation;
use crate::kernel::Result;

/// Keeps a new organisation.
///
/// # Errors
/// Those of the database.
pub async fn insert(conn: &impl ConnectionTrait, organisation: Organisation) -> Result<()> {
    Entity::insert(organisation.into_active_model()).exec_without_returning(conn).await?;
    Ok(())
}
