//! Lists runs, without their messages.

use super::{Runs, convert};
use crate::kernel::caller::{Level, Reach};
use crate::kernel::ids::{self, Kind};
use crate::kernel::page::Asked;
use crate::kernel::{Caller, Error, Reason, Result, Timestamp, labels, text};
use crate::messages;
use crate::proto::runplane::v1 as pb;
use crate::store::{self, idempotency, runs::Filter};

/// Most bytes of an idempotency key.
const KEY_BYTES_MAX: usize = 255;

pub(super) async fn list(
    runs: &Runs,
    caller: &Caller,
    request: pb::ListRunsRequest,
) -> Result<pb::ListRunsResponse> {
    let mut filter = filter(caller, &request)?;
    if let Some(key) = &request.idempotency_key {
        if !(1..=KEY_BYTES_MAX).contains(&key.len()) {
            let message = format!("idempotency_key must have 1 to {KEY_BYTES_MAX} characters");
            let error = Error::field("idempotency_key", message);
            return Err(error.with("limit", KEY_BYTES_MAX.to_string()));
        }
        let (digest, now) = (caller.call.pepper.derive("idempotency", key), runs.clock.now());
        let read = runs.store.read();
        filter.only = Some(idempotency::runs(read, caller.scope, &digest, now).await?);
    }
    let digest = format!("{filter:?}");
    let list = runs.cursors.list("runs", caller.scope, digest.as_bytes());
    let order = messages::order(request.order)?;
    let (limit, cursor) = (request.limit, request.cursor.as_str());
    let page = list.page(Asked { limit, cursor, page: request.page, order })?;
    let rows = store::runs::list(runs.store.read(), caller.scope, &filter, &page).await?;
    let now = runs.clock.now();
    let paged = rows.try_map(|row| convert::run(row, Vec::new(), now))?;
    Ok(pb::ListRunsResponse {
        object: "list".to_owned(),
        has_more: paged.has_more,
        next_cursor: list.next(&page, &paged),
        pagination: messages::pagination(&page, &paged),
        data: paged.items,
    })
}

fn filter(caller: &Caller, request: &pb::ListRunsRequest) -> Result<Filter> {
    let agent_id = request.agent_id.as_deref().map(|id| named(Kind::Agent, id));
    let key_id = request.key_id.as_deref().map(|id| named(Kind::Key, id));
    let mut statuses = Vec::with_capacity(request.status.len());
    for status in request.status() {
        let word = convert::status_word(status);
        let word = word.ok_or_else(|| Error::field("status", "status must be a state of a run"))?;
        if !statuses.contains(&word) {
            statuses.push(word);
        }
    }
    if let Some(session_id) = &request.session_id {
        text::storable("session_id", session_id)?;
    }
    // An organisation's key lists the runs that it has created itself.
    let of_key = (caller.level == Level::Organisation).then_some(caller.key_id);
    let metadata = labels::filter(&request.metadata)?;
    if of_key.is_some() && !metadata.is_empty() {
        let message = "metadata filters the runs of one project; this key is an organisation's";
        return Err(Error::field("metadata", message));
    }
    let agents = match caller.reach("runs:read") {
        Some(Reach::Only(agents)) => agents,
        _ => Vec::new(),
    };
    Ok(Filter {
        agents,
        of_key,
        only: None,
        agent_id: agent_id.transpose()?,
        statuses,
        created_after: request.created_after.map(Timestamp::from),
        created_before: request.created_before.map(Timestamp::from),
        metadata,
        key_id: key_id.transpose()?,
        session_id: request.session_id.clone(),
    })
}

/// The UUID of an id that filters; a malformed one names nothing.
fn named(kind: Kind, text: &str) -> Result<uuid::Uuid> {
    let reason = if kind == Kind::Agent { Reason::AgentNotFound } else { Reason::KeyNotFound };
    ids::parse(kind, text).ok_or_else(|| {
        let shown: String = text.chars().take(64).collect();
        Error::new(reason, format!("{shown} not found"))
    })
}
