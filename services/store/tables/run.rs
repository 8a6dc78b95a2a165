//! The runs.

use sea_orm::entity::prelude::*;

/// A row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "runs")]
pub struct Model {
    /// Id.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// Owner: project.
    pub project_id: Uuid,
    /// Owner: environment, `test` or `live`.
    pub environment: String,
    /// Agent.
    pub agent_id: Uuid,
    /// Version of the agent.
    pub agent_version: i32,
    /// Conversation.
    pub session_id: Option<String>,
    /// Key that created it.
    pub key_id: Option<Uuid>,
    /// State, as in JSON: `queued`, `in_progress`…
    pub status: String,
    /// Input, JSON.
    pub input: Option<String>,
    /// Parameters, JSON object.
    pub parameters: String,
    /// Output, JSON.
    pub output: Option<String>,
    /// Why it failed: code.
    pub error_code: Option<String>,
    /// Why it failed: words.
    pub error_message: Option<String>,
    /// What it waits for, JSON.
    pub required_action: Option<String>,
    /// Tokens read.
    pub input_tokens: i32,
    /// Tokens written.
    pub output_tokens: i32,
    /// Model calls answered.
    pub model_calls: i32,
    /// Tool calls answered.
    pub tool_calls: i32,
    /// Labels, JSON object of texts.
    pub metadata: String,
    /// Which limit ended it.
    pub incomplete_reason: Option<String>,
    /// How many times it was claimed.
    pub attempt: i32,
    /// When it was created.
    pub created_at: i64,
    /// When it was first claimed.
    pub started_at: Option<i64>,
    /// When it ended.
    pub completed_at: Option<i64>,
    /// When it ends by itself.
    pub expires_at: Option<i64>,
    /// Number of the last durable event.
    pub last_seq: i64,
    /// Grows with every change of the row.
    pub revision: i64,
}

/// No relations: questions name their joins.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
