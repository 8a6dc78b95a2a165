//! The agents, each with its current version.

use sea_orm::entity::prelude::*;

/// A row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "agents")]
pub struct Model {
    /// Id.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// Owner: project.
    pub project_id: Uuid,
    /// Owner: environment, `test` or `live`.
    pub environment: String,
    /// Name.
    pub name: String,
    /// Number of the current version, from 1.
    pub version: i32,
    /// True when keys with the scope `run` see it.
    pub published: bool,
    /// Labels, JSON object of texts.
    pub metadata: String,
    /// The current version, JSON of `kernel::spec::AgentSpec`.
    pub spec: String,
    /// When it was created.
    pub created_at: i64,
    /// When it was last changed.
    pub updated_at: i64,
    /// When it was deleted.
    pub deleted_at: Option<i64>,
    /// Organisation whose keys may see it while it is published; none: it never was.
    pub organisation_id: Option<Uuid>,
}

/// No relations: questions name their joins.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
