//! The event log of a run: a page of it, or a stream that goes on until the run has ended.

use std::future::Future;
use std::task::Poll;
use std::time::Duration;

use futures::{Stream, StreamExt, stream};
use tonic::Status;
use tonic::metadata::MetadataMap;
use uuid::Uuid;

use super::{Events, Runs, convert, get};
use crate::cache::EventId;
use crate::kernel::{Caller, Error, Result, Scope};
use crate::proto::runplane::v1 as pb;

/// How often a stream asks whether its caller's key still opens.
const CHECK_EVERY: Duration = Duration::from_secs(1);
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
    let scope = get::owner(runs, caller, "runs:read", run_id).await?;
    let page = runs.engine.events_page(scope, run_id, after.seq, limit.unsigned_abs()).await?;
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
    let after = after(&request.after, last)?;
    let scope = get::owner(runs, caller, "runs:read", run_id).await?;
    follow(runs, (caller, scope), run_id, after).await
}

/// The events of a run after one of them.
pub(super) async fn follow(
    runs: &Runs,
    (caller, scope): (&Caller, Scope),
    run_id: Uuid,
    after: EventId,
) -> Result<Events> {
    let events = runs.engine.follow(scope, run_id, after).await?;
    let messages = events.map(|event| event.and_then(|event| convert::event(&event)));
    let messages = messages.map(|message| message.map_err(Status::from));
    Ok(match caller.alive.clone() {
        Some(alive) => Box::pin(until(messages, alive.ended(CHECK_EVERY))),
        None => Box::pin(messages),
    })
}

/// The messages until `end` is done, which is the last of them then.
fn until(
    messages: impl Stream<Item = Result<pb::RunEvent, Status>> + Send + 'static,
    end: impl Future<Output = Error> + Send + 'static,
) -> impl Stream<Item = Result<pb::RunEvent, Status>> + Send {
    let (mut messages, mut end) = (Box::pin(messages), Box::pin(end));
    let mut over = false;
    stream::poll_fn(move |context| {
        if over {
            return Poll::Ready(None);
        }
        if let Poll::Ready(error) = end.as_mut().poll(context) {
            over = true;
            return Poll::Ready(Some(Err(error.into())));
        }
        messages.as_mut().poll_next(context)
    })
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
