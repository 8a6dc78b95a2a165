//! The workers: one row per process that runs them.

use sea_orm::entity::prelude::*;

/// A row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "workers")]
pub struct Model {
    /// Id.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// Grows with each heartbeat.
    pub beat: i64,
    /// Lease of everything that it holds.
    pub lease_until: i64,
    /// When it started.
    pub started_at: i64,
    /// Version of the server.
    pub version: i32,
    /// Where it listens.
    pub addr: Option<String>,
}

/// No relations: questions name their joins.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
