//! What callers handed over for a waiting run. The first of a key wins.

use sea_orm::entity::prelude::*;

/// A row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "run_inbox")]
pub struct Model {
    /// Run.
    #[sea_orm(primary_key, auto_increment = false)]
    pub run_id: Uuid,
    /// Id of the tool call.
    #[sea_orm(primary_key, auto_increment = false)]
    pub key: String,
    /// What was handed over, JSON.
    pub payload: String,
    /// When.
    pub received_at: i64,
    /// By which key.
    pub api_key_id: Option<Uuid>,
}

/// No relations: questions name their joins.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
