//! The labels of runs, by which lists filter.

use sea_orm::entity::prelude::*;

/// A row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "run_labels")]
pub struct Model {
    /// Digest of owner, key and value.
    #[sea_orm(primary_key, auto_increment = false)]
    pub label: Uuid,
    /// When the run was created.
    #[sea_orm(primary_key, auto_increment = false)]
    pub created_at: i64,
    /// Run.
    #[sea_orm(primary_key, auto_increment = false)]
    pub run_id: Uuid,
}

/// No relations: questions name their joins.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
