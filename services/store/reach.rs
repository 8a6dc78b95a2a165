//! Whose an agent or a run is, for callers that reach beyond one project or not all of it: keys of
//! an organisation, and keys that are narrowed to some agents. Asked by the services before their
//! own questions, which begin with the owner that is told here.

use sea_orm::{ConnectionTrait, QueryResult, Statement, Value};
use uuid::Uuid;

use super::owner;
use super::sql::{pieces, places, statement};
use super::{agents, runs};
use crate::kernel::caller::{Level, Reach};
use crate::kernel::ids::{self, Kind};
use crate::kernel::{Caller, Error, Reason, Result, Scope};

/// Whose an agent is that the caller does something with.
///
/// # Errors
/// `insufficient_scope` when the caller's key is narrowed to other agents; `agent_not_found` when
/// no project of the caller's organisation has published it; those of the database.
pub async fn agent(
    conn: &impl ConnectionTrait,
    caller: &Caller,
    needs: &'static str,
    id: Uuid,
) -> Result<Scope> {
    if !caller.may_on(needs, id) {
        let agent = ids::format(Kind::Agent, id);
        let message = format!("this method needs the scope {needs} for {agent}");
        return Err(Error::new(Reason::InsufficientScope, message).with("scope", needs));
    }
    if caller.level == Level::Project {
        return Ok(caller.scope);
    }
    let sql = "SELECT a.project_id, a.environment FROM agents a
        JOIN projects p ON p.id = a.project_id AND p.deleted_at IS NULL
        WHERE a.id = $1 AND a.environment = $2 AND p.organisation_id = $3
            AND a.published AND a.deleted_at IS NULL";
    let environment = caller.scope.environment.as_str();
    let values = [id.into(), environment.into(), caller.organisation.into()];
    let row = conn.query_one_raw(statement(conn, sql, values)).await?;
    row.map(|row| scope(&row)).transpose()?.ok_or_else(|| agents::not_found(id))
}

/// Whose a run is that the caller does something with.
///
/// # Errors
/// `run_not_found` when the caller's key does not reach it; those of the database.
pub async fn run(
    conn: &impl ConnectionTrait,
    caller: &Caller,
    needs: &'static str,
    id: Uuid,
) -> Result<Scope> {
    let reach = caller.reach(needs);
    if caller.level == Level::Project && reach == Some(Reach::All) {
        return Ok(caller.scope);
    }
    let sql = format!("{OWNED} WHERE r.id = $1");
    let row = conn.query_one_raw(statement(conn, &sql, [id.into()])).await?;
    let row = row.ok_or_else(|| runs::not_found(id))?;
    reached(&row, caller, needs)?.ok_or_else(|| runs::not_found(id))
}

/// True when the caller's key reaches each of these runs of one owner, as [`run`] says of one.
///
/// # Errors
/// Those of the database.
pub async fn all(
    conn: &impl ConnectionTrait,
    caller: &Caller,
    needs: &'static str,
    ids: &[Uuid],
) -> Result<bool> {
    if caller.level == Level::Project && caller.reach(needs) == Some(Reach::All) {
        return Ok(true);
    }
    let mut count = 0;
    for piece in pieces(ids) {
        let sql = format!("{OWNED} WHERE r.id IN ({})", places(1, piece.len()));
        let values = piece.iter().map(|id| Value::from(*id));
        let backend = conn.get_database_backend();
        let rows = conn.query_all_raw(Statement::from_sql_and_values(backend, sql, values)).await?;
        for row in rows {
            count += usize::from(reached(&row, caller, needs)?.is_some());
        }
    }
    Ok(count == ids.len())
}

/// Runs, and what says who reaches them.
const OWNED: &str = "SELECT r.project_id, r.environment, r.agent_id, p.organisation_id, r.key_id,
        a.published AND a.deleted_at IS NULL
    FROM runs r
    JOIN projects p ON p.id = r.project_id AND p.deleted_at IS NULL
    LEFT JOIN agents a ON a.id = r.agent_id";

/// Whose the run is; `None` when the caller's key does not reach it.
fn reached(row: &QueryResult, caller: &Caller, needs: &str) -> Result<Option<Scope>> {
    let (owner, agent) = (scope(row)?, row.try_get_by_index::<Uuid>(2)?);
    let organisation: Option<Uuid> = row.try_get_by_index(3)?;
    let own = match caller.level {
        Level::Project => owner == caller.scope,
        Level::Organisation => {
            let own = row.try_get_by_index::<Option<Uuid>>(4)? == Some(caller.key_id);
            let published = row.try_get_by_index::<Option<bool>>(5)?.unwrap_or_default();
            organisation == Some(caller.organisation)
                && owner.environment == caller.scope.environment
                && (own || published)
        }
        Level::Operator => false,
    };
    Ok((own && caller.may_on(needs, agent)).then_some(owner))
}

fn scope(row: &QueryResult) -> Result<Scope> {
    let environment: String = row.try_get_by_index(1)?;
    owner::scope(row.try_get_by_index(0)?, &environment)
}
