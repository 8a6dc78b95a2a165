//! The journal of runs.

use sea_orm::entity::prelude::*;

/// A row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "run_steps")]
pub struct Model {
    /// Run.
    #[sea_orm(primary_key, auto_increment = false)]
    pub run_id: Uuid,
    /// Round, from 0.
    #[sea_orm(primary_key, auto_increment = false)]
    pub step: i32,
    /// Call in the round; 0 is the model's.
    #[sea_orm(primary_key, auto_increment = false)]
    pub call: i32,
    /// Kind: `llm`, `tool`.
    pub kind: String,
    /// Key that goes out with the call.
    pub idem_key: String,
    /// 0 started, 1 ok, 2 error, 3 unknown.
    pub status: i16,
    /// How many claims have begun it.
    pub attempt: i32,
    /// Epoch that wrote it last.
    pub epoch: i64,
    /// What was intended, JSON.
    pub request: Option<String>,
    /// What came of it, JSON.
    pub result: Option<String>,
    /// What it used, JSON.
    pub usage: Option<String>,
    /// When it began.
    pub started_at: i64,
    /// When it ended.
    pub finished_at: Option<i64>,
}

/// No relations: questions name their joins.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
