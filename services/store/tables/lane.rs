//! The lanes of the scheduler: how many runs of an owner may go at once, and when it was last
//! served; and how many of a key's, for keys with a cap of their own.

use sea_orm::entity::prelude::*;

/// A row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "lanes")]
pub struct Model {
    /// Owner: project; of the kind `key`, the key.
    #[sea_orm(primary_key, auto_increment = false)]
    pub project_id: Uuid,
    /// Owner: environment, `test` or `live`; of the kind `key`, empty.
    #[sea_orm(primary_key, auto_increment = false)]
    pub environment: String,
    /// `run`, or `key`.
    #[sea_orm(primary_key, auto_increment = false)]
    pub kind: String,
    /// Most leased runs.
    pub cap: i32,
    /// When a worker last took a run from it.
    pub last_served_at: i64,
    /// True when nothing is taken.
    pub paused: bool,
}

/// No relations: questions name their joins.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
