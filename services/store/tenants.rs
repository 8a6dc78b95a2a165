//! Questions about whose a key or a project is: its organisation's plan and its project's. Asked by
//! `gateway/auth.rs` when it meets a key, and when an organisation's key creates a run.

use sea_orm::{ConnectionTrait, QueryResult};
use uuid::Uuid;

use super::keys::Key;
use super::sql::statement;
use crate::kernel::plan::Overrides;
use crate::kernel::{Error, Result};

/// Whose a key is.
#[derive(Debug, Clone, Default)]
pub struct Tenant {
    /// Name of the plan: the project's, else the organisation's; empty for the default.
    pub plan: String,
    /// What the organisation has instead of the plan's values.
    pub overrides: Overrides,
    /// Public part of the key that a session was made from.
    pub parent: Option<String>,
}

/// What holds in a project; `None` when it or its organisation is no more.
///
/// # Errors
/// Those of the database.
pub async fn of_project(conn: &impl ConnectionTrait, project: Uuid) -> Result<Option<Tenant>> {
    let sql = "SELECT o.plan, o.limits, p.plan FROM projects p
        JOIN organisations o ON o.id = p.organisation_id AND o.deleted_at IS NULL
        WHERE p.id = $1 AND p.deleted_at IS NULL";
    let row = conn.query_one_raw(statement(conn, sql, [project.into()])).await?;
    row.map(|row| tenant(&row, None)).transpose()
}

/// Whose this key is; `None` when its organisation or project is no more.
///
/// # Errors
/// Those of the database.
pub async fn of(conn: &impl ConnectionTrait, key: &Key) -> Result<Option<Tenant>> {
    let sql = "SELECT o.plan, o.limits, p.plan, s.key_id FROM api_keys k
        LEFT JOIN organisations o ON o.id = k.organisation_id AND o.deleted_at IS NULL
        LEFT JOIN projects p ON p.id = k.project_id AND p.deleted_at IS NULL
        LEFT JOIN api_keys s ON s.id = k.parent_id
        WHERE k.id = $1";
    let row = conn.query_one_raw(statement(conn, sql, [key.id.into()])).await?;
    let Some(row) = row else { return Ok(None) };
    let organisation: Option<String> = row.try_get_by_index(0)?;
    let project: Option<String> = row.try_get_by_index(2)?;
    let gone = match key.level.as_str() {
        "project" => organisation.is_none() || project.is_none(),
        "organisation" => organisation.is_none(),
        _ => false,
    };
    if gone {
        return Ok(None);
    }
    tenant(&row, row.try_get_by_index(3)?).map(Some)
}

/// Of the organisation's plan, its limits and the project's plan, in this order.
fn tenant(row: &QueryResult, parent: Option<String>) -> Result<Tenant> {
    let organisation: Option<String> = row.try_get_by_index(0)?;
    let limits: Option<String> = row.try_get_by_index(1)?;
    let project: Option<String> = row.try_get_by_index(2)?;
    let overrides = limits.map_or(Ok(Overrides::default()), |text| serde_json::from_str(&text));
    let plan = project.filter(|plan| !plan.is_empty()).or(organisation).unwrap_or_default();
    Ok(Tenant { plan, overrides: overrides.map_err(Error::internal)?, parent })
}
