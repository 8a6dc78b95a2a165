//! The versions of agents. Never changed, never deleted.

use sea_orm::entity::prelude::*;

/// A row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "agent_versions")]
pub struct Model {
    /// Agent.
    #[sea_orm(primary_key, auto_increment = false)]
    pub agent_id: Uuid,
    /// Number, from 1.
    #[sea_orm(primary_key, auto_increment = false)]
    pub version: i32,
    /// Owner: project.
    pub project_id: Uuid,
    /// Owner: environment, `test` or `live`.
    pub environment: String,
    /// JSON of `kernel::spec::AgentSpec`.
    pub spec: String,
    /// When it was made.
    pub created_at: i64,
}

/// No relations: questions name their joins.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
