//! Questions about the inbox: what callers handed over for a waiting run. Asked by `engine` only.

use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter};
use uuid::Uuid;

use super::Tx;
use super::sql::statement;
use super::tables::run_inbox;
use crate::kernel::{Result, Timestamp};

/// What is handed over.
#[derive(Debug, Clone, Copy)]
pub struct Parcel<'a> {
    /// Id of the tool call.
    pub key: &'a str,
    /// JSON.
    pub payload: &'a str,
    /// By which key.
    pub api_key_id: Option<Uuid>,
}

/// Puts a parcel in; the first of a key wins.
pub async fn put(tx: &Tx, run_id: Uuid, parcel: Parcel<'_>, now: Timestamp) -> Result<()> {
    let sql = "INSERT INTO run_inbox (run_id, key, payload, received_at, api_key_id)
        VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING";
    let Parcel { key, payload, api_key_id } = parcel;
    let values = [run_id.into(), key.into(), payload.into(), now.0.into(), api_key_id.into()];
    tx.execute_raw(statement(tx, sql, values)).await?;
    Ok(())
}

/// Everything that was handed over for a run.
pub async fn list(conn: &impl ConnectionTrait, run_id: Uuid) -> Result<Vec<run_inbox::Model>> {
    let all = run_inbox::Entity::find().filter(run_inbox::Column::RunId.eq(run_id));
    Ok(all.all(conn).await?)
}
