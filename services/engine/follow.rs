//! Following a run: first what the journal has after the caller's position, then what comes over
//! the bus, without gap or repeat, to the terminal event. The journal is the truth: a gap in the
//! bus sends the follower back there, and so does the look of `watch.rs`. Called by the services; a
//! follower that goes away stops nothing.
//!
//! **Live text has no gap.** The text that a follower gets of one message begins at its first byte,
//! or where its caller has come to, and each piece goes on where the last one ended. When a piece
//! is missing, what is kept in Redis is looked at once; when that does not help, later pieces are
//! withheld until the message itself comes, which has all of the text. Nobody is asked for what is
//! missing: the worker's process sends the text of its runs again after an outage anyway.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::{self, BoxStream};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::Engine;
use super::events::Event;
use super::state::{Status, ends_log};
use crate::cache::{Durable, EventId, Frame, Received, Subscription, Token};
use crate::kernel::{Error, Result, Scope};
use crate::store::{Store, events, moves, runs};

/// Events that are read at once, and bytes of these, about: a follower holds them in memory.
const PAGE: i64 = 200;
const PAGE_BYTES: i64 = 1024 * 1024;

/// What there is to look at before more is awaited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    /// Nothing.
    No,
    /// The journal, and the live text after its end: committed events supersede the text before.
    Journal,
    /// The journal, with the live text before each event: the follower was there, and shall have
    /// it. An event of which the bus brings the text yet is left for a moment.
    All,
    /// The same, but nothing is left.
    Late,
}

/// One follower.
struct Follower {
    store: Store,
    bus: Subscription,
    run_id: Uuid,
    place: Place,
    /// The message of which a piece is missing, for which has been looked.
    torn: Option<Arc<str>>,
    look: Look,
    /// The journal has an event with this number; when the bus has not brought it by then, it is
    /// read.
    awaited: Option<(i64, Instant)>,
    /// How long such an event is awaited.
    grace: Duration,
    ready: VecDeque<Event>,
    /// Live text before which something else is still to be read.
    held: Option<Token>,
    /// Fires when this process drives no run any more: then the journal has the last word.
    closing: CancellationToken,
    closed: bool,
    ended: bool,
}

/// How far a follower has come, with what is ready for it.
struct Place {
    /// The last event.
    at: EventId,
    /// The message that live text has come of, and how many bytes.
    text: Option<(Arc<str>, usize)>,
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
            place: Place { at: after, text: None },
            torn: None,
            look: Look::Journal,
            awaited: None,
            grace: self.config().grace(),
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
                self.ended = ends_log(&event.r#type);
                return Some(Ok(event));
            }
            if self.ended {
                return None;
            }
            if self.look != Look::No {
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
        self.awaited = self.awaited.filter(|(seq, _)| *seq > self.place.at.seq);
        let late = self.awaited.map(|(_, until)| until);
        let waiting = async {
            match late {
                Some(until) => sleep_until(until).await,
                None => std::future::pending().await,
            }
        };
        let received = tokio::select! {
            biased;
            received = self.bus.next() => received,
            () = waiting => {
                (self.look, self.awaited) = (Look::Late, None);
                return;
            }
            () = self.closing.cancelled() => {
                (self.look, self.closed) = (Look::Journal, true);
                return;
            }
        };
        match received {
            Received::Frame(Frame::Durable(event)) if self.place.is_followed_by(event.seq) => {
                self.durable(event);
            }
            Received::Frame(Frame::Durable(event)) if event.seq > self.place.at.seq => {
                self.look = Look::All;
            }
            Received::Frame(Frame::Token(token)) => self.live(token),
            Received::Lagged => (self.look, self.torn) = (Look::Journal, None),
            Received::Missed => (self.look, self.torn) = (Look::All, None),
            Received::Reached(seq) => self.wait_for(seq),
            Received::Large(seq) if seq > self.place.at.seq => self.look = Look::All,
            Received::Large(_) => {}
            Received::Frame(Frame::Durable(_)) => {}
        }
    }

    async fn catch_up(&mut self) -> Result<()> {
        let look = std::mem::replace(&mut self.look, Look::No);
        let (conn, after) = (self.store.read(), self.place.at.seq);
        let rows = events::page(conn, self.run_id, after, (PAGE, PAGE_BYTES)).await?;
        if is_full(&rows) {
            self.look = look;
        }
        let rows = rows.into_iter().map(Durable::from);
        if look == Look::Journal {
            rows.for_each(|event| self.durable(event));
            if self.look == Look::No && !self.is_over() && !self.closed {
                let kept = self.bus.kept(self.place.at).await.unwrap_or_default();
                kept.tokens.into_iter().for_each(|token| self.text(token));
            }
        } else {
            self.merge(rows, look).await;
        }
        if self.look == Look::No
            && let Some(token) = self.held.take()
        {
            self.text(token);
        }
        Ok(())
    }

    /// Makes events ready, each after the live text before it. What is kept was read later than the
    /// journal: an event that is not in it yet has text on its way.
    async fn merge(&mut self, rows: impl Iterator<Item = Durable>, look: Look) {
        let before = self.place.at;
        let kept = self.bus.kept(before).await;
        let known = kept.as_ref().filter(|_| look == Look::All).map(|kept| kept.top.seq);
        let kept = kept.unwrap_or_default();
        let mut tokens = kept.tokens.into_iter().peekable();
        for event in rows {
            if known.is_some_and(|known| event.seq > known) {
                // Of very much text, the next part.
                let more = kept.more && self.place.at > before;
                self.look = if more { look } else { Look::No };
                self.wait_for(event.seq);
                break;
            }
            while let Some(token) = tokens.next_if(|token| token.id < EventId::durable(event.seq)) {
                self.text(token);
            }
            self.durable(event);
        }
        tokens.for_each(|token| self.text(token));
    }

    /// The journal has this event: it is read when the bus does not bring it soon.
    fn wait_for(&mut self, seq: i64) {
        if seq > self.place.at.seq {
            self.awaited.get_or_insert((seq, Instant::now() + self.grace));
        }
    }

    /// True when the terminal event is ready.
    fn is_over(&self) -> bool {
        self.ready.back().is_some_and(|event| ends_log(&event.r#type))
    }

    /// The next committed event.
    fn durable(&mut self, event: Durable) {
        self.place.pass(&event);
        self.ready.push_back(event.into());
    }

    /// Live text as it comes.
    fn live(&mut self, token: Token) {
        if self.place.is_next(&token) {
            return self.text(token);
        }
        if token.id <= self.place.at {
            return;
        }
        if token.id.seq == self.place.at.seq {
            if self.torn.as_ref() == Some(&token.step_id) {
                return;
            }
            self.torn = Some(Arc::clone(&token.step_id));
        }
        self.look = Look::All;
        self.held = Some(token);
    }

    /// Makes live text ready when it is the next.
    fn text(&mut self, token: Token) {
        if self.place.is_next(&token) {
            self.place.take(&token);
            self.ready.push_back(token.into());
        }
    }
}

/// True for a page after which there may be another.
fn is_full(rows: &[events::Row]) -> bool {
    let bytes: usize = rows.iter().map(|row| row.data.len()).sum();
    let reached = |n: usize, most: i64| i64::try_from(n).is_ok_and(|n| n >= most);
    reached(rows.len(), PAGE) || reached(bytes, PAGE_BYTES)
}

impl Place {
    fn is_followed_by(&self, seq: i64) -> bool {
        self.at.seq.checked_add(1) == Some(seq)
    }

    fn pass(&mut self, event: &Durable) {
        // The text that another attempt began is void.
        if &*event.r#type == "run.resumed" {
            self.text = None;
        }
        self.at = EventId::durable(event.seq);
    }

    fn take(&mut self, token: &Token) {
        self.text = Some((Arc::clone(&token.step_id), token.offset + token.delta.len()));
        self.at = token.id;
    }

    /// True for the beginning of a message, and for what comes right after the text before it.
    fn is_next(&self, token: &Token) -> bool {
        let goes_on = match &self.text {
            Some((step_id, end)) if *step_id == token.step_id => *end == token.offset,
            Some(_) => token.offset == 0,
            // Only the caller knows what it has: up to its position, whatever was there.
            None => token.offset == 0 || self.at.n.checked_add(1) == Some(token.id.n),
        };
        goes_on && token.id.seq == self.at.seq && token.id > self.at
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::Timestamp;

    fn token(id: &str, step_id: &str, offset: usize, delta: &str) -> Token {
        let (id, step_id, delta) = (id.parse().unwrap(), step_id.into(), delta.into());
        Token { id, step_id, offset, delta, at: Timestamp(0) }
    }

    fn event(seq: i64, r#type: &str) -> Durable {
        Durable { seq, r#type: r#type.into(), data: "{}".into(), at: Timestamp(0) }
    }

    /// What of these comes to a follower at a position.
    fn come(after: &str, tokens: &[Token]) -> Vec<String> {
        let mut place = Place { at: after.parse().unwrap(), text: None };
        let next = |token: &&Token| {
            let next = place.is_next(token);
            if next {
                place.take(token);
            }
            next
        };
        tokens.iter().filter(next).map(|token| token.id.to_string()).collect()
    }

    #[test]
    fn text_after_a_gap_is_withheld_until_the_next_message() {
        let tokens = [
            token("4.1", "a", 0, "xy"),
            token("4.3", "a", 3, "z"),
            token("4.4", "a", 4, "z"),
            token("4.5", "b", 0, "x"),
            token("4.6", "b", 1, "y"),
        ];
        assert_eq!(come("4", &tokens), ["4.1", "4.5", "4.6"]);
        let whole = [token("4.1", "a", 0, "xy"), token("4.2", "a", 2, "z"), tokens[1].clone()];
        assert_eq!(come("4", &whole), ["4.1", "4.2", "4.3"], "what was missing has come");
    }

    #[test]
    fn text_goes_on_where_the_caller_says_that_it_is() {
        let tokens = [token("4.8", "a", 50, "xy"), token("4.9", "a", 52, "z")];
        assert_eq!(come("4.7", &tokens), ["4.8", "4.9"]);
        assert!(come("4.6", &tokens).is_empty(), "nobody knows what 4.7 was");
        assert_eq!(come("4.8", &tokens), ["4.9"], "none twice");
        assert!(come("3", &tokens).is_empty(), "the event before it is still to come");
        assert!(come("5", &tokens).is_empty(), "superseded");
    }

    #[test]
    fn a_position_beyond_all_numbers_is_followed_by_nothing() {
        let at = EventId { seq: i64::MAX, n: i64::MAX };
        let place = Place { at, text: None };
        assert!(!place.is_followed_by(i64::MIN));
        let mut next = token("4.1", "a", 2, "x");
        next.id = at;
        assert!(!place.is_next(&next));
    }

    #[test]
    fn another_attempt_begins_anew() {
        let mut place = Place { at: EventId::durable(4), text: None };
        place.take(&token("4.1", "a", 0, "xy"));
        place.pass(&event(5, "tool.completed"));
        assert!(place.is_next(&token("5.1", "a", 2, "z")), "an event may come within a text");
        place.pass(&event(6, "run.resumed"));
        assert!(!place.is_next(&token("6.2", "a", 2, "z")));
        assert!(place.is_next(&token("6.1", "c", 0, "x")));
    }
}
