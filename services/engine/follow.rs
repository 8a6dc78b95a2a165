//! Following a run: first what the journal has after the caller's position, then what comes over
//! the bus, without gap or repeat, to the terminal event. The journal is the truth: a gap in the
//! bus, or its silence, sends the follower back there. Called by the services; a follower that goes
//! away stops nothing.

use std::collections::VecDeque;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::{self, BoxStream};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::Engine;
use super::events::Event;
use super::state::{Status, ends_log};
use crate::cache::{Durable, EventId, Frame, Received, Subscription, Token};
use crate::kernel::{Error, Result, Scope, faults};
use crate::store::{Store, events, moves, runs};

const PAGE: u64 = 200;

/// One follower.
struct Follower {
    store: Store,
    bus: Subscription,
    run_id: Uuid,
    idle: Duration,
    /// The last event that was handed out.
    at: EventId,
    /// The journal may have more than was read.
    behind: bool,
    ready: VecDeque<Event>,
    /// Live text that follows an event which is still to be read.
    held: Option<Token>,
    /// Fires when this process drives no run any more: then the journal has the last word.
    closing: CancellationToken,
    closed: bool,
    ended: bool,
}

impl Engine {
    /// The events after `after`, as they come, to the terminal one, or to the end of this process's
    /// work: then the caller may come back to another. An `Err` is the last item.
    ///
    /// # Errors
    /// `run_not_found`; `invalid_field` for a position that the run has not reached.
    pub async fn follow(
        &self,
        scope: Scope,
        run_id: Uuid,
        after: EventId,
    ) -> Result<BoxStream<'static, Result<Event>>> {
        // Subscribed before reading: whatever is committed after the read comes over the bus.
        let bus = self.inner.bus.subscribe(run_id);
        let place = moves::place(self.store().read(), scope, run_id).await?;
        let place = place.ok_or_else(|| runs::not_found(run_id))?;
        if after.seq > place.last_seq {
            let text = format!("after is {after}, but the last event is {}", place.last_seq);
            return Err(Error::field("after", text));
        }
        let over = Status::parse(&place.status).is_some_and(Status::is_terminal);
        let follower = Follower {
            store: self.store().clone(),
            bus,
            run_id,
            idle: self.config().idle(),
            at: after,
            behind: true,
            ready: VecDeque::new(),
            held: None,
            closing: self.inner.closing.clone(),
            closed: false,
            ended: over && after.seq == place.last_seq,
        };
        let events = stream::unfold(follower, |mut follower| async move {
            let event = follower.next().await?;
            Some((event, follower))
        });
        Ok(events.boxed())
    }
}

impl Follower {
    async fn next(&mut self) -> Option<Result<Event>> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                self.at = event.id;
                self.ended = ends_log(&event.r#type);
                return Some(Ok(event));
            }
            if self.ended {
                return None;
            }
            if self.behind {
                if let Err(error) = self.catch_up().await {
                    self.ended = true;
                    return Some(Err(error));
                }
                continue;
            }
            if self.closed {
                return None;
            }
            self.listen().await;
        }
    }

    async fn listen(&mut self) {
        // The owner of the run may die between a commit and telling of it.
        let idle = if faults::without("idle_poll") { Duration::MAX } else { self.idle };
        let received = tokio::select! {
            biased;
            received = timeout(idle, self.bus.next()) => received,
            () = self.closing.cancelled() => {
                (self.behind, self.closed) = (true, true);
                return;
            }
        };
        match received {
            Ok(Received::Frame(Frame::Durable(event))) => self.durable(event),
            Ok(Received::Frame(Frame::Token(token))) => self.token(token),
            Ok(Received::Lagged) | Err(_) => self.behind = true,
        }
    }

    async fn catch_up(&mut self) -> Result<()> {
        let rows = events::after(self.store.read(), self.run_id, self.at.seq, PAGE).await?;
        self.behind = u64::try_from(rows.len()).unwrap_or(PAGE) == PAGE;
        self.ready.extend(rows.into_iter().map(|row| Event::from(Durable::from(row))));
        if let Some(token) = self.held.take() {
            let last = self.ready.back().map_or(self.at, |event| event.id);
            // Else it is superseded, or its event is further on.
            if last.seq == token.id.seq && last < token.id {
                self.ready.push_back(token.into());
            }
        }
        Ok(())
    }

    fn durable(&mut self, event: Durable) {
        if event.seq == self.at.seq + 1 {
            self.ready.push_back(event.into());
        } else if event.seq > self.at.seq {
            self.behind = true;
        }
    }

    fn token(&mut self, token: Token) {
        if token.id.seq > self.at.seq {
            self.behind = true;
            self.held = Some(token);
        } else if token.id.seq == self.at.seq && token.id > self.at {
            self.ready.push_back(token.into());
        }
    }
}
