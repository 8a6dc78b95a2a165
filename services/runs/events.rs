//! The event log of a run: a page of it, or a stream that goes on until the run has ended.

use futures::StreamExt;
use tonic::Status;
use tonic::metadata::MetadataMap;
use uuid::Uuid;

use super::{Events, Runs, convert, get};
use crate::cache::EventId;
use crate::kernel::{Caller, Error, Result, Scope};
use crate::proto::runplane::v1 as pb;

/// Default and most events of a page.
const LIMIT: i32 = 20;
const LIMIT_MAX: i32 = 100;

/// The id in `Last-Event-ID`, as a browser sends it when it connects again.
pub fn last_seen(metadata: &MetadataMap) -> Result<Option<EventId>> {
    let Some(value) = metadata.get("last-event-id") else { return Ok(None) };
    let text = value.to_str().unwrap_or("not a text");
    if text.is_empty() {
        return Ok(None);
    }
    parse("last-event-id", text).map(Some)
}

pub(super) async fn list(
    runs: &Runs,
    caller: &Caller,
    request: pb::ListRunEventsRequest,
    last: Option<EventId>,
) -> Result<pb::ListRunEventsResponse> {
    let run_id = get::id(&request.run_id)?;
    let after = after(&request.after, last)?;
    let limit = request.limit.unwrap_or(LIMIT);
    if !(1..=LIMIT_MAX).contains(&limit) {
        let message = format!("limit is {limit}, must be 1 to {LIMIT_MAX}");
        return Err(Error::field("limit", message).with("limit", format!("1 to {LIMIT_MAX}")));
    }
    let page =
        runs.engine.events_page(caller.scope, run_id, after.seq, limit.unsigned_abs()).await?;
    let next = page.has_more.then(|| page.events.last().map(|event| event.id.to_string()));
    Ok(pb::ListRunEventsResponse {
        object: "list".to_owned(),
        data: page.events.iter().map(convert::event).collect::<Result<_>>()?,
        has_more: page.has_more,
        next_cursor: next.flatten(),
    })
}

pub(super) async fn watch(
    runs: &Runs,
    caller: &Caller,
    request: pb::ListRunEventsRequest,
    last: Option<EventId>,
) -> Result<Events> {
    let run_id = get::id(&request.run_id)?;
    follow(runs, caller.scope, run_id, after(&request.after, last)?).await
}

/// The events of a run after one of them.
pub(super) async fn follow(
    runs: &Runs,
    scope: Scope,
    run_id: Uuid,
    after: EventId,
) -> Result<Events> {
    let events = runs.engine.follow(scope, run_id, after).await?;
    let messages = events.map(|event| event.and_then(|event| convert::event(&event)));
    Ok(Box::pin(messages.map(|message| message.map_err(Status::from))))
}

fn after(asked: &str, last: Option<EventId>) -> Result<EventId> {
    if asked.is_empty() {
        return Ok(last.unwrap_or_default());
    }
    parse("after", asked)
}

fn parse(field: &str, text: &str) -> Result<EventId> {
    let wrong = |_| {
        let shown: String = text.chars().take(40).collect();
        Error::field(field, format!("{field} is {shown:?}, must be SEQ or SEQ.N"))
    };
    text.parse().map_err(wrong)
}
