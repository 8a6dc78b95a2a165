//! Questions about agents and their versions. Asked by the agents service, and by the engine when
//! it creates or resumes a run. A deleted agent is found by [`pinned`] alone.

use sea_orm::sea_query::{Expr, ExprTrait, Query};
use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, IntoActiveModel, QueryFilter, QueryTrait, Select,
    UpdateMany,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::labels;
use super::owner::Owned;
use super::sql;
pub use super::tables::agent::Model as Agent;
pub use super::tables::agent_version::Model as Version;
use super::tables::{agent, agent_version};
use super::window;
use crate::kernel::ids::{self, Kind};
use crate::kernel::page::{self, Page, Paged};
use crate::kernel::spec::AgentSpec;
use crate::kernel::{Error, Reason, Result, Scope, Timestamp};

/// Which agents a list has.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Only those that are, or are not, published.
    pub published: Option<bool>,
    /// Only those whose metadata has each of these pairs.
    pub metadata: Vec<(String, String)>,
    /// Only these; empty: all.
    pub only: Vec<Uuid>,
    /// Instead of those of the owner the published ones of this organisation's projects, in the
    /// owner's environment.
    pub organisation: Option<Uuid>,
}

/// Keeps a new agent as its version 1, unpublished.
///
/// # Errors
/// Those of the database.
pub async fn insert(
    conn: &impl ConnectionTrait,
    scope: Scope,
    id: Uuid,
    spec: &AgentSpec,
    now: Timestamp,
) -> Result<Agent> {
    let agent = Agent {
        id,
        project_id: scope.project,
        environment: scope.environment.as_str().to_owned(),
        name: spec.name.clone(),
        version: 1,
        published: false,
        metadata: text(&spec.metadata)?,
        spec: text(spec)?,
        created_at: now.0,
        updated_at: now.0,
        deleted_at: None,
        organisation_id: None,
    };
    let row = agent.clone().into_active_model();
    agent::Entity::insert(row).exec_without_returning(conn).await?;
    keep_version(conn, &agent, now).await?;
    labels::add_agent(conn, scope, (id, now.0), &spec.metadata).await?;
    Ok(agent)
}

/// An agent that is not deleted.
///
/// # Errors
/// `agent_not_found`; those of the database.
pub async fn get(conn: &impl ConnectionTrait, scope: Scope, id: Uuid) -> Result<Agent> {
    let found =
        agent::Entity::find_by_id(id).owned(scope).filter(agent::Column::DeletedAt.is_null());
    sql::only(conn, found).await?.ok_or_else(|| not_found(id))
}

/// A page of agents.
///
/// # Errors
/// Those of the database.
pub async fn list(
    conn: &impl ConnectionTrait,
    scope: Scope,
    filter: &Filter,
    page: &Page,
) -> Result<Paged<Agent>> {
    let mut all = match filter.organisation {
        None => agent::Entity::find().owned(scope),
        Some(organisation) => agent::Entity::find()
            .filter(agent::Column::OrganisationId.eq(organisation))
            .filter(agent::Column::Environment.eq(scope.environment.as_str()))
            .filter(agent::Column::Published.eq(true)),
    };
    all = all.filter(agent::Column::DeletedAt.is_null());
    if !filter.only.is_empty() {
        all = all.filter(agent::Column::Id.is_in(filter.only.iter().copied()));
    }
    if let Some(published) = filter.published {
        all = all.filter(agent::Column::Published.eq(published));
    }
    let by = labels::narrow_agents(QueryTrait::query(&mut all), scope, &filter.metadata);
    let mut select = all.clone();
    window::narrow(QueryTrait::query(&mut select), page, by);
    let rows = select.all(conn).await?;
    let mut paged = Paged::of(page, rows, |agent| page::Key { at: agent.created_at, id: agent.id });
    paged.total = window::total(conn, all, page).await?;
    Ok(paged)
}

/// Makes a definition the next version of an agent.
///
/// # Errors
/// `version_conflict` when the agent is no longer what `old` is; `agent_not_found`; those
/// of the database.
pub async fn update(
    conn: &impl ConnectionTrait,
    scope: Scope,
    old: &Agent,
    spec: &AgentSpec,
    now: Timestamp,
) -> Result<Agent> {
    let update = one(scope, old.id)
        .col_expr(agent::Column::Version, Expr::col(agent::Column::Version).add(1))
        .col_expr(agent::Column::Name, Expr::val(&spec.name))
        .col_expr(agent::Column::Metadata, Expr::val(text(&spec.metadata)?))
        .col_expr(agent::Column::Spec, Expr::val(text(spec)?))
        .col_expr(agent::Column::UpdatedAt, Expr::val(now.0))
        .filter(agent::Column::Version.eq(old.version))
        .filter(agent::Column::Published.eq(old.published))
        .filter(agent::Column::UpdatedAt.eq(old.updated_at));
    let Some(agent) = returned(conn, update).await? else {
        let current = get(conn, scope, old.id).await?.version;
        let message = match current == old.version {
            true => "the agent was published or withdrawn meanwhile".to_owned(),
            false => format!("the agent is at version {current}, not {}", old.version),
        };
        return Err(
            Error::new(Reason::VersionConflict, message).with("version", current.to_string())
        );
    };
    keep_version(conn, &agent, now).await?;
    if agent.metadata != old.metadata {
        let former: Map<String, Value> = parsed(&old.metadata)?;
        labels::remove_agent(conn, scope, old.id, &former).await?;
        labels::add_agent(conn, scope, (old.id, old.created_at), &spec.metadata).await?;
    }
    Ok(agent)
}

/// The organisation of an agent's project.
const ORGANISATION: &str = "(SELECT p.organisation_id FROM projects p
    WHERE p.id = agents.project_id AND p.deleted_at IS NULL)";

/// Publishes or withdraws an agent. What it already is it stays, with the same `updated_at`.
///
/// # Errors
/// `agent_not_found`; those of the database.
pub async fn set_published(
    conn: &impl ConnectionTrait,
    scope: Scope,
    id: Uuid,
    published: bool,
    now: Timestamp,
) -> Result<Agent> {
    let same = agent::Column::Published.eq(published);
    let updated_at = Expr::case(same, Expr::col(agent::Column::UpdatedAt)).finally(now.0);
    let update = one(scope, id)
        .col_expr(agent::Column::UpdatedAt, updated_at.into())
        .col_expr(agent::Column::Published, Expr::val(published))
        .col_expr(agent::Column::OrganisationId, Expr::cust(ORGANISATION));
    returned(conn, update).await?.ok_or_else(|| not_found(id))
}

/// Deletes an agent, and tells what it was: its row and versions stay for its runs, no question but
/// [`pinned`] finds it.
///
/// # Errors
/// `agent_not_found`; those of the database.
pub async fn delete(
    conn: &impl ConnectionTrait,
    scope: Scope,
    id: Uuid,
    now: Timestamp,
) -> Result<Agent> {
    let update = one(scope, id).col_expr(agent::Column::DeletedAt, Expr::val(now.0));
    let deleted = returned(conn, update).await?.ok_or_else(|| not_found(id))?;
    labels::remove_agent(conn, scope, id, &parsed(&deleted.metadata)?).await?;
    Ok(deleted)
}

/// A version of an agent that is not deleted.
///
/// # Errors
/// `agent_not_found`, also for a version that was never made; those of the database.
pub async fn get_version(
    conn: &impl ConnectionTrait,
    scope: Scope,
    (id, version): (Uuid, i32),
) -> Result<Version> {
    let found = versions(scope, id).filter(agent_version::Column::Version.eq(version));
    sql::only(conn, found).await?.ok_or_else(|| {
        let message = format!("agent {} has no version {version}", ids::format(Kind::Agent, id));
        Error::new(Reason::AgentNotFound, message)
    })
}

/// The version that a run is pinned to, whether or not the agent was deleted since.
///
/// # Errors
/// `internal_error` when there is none, for a run's version is never deleted; those of the
/// database.
pub async fn pinned(
    conn: &impl ConnectionTrait,
    scope: Scope,
    (id, version): (Uuid, i32),
) -> Result<Version> {
    let found = agent_version::Entity::find_by_id((id, version)).owned(scope);
    sql::only(conn, found)
        .await?
        .ok_or_else(|| Error::internal(format!("agent {id} has lost its version {version}")))
}

/// A page of the versions of an agent that is not deleted, by number. Empty when there is no such
/// agent.
///
/// # Errors
/// Those of the database.
pub async fn list_versions(
    conn: &impl ConnectionTrait,
    scope: Scope,
    id: Uuid,
    page: &Page,
) -> Result<Paged<Version>> {
    let all = versions(scope, id);
    let mut select = all.clone();
    let by = window::by(agent_version::Column::Version, agent_version::Column::AgentId);
    window::narrow(QueryTrait::query(&mut select), page, by);
    let rows = select.all(conn).await?;
    let key = |row: &Version| page::Key { at: i64::from(row.version), id: row.agent_id };
    let mut paged = Paged::of(page, rows, key);
    paged.total = window::total(conn, all, page).await?;
    Ok(paged)
}

/// The definition in the text of a row.
///
/// # Errors
/// `internal_error` for a text that this version cannot read.
pub fn spec(text: &str) -> Result<AgentSpec> {
    parsed(text)
}

/// The error for an agent that the caller may not see or does not have.
#[must_use]
pub fn not_found(id: Uuid) -> Error {
    let id = ids::format(Kind::Agent, id);
    Error::new(Reason::AgentNotFound, format!("agent {id} not found or not published"))
}

async fn keep_version(conn: &impl ConnectionTrait, agent: &Agent, now: Timestamp) -> Result<()> {
    let version = Version {
        agent_id: agent.id,
        version: agent.version,
        project_id: agent.project_id,
        environment: agent.environment.clone(),
        spec: agent.spec.clone(),
        created_at: now.0,
    };
    let row = version.into_active_model();
    agent_version::Entity::insert(row).exec_without_returning(conn).await?;
    Ok(())
}

fn one(scope: Scope, id: Uuid) -> UpdateMany<agent::Entity> {
    agent::Entity::update_many()
        .owned(scope)
        .filter(agent::Column::Id.eq(id))
        .filter(agent::Column::DeletedAt.is_null())
}

fn versions(scope: Scope, id: Uuid) -> Select<agent_version::Entity> {
    let mut agent = Query::select();
    agent
        .expr(Expr::val(1))
        .from(agent::Entity)
        .and_where(agent::Column::Id.eq(id))
        .and_where(agent::Column::DeletedAt.is_null());
    agent_version::Entity::find()
        .owned(scope)
        .filter(agent_version::Column::AgentId.eq(id))
        .filter(Expr::exists(agent))
}

async fn returned(
    conn: &impl ConnectionTrait,
    update: UpdateMany<agent::Entity>,
) -> Result<Option<Agent>> {
    Ok(update.exec_with_returning(conn).await?.pop())
}

fn text(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(Error::internal)
}

fn parsed<T: DeserializeOwned>(text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(Error::internal)
}
