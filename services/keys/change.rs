//! Changes a key: its name and labels, or its end.

use prost::Message;

use super::{Keys, convert, create};
use crate::kernel::call::Changed;
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
    let changed = keys.store.change(caller, "update_key", move |tx| {
        let change = change.clone();
        Box::pin(async move {
            let row = store::keys::update(tx, scope, key_id, change).await?;
            convert::changed(row, None)
        })
    });
    Ok(changed.await?.answer)
}

/// Revokes a key; `answer` is what the caller is told of it.
pub(super) async fn revoke<M: Message + 'static>(
    keys: &Keys,
    caller: &Caller,
    id: &str,
    answer: fn(pb::Key) -> M,
) -> Result<M> {
    let (scope, key_id, now) = (caller.scope, convert::id(id)?, keys.clock.now());
    let changed = keys.store.change(caller, "revoke_key", move |tx| {
        Box::pin(async move {
            let row = store::keys::revoke(tx, scope, key_id, now).await?;
            let public = row.key_id.clone();
            let Changed { answer: key, target, after, .. } = convert::changed(row, None)?;
            let changed = Changed::new(target, answer(key));
            Ok(Changed { after, ..changed }.with(public))
        })
    });
    let changed = changed.await?;
    (keys.forget)(changed.more).await;
    Ok(changed.answer)
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
