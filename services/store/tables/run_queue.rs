//! The queue: one row per run that has not ended.

use sea_orm::entity::prelude::*;

/// A row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "run_queue")]
pub struct Model {
    /// Run.
    #[sea_orm(primary_key, auto_increment = false)]
    pub run_id: Uuid,
    /// Owner: project.
    pub project_id: Uuid,
    /// Owner: environment, `test` or `live`.
    pub environment: String,
    /// 0 ready, 1 leased, 2 waiting for its caller, 3 behind another run of its session.
    pub state: i16,
    /// Lower goes first.
    pub priority: i16,
    /// Not before.
    pub available_at: i64,
    /// Who holds the lease.
    pub worker_id: Option<Uuid>,
    /// The fence: grows with each claim.
    pub epoch: i64,
    /// Claims since the last completed step.
    pub stalls: i32,
    /// Number of the next durable event.
    pub next_seq: i64,
    /// When a cancel was asked for.
    pub cancel_requested_at: Option<i64>,
    /// How to cancel.
    pub cancel_mode: Option<String>,
    /// Oldest version of the server that may claim it.
    pub min_version: i32,
    /// Key that created it, when that has a cap of its own.
    pub key_id: Option<Uuid>,
    /// True when its tokens count in somebody's quota.
    pub metered: bool,
    /// Conversation.
    pub session_id: Option<String>,
    /// Its place in the conversation, from 1; 0 without one.
    pub session_turn: i64,
}

/// No relations: questions name their joins.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
