//! Changes a key: its name, labels and limits, or its end.

use prost::Message;

use super::{Keys, convert, create};
use crate::kernel::call::Changed;
use crate::kernel::{Caller, Result, labels};
use crate::messages;
use crate::proto::runplane::v1 as pb;
use crate::store;
use crate::store::keys::Change;

/// Fields that only the server sets; a mask may name them, and nothing happens.
const OUTPUT_ONLY: &[&str] = &[
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
    "level",
    "organisation_id",
    "project_id",
];

pub(super) async fn update(
    keys: &Keys,
    caller: &Caller,
    request: pb::UpdateKeyRequest,
) -> Result<pb::Key> {
    let key_id = convert::id(&request.id)?;
    let new = request.key.unwrap_or_default();
    let fields = [
        ("name", !new.name.is_empty()),
        ("metadata", !new.metadata.is_empty()),
        ("limits", new.limits.is_some()),
    ];
    let named = messages::masked(request.update_mask, &fields, OUTPUT_ONLY)?;
    let mut change = Change::default();
    for field in &named {
        match *field {
            "name" => {
                messages::name(&new.name)?;
                change.name = Some(new.name.clone());
            }
            "metadata" => {
                let labels = labels::checked(new.metadata.clone())?;
                change.metadata = Some(serde_json::json!(labels).to_string());
            }
            _ => {}
        }
    }
    let limits = messages::overrides(new.limits)?;
    let scope = caller.scope;
    let who = caller.clone();
    let changed = keys.store.change(caller, "update_key", move |tx| {
        let (mut change, named, caller) = (change.clone(), named.clone(), who.clone());
        Box::pin(async move {
            let old = store::keys::locked(tx, scope, key_id).await?;
            create::rules(&caller, &old)?;
            change.limits = Some(messages::merged_limits(&old.limits, &limits, &named)?);
            let row = store::keys::update(tx, scope, key_id, change).await?;
            let public = row.key_id.clone();
            Ok(convert::changed(row, None)?.before(&convert::state(&old))?.with(public))
        })
    });
    let changed = changed.await?;
    keys.forget.key(changed.more).await;
    Ok(changed.answer)
}

/// Revokes a key; `answer` is what the caller is told of it.
pub(super) async fn revoke<M: Message + 'static>(
    keys: &Keys,
    caller: &Caller,
    id: &str,
    answer: fn(pb::Key) -> M,
) -> Result<M> {
    let (scope, key_id, now) = (caller.scope, convert::id(id)?, keys.clock.now());
    let who = caller.clone();
    let changed = keys.store.change(caller, "revoke_key", move |tx| {
        let caller = who.clone();
        Box::pin(async move {
            let old = store::keys::locked(tx, scope, key_id).await?;
            create::rules(&caller, &old)?;
            let row = store::keys::revoke(tx, scope, key_id, now).await?;
            let public = row.key_id.clone();
            let Changed { answer: key, target, after, .. } = convert::changed(row, None)?;
            let changed = Changed::new(target, answer(key)).before(&convert::state(&old))?;
            Ok(Changed { after, ..changed }.with(public))
        })
    });
    let changed = changed.await?;
    keys.forget.key(changed.more).await;
    Ok(changed.answer)
}
