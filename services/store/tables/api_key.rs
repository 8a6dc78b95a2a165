//! The keys, and the sessions made from them. Keys are never deleted: old runs name them.

use sea_orm::entity::prelude::*;

/// A row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "api_keys")]
pub struct Model {
    /// Id.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// Owner: project; of keys of other levels the organisation, or nil.
    pub project_id: Uuid,
    /// Owner: environment, `test` or `live`.
    pub environment: String,
    /// Public part of the key, by which it is found.
    pub key_id: String,
    /// HMAC-SHA-256 of the whole key, 32 bytes.
    pub mac: Vec<u8>,
    /// Name of the pepper that the HMAC was made with.
    pub pepper_id: String,
    /// Name.
    pub name: String,
    /// JSON list of grants.
    pub scopes: String,
    /// Labels, JSON object of texts.
    pub metadata: String,
    /// Key that made it.
    pub created_by: Option<Uuid>,
    /// When it was created.
    pub created_at: i64,
    /// When it ends by itself.
    pub expires_at: Option<i64>,
    /// When it was revoked.
    pub revoked_at: Option<i64>,
    /// Key that follows it.
    pub replaced_by: Option<Uuid>,
    /// When it was last used, give or take a minute.
    pub last_used_at: Option<i64>,
    /// Organisation; none: the key is an operator's.
    pub organisation_id: Option<Uuid>,
    /// How far it opens: `project`, `organisation` or `operator`.
    pub level: String,
    /// What it has instead of its project's limits, JSON.
    pub limits: String,
    /// Of a session: the key that it was made from.
    pub parent_id: Option<Uuid>,
}

/// No relations: questions name their joins.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
