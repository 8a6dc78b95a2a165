//! Labels: the pairs in the metadata of agents and runs, kept as digests so that lists filter by
//! them along an index. Written wherever metadata is written: by `agents.rs`, and by the engine
//! when it creates a run.

use sea_orm::sea_query::{Alias, Condition, Expr, ExprTrait, IntoIden, Query, SelectStatement};
use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, Set};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::tables::{agent, agent_label, run, run_label};
use super::window::{self, By};
use crate::kernel::{Result, Scope};

/// The digest of a pair. It holds the owner too, so that no question can meet another's labels.
#[must_use]
pub fn label(scope: Scope, key: &str, value: &str) -> Uuid {
    let mut hash = Sha256::new();
    hash.update(scope.project.as_bytes());
    for part in [scope.environment.as_str(), key, value] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let digest: [u8; 32] = hash.finalize().into();
    let mut half = [0; 16];
    half.copy_from_slice(&digest[..16]);
    Uuid::from_bytes(half)
}

/// Labels a new run with its metadata; `created_at` is the run's.
///
/// # Errors
/// Those of the database.
pub async fn add_run(
    conn: &impl ConnectionTrait,
    scope: Scope,
    (run_id, created_at): (Uuid, i64),
    metadata: &Map<String, Value>,
) -> Result<()> {
    let rows: Vec<_> = digests(scope, metadata)
        .map(|label| run_label::ActiveModel {
            label: Set(label),
            created_at: Set(created_at),
            run_id: Set(run_id),
        })
        .collect();
    if !rows.is_empty() {
        run_label::Entity::insert_many(rows).exec_without_returning(conn).await?;
    }
    Ok(())
}

/// Takes the labels of a run away; `created_at` is the run's.
pub(super) async fn remove_run(
    conn: &impl ConnectionTrait,
    scope: Scope,
    (run_id, created_at): (Uuid, i64),
    metadata: &Map<String, Value>,
) -> Result<()> {
    if metadata.is_empty() {
        return Ok(());
    }
    run_label::Entity::delete_many()
        .filter(run_label::Column::Label.is_in(digests(scope, metadata)))
        .filter(run_label::Column::CreatedAt.eq(created_at))
        .filter(run_label::Column::RunId.eq(run_id))
        .exec(conn)
        .await?;
    Ok(())
}

/// Labels an agent with its metadata; `created_at` is the agent's.
pub(super) async fn add_agent(
    conn: &impl ConnectionTrait,
    scope: Scope,
    (agent_id, created_at): (Uuid, i64),
    metadata: &Map<String, Value>,
) -> Result<()> {
    let rows: Vec<_> = digests(scope, metadata)
        .map(|label| agent_label::ActiveModel {
            label: Set(label),
            created_at: Set(created_at),
            agent_id: Set(agent_id),
        })
        .collect();
    if !rows.is_empty() {
        agent_label::Entity::insert_many(rows).exec_without_returning(conn).await?;
    }
    Ok(())
}

/// Takes the labels of an agent's former metadata away.
pub(super) async fn remove_agent(
    conn: &impl ConnectionTrait,
    scope: Scope,
    agent_id: Uuid,
    metadata: &Map<String, Value>,
) -> Result<()> {
    if metadata.is_empty() {
        return Ok(());
    }
    agent_label::Entity::delete_many()
        .filter(agent_label::Column::Label.is_in(digests(scope, metadata)))
        .filter(agent_label::Column::AgentId.eq(agent_id))
        .exec(conn)
        .await?;
    Ok(())
}

/// Narrows a select of agents to those with each of these pairs, and says by what it is ordered
/// along the labels' index.
pub(super) fn narrow_agents(
    select: &mut SelectStatement,
    scope: Scope,
    pairs: &[(String, String)],
) -> By {
    use agent_label::Column::{AgentId, CreatedAt, Label};
    let labels = (agent_label::Entity, Label, window::by(CreatedAt, AgentId));
    let own = (agent::Entity, window::by(agent::Column::CreatedAt, agent::Column::Id));
    narrow(select, labels, own, &asked(scope, pairs))
}

/// Narrows a select of runs to those with each of these pairs, and says by what it is ordered along
/// the labels' index.
pub(super) fn narrow_runs(
    select: &mut SelectStatement,
    scope: Scope,
    pairs: &[(String, String)],
) -> By {
    use run_label::Column::{CreatedAt, Label, RunId};
    let labels = (run_label::Entity, Label, window::by(CreatedAt, RunId));
    let own = (run::Entity, window::by(run::Column::CreatedAt, run::Column::Id));
    narrow(select, labels, own, &asked(scope, pairs))
}

/// The first label is the index that the list walks along; each row found is looked up under the
/// others.
fn narrow<L: EntityTrait, O: EntityTrait>(
    select: &mut SelectStatement,
    (table, label, theirs): (L, L::Column, By),
    (owner, own): (O, By),
    asked: &[Uuid],
) -> By {
    let same = |theirs: &By| {
        let pairs = theirs.iter().zip(&own);
        pairs.fold(Condition::all(), |all, (theirs, own)| {
            all.add(Expr::col(theirs.clone()).equals(own.clone()))
        })
    };
    let Some((first, others)) = asked.split_first() else { return own };
    // SQLite never turns a cross join around, so the labels come first whatever its statistics say.
    select
        .from_clear()
        .from(table)
        .cross_join(owner)
        .cond_where(same(&theirs))
        .and_where(label.eq(*first));
    for (n, other) in others.iter().enumerate() {
        let also = Alias::new(format!("also_{n}")).into_iden();
        let [at, id] = theirs.clone().map(|(_, column)| (also.clone(), column));
        let label = (also.clone(), label.as_column_ref().1);
        let mut row = Query::select();
        row.expr(Expr::val(1))
            .from_as(table, also)
            .and_where(Expr::col(label).eq(*other))
            .cond_where(same(&[at, id]));
        select.and_where(Expr::exists(row));
    }
    theirs
}

fn asked(scope: Scope, pairs: &[(String, String)]) -> Vec<Uuid> {
    pairs.iter().map(|(key, value)| label(scope, key, value)).collect()
}

fn digests(scope: Scope, metadata: &Map<String, Value>) -> impl Iterator<Item = Uuid> + '_ {
    metadata
        .iter()
        .filter_map(move |(key, value)| value.as_str().map(|value| label(scope, key, value)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::Environment;

    #[test]
    fn pairs_owners_and_boundaries_are_told_apart() {
        let scope = |n, environment| Scope { project: Uuid::from_u128(n), environment };
        let labels = [
            label(scope(1, Environment::Test), "ab", "c"),
            label(scope(1, Environment::Test), "a", "bc"),
            label(scope(1, Environment::Live), "ab", "c"),
            label(scope(2, Environment::Test), "ab", "c"),
        ];
        let distinct: std::collections::HashSet<_> = labels.iter().collect();
        assert_eq!(distinct.len(), labels.len());
        assert_eq!(labels[0], label(scope(1, Environment::Test), "ab", "c"));
    }
}
