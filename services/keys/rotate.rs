//! Replaces a key by a successor: with an overlap in which both work, or without.

use std::time::Duration;

use super::{Keys, convert, create};
use crate::kernel::{Caller, Error, Result, Timestamp};
use crate::proto::runplane::v1 as pb;
use crate::store;

/// Longest overlap, in seconds: 7 days.
const OVERLAP_S_MAX: u32 = 604_800;

pub(super) async fn rotate(
    keys: &Keys,
    caller: &Caller,
    id: &str,
    overlap_seconds: i32,
) -> Result<pb::Key> {
    let overlap = overlap(overlap_seconds)?;
    let (scope, key_id) = (caller.scope, convert::id(id)?);
    let old = store::keys::get(keys.store.read(), scope, key_id).await?;
    let now = keys.clock.now();
    create::no_session(caller)?;
    let grants = convert::kept_grants(&old)?;
    // Who gets the successor's secret could do all that the old key can.
    create::gives(caller, &grants)?;
    let new = create::New {
        name: old.name.clone(),
        grants,
        metadata: convert::labels(&old.metadata)?,
        created_by: Some(caller.key_id),
        expires_at: old.expires_at.map(Timestamp),
        limits: old.limits.clone(),
    };
    let (level, organisation) = (caller.level, caller.organisation);
    let space = create::Space { scope, level, organisation };
    let (row, fresh) = create::row(&keys.pepper, space, new, now);
    let times = (now, now.plus(overlap));
    let secret = fresh.secret;
    let changed = keys.store.change(caller, "rotate_key", move |tx| {
        let (row, secret) = (row.clone(), secret.clone());
        Box::pin(async move {
            let old = store::keys::replace(tx, scope, (key_id, row.id), times).await?;
            let row = store::keys::insert(tx, scope, row).await?;
            // It names its successor, so the line tells which key was replaced.
            convert::changed(row, Some(&secret))?.before(&(old.id, convert::state(&old)))
        })
    });
    let answer = changed.await?.answer;
    keys.forget.key(old.key_id).await;
    Ok(answer)
}

fn overlap(seconds: i32) -> Result<Duration> {
    match u32::try_from(seconds) {
        Ok(seconds) if seconds <= OVERLAP_S_MAX => Ok(Duration::from_secs(seconds.into())),
        _ => {
            let message = format!("overlap_seconds is {seconds}, must be 0 to {OVERLAP_S_MAX}");
            Err(Error::field("overlap_seconds", message)
                .with("limit", format!("0 to {OVERLAP_S_MAX}")))
        }
    }
}
