//! Changes a key: its name and labels, or its end.

use super::{Keys, convert, create};
use crate::kernel::{Caller, Error, Result, labels};
use crate::proto::runplane::v1 as pb;
use crate::store;
use crate::store::keys::Change;

/// Fields that only the server sets; a mask may name them, and nothing happens.
const OUTPUT_ONLY: [&str; 11] = [
    "id",
    "object",
    "scopes",
    "environment",
    "prefix",
    "secret",
    "created_at",
    "expires_at",
    "revoked_at",
    "last_used_at",
    "replaced_by",
];

pub(super) async fn update(
    keys: &Keys,
    caller: &Caller,
    request: pb::UpdateKeyRequest,
) -> Result<pb::Key> {
    let key_id = convert::id(&request.id)?;
    let new = request.key.unwrap_or_default();
    let paths = request.update_mask.map(|mask| mask.paths).unwrap_or_default();
    let (renames, relabels) = named(&paths, &new)?;
    if renames {
        create::name(&new.name)?;
    }
    let metadata = if relabels { Some(labels::checked(new.metadata)?) } else { None };
    let change = Change {
        name: renames.then_some(new.name),
        metadata: metadata.map(|labels| serde_json::json!(labels).to_string()),
    };
    let scope = caller.scope;
    let row = keys
        .store
        .tx("update_key", move |tx| {
            let change = change.clone();
            Box::pin(async move { store::keys::update(tx, scope, key_id, change).await })
        })
        .await?;
    convert::key(row, None)
}

pub(super) async fn revoke(keys: &Keys, caller: &Caller, id: &str) -> Result<pb::Key> {
    let (scope, key_id, now) = (caller.scope, convert::id(id)?, keys.clock.now());
    let row = keys
        .store
        .tx("revoke_key", move |tx| {
            Box::pin(async move { store::keys::revoke(tx, scope, key_id, now).await })
        })
        .await?;
    (keys.forget)(row.key_id.clone()).await;
    convert::key(row, None)
}

/// Whether the mask names the name and the labels; without a mask, whether they are set.
fn named(paths: &[String], new: &pb::Key) -> Result<(bool, bool)> {
    if paths.is_empty() {
        return Ok((!new.name.is_empty(), !new.metadata.is_empty()));
    }
    let (mut name, mut metadata) = (false, false);
    for path in paths {
        match path.as_str() {
            "*" => (name, metadata) = (true, true),
            "name" => name = true,
            "metadata" => metadata = true,
            other if OUTPUT_ONLY.contains(&other) => {}
            other => {
                let shown: String = other.chars().take(64).collect();
                let message = format!("update_mask names {shown}, must name name or metadata");
                return Err(Error::field("update_mask", message));
            }
        }
    }
    Ok((name, metadata))
}
