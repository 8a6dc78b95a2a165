//! Questions about runs: one, and lists of them. Asked by the runs service. Never changes a run;
//! that is the engine's, by its own questions.

use sea_orm::sea_query::{Expr, ExprTrait, Query, SelectStatement, UnionType};
use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, FromQueryResult, QueryFilter, QueryResult,
    QuerySelect, QueryTrait, Select,
};
use uuid::Uuid;

use super::labels;
use super::owner::{self, Owned};
use super::sql;
pub use super::tables::run::Model as Run;
use super::tables::run::{Column, Entity};
use super::window::{self, By};
use crate::kernel::ids::{self, Kind};
use crate::kernel::page::{self, Page, Paged, Position};
use crate::kernel::{Error, Reason, Result, Scope, Timestamp};

/// Which runs a list has. All must hold.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Only runs of this agent.
    pub agent_id: Option<Uuid>,
    /// Only these; `None`: all.
    pub only: Option<Vec<Uuid>>,
    /// Only runs of these agents; empty: all.
    pub agents: Vec<Uuid>,
    /// Instead of those of the owner the ones that this key has created in any project that is not
    /// deleted, in the owner's environment.
    pub of_key: Option<Uuid>,
    /// Only runs in one of these states; empty: all.
    pub statuses: Vec<&'static str>,
    /// Only runs created at or after this time.
    pub created_after: Option<Timestamp>,
    /// Only runs created before this time.
    pub created_before: Option<Timestamp>,
    /// Only runs whose metadata has each of these pairs.
    pub metadata: Vec<(String, String)>,
    /// Only runs created by this key.
    pub key_id: Option<Uuid>,
    /// Only runs of this conversation.
    pub session_id: Option<String>,
}

/// A run.
///
/// # Errors
/// `run_not_found`; those of the database.
pub async fn get(conn: &impl ConnectionTrait, scope: Scope, id: Uuid) -> Result<Run> {
    let found = Entity::find_by_id(id).owned(scope);
    sql::only(conn, found).await?.ok_or_else(|| not_found(id))
}

/// Data of a run's `step` events, oldest first, with commas between: a JSON array but for its
/// brackets. One question instead of two, since each costs more than what it reads.
const THREAD: &str = "(SELECT string_agg(e.data, ',' ORDER BY e.seq) FROM run_events e
    WHERE e.run_id = runs.id AND e.type = 'step')";

/// A run and its thread, as a JSON array of messages.
///
/// # Errors
/// `run_not_found`; those of the database.
pub async fn get_with_thread(
    conn: &impl ConnectionTrait,
    scope: Scope,
    id: Uuid,
) -> Result<(Run, String)> {
    let select = Entity::find_by_id(id).owned(scope).expr_as(Expr::cust(THREAD), "thread");
    let row = conn.query_one(&select.into_query()).await?.ok_or_else(|| not_found(id))?;
    let thread: Option<String> = row.try_get("", "thread")?;
    let run = Run::from_query_result(&row, "")?;
    Ok((run, format!("[{}]", thread.unwrap_or_default())))
}

/// A page of runs.
///
/// # Errors
/// Those of the database.
pub async fn list(
    conn: &impl ConnectionTrait,
    scope: Scope,
    filter: &Filter,
    page: &Page,
) -> Result<Paged<Run>> {
    let rows = rows_of(scope, filter, page).all(conn).await?;
    let mut paged = Paged::of(page, rows, |run| page::Key { at: run.created_at, id: run.id });
    if matches!(page.position, Position::Offset(_)) {
        paged.total = window::total(conn, filtered(scope, filter).0, page).await?;
    }
    Ok(paged)
}

/// Runs of deleted projects that have not ended and are not being cancelled, some of them.
///
/// # Errors
/// Those of the database.
pub async fn orphans(conn: &impl ConnectionTrait) -> Result<Vec<(Scope, Uuid)>> {
    let sql = "SELECT r.project_id, r.environment, r.id
        FROM lanes l JOIN projects p ON p.id = l.project_id AND p.deleted_at IS NOT NULL
            JOIN runs r ON r.project_id = l.project_id AND r.environment = l.environment
                AND r.status IN ('queued', 'in_progress', 'requires_action')
        WHERE l.paused LIMIT 100";
    let orphan = |row: QueryResult| {
        let environment: String = row.try_get_by_index(1)?;
        Ok((owner::scope(row.try_get_by_index(0)?, &environment)?, row.try_get_by_index(2)?))
    };
    let rows = conn.query_all_raw(sql::statement(conn, sql, [])).await?;
    rows.into_iter().map(orphan).collect()
}

/// The error for a run that the owner does not have.
#[must_use]
pub fn not_found(id: Uuid) -> Error {
    let message = format!("run {} not found", ids::format(Kind::Run, id));
    Error::new(Reason::RunNotFound, message)
}

/// The rows of the page and one more.
fn rows_of(scope: Scope, filter: &Filter, page: &Page) -> Select<Entity> {
    if filter.statuses.len() > 1 && filter.metadata.is_empty() && page.offset() == 0 {
        return merged(scope, filter, page);
    }
    let (mut select, by) = filtered(scope, filter);
    window::narrow(QueryTrait::query(&mut select), page, by);
    select
}

/// Several states: an index is in order within each alone, so the window of each is taken, and the
/// page is theirs merged. Asking for all at once would sort every run that is in one of them.
fn merged(scope: Scope, filter: &Filter, page: &Page) -> Select<Entity> {
    let mut windows = filter.statuses.iter().map(|status| {
        let alone = Filter { statuses: vec![status], ..filter.clone() };
        let (mut select, by) = filtered(scope, &alone);
        let query = QueryTrait::query(&mut select);
        query.clear_selects().column((Entity, Column::Id));
        window::narrow(query, page, by);
        // Only a select around it may be ordered and limited inside a union, on both databases.
        let mut around = Query::select();
        around.column(Column::Id).from_subquery(query.take(), "one");
        around
    });
    let mut ids: SelectStatement = windows.next().unwrap_or_default();
    for one in windows {
        ids.union(UnionType::All, one);
    }
    let mut select = of(scope, filter).filter(Column::Id.in_subquery(ids));
    let by = window::by(Column::CreatedAt, Column::Id);
    window::narrow(QueryTrait::query(&mut select), page, by);
    select
}

/// The runs of an owner, or those that a key has created that is no project's.
fn of(scope: Scope, filter: &Filter) -> Select<Entity> {
    match filter.of_key {
        Some(key) => Entity::find()
            .filter(Column::Environment.eq(scope.environment.as_str()))
            .filter(Column::KeyId.eq(key))
            .filter(Expr::cust(LIVE)),
        None => Entity::find().owned(scope),
    }
}

/// True for a run of a project that is not deleted.
const LIVE: &str = "EXISTS (SELECT 1 FROM projects p
    WHERE p.id = runs.project_id AND p.deleted_at IS NULL)";

/// The whole list, and the columns that it is ordered by.
fn filtered(scope: Scope, filter: &Filter) -> (Select<Entity>, By) {
    let mut select = of(scope, filter);
    if let Some(only) = &filter.only {
        select = select.filter(Column::Id.is_in(only.iter().copied()));
    }
    if !filter.agents.is_empty() {
        select = select.filter(Column::AgentId.is_in(filter.agents.iter().copied()));
    }
    if let Some(agent) = filter.agent_id {
        select = select.filter(Column::AgentId.eq(agent));
    }
    match filter.statuses.as_slice() {
        [] => {}
        [status] => select = select.filter(Column::Status.eq(*status)),
        several => select = select.filter(Column::Status.is_in(several.iter().copied())),
    }
    if let Some(key) = filter.key_id {
        select = select.filter(Column::KeyId.eq(key));
    }
    if let Some(session) = &filter.session_id {
        select = select.filter(Column::SessionId.eq(session));
    }
    let by = labels::narrow_runs(QueryTrait::query(&mut select), scope, &filter.metadata);
    let at = || Expr::col(by[0].clone());
    if let Some(from) = filter.created_after {
        select = select.filter(at().gte(from.0));
    }
    if let Some(to) = filter.created_before {
        select = select.filter(at().lt(to.0));
    }
    (select, by)
}
