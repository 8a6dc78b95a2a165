//! What may be lost: live frames of runs, on their way from the worker to those who follow, and
//! what processes have to tell each other; in `limits/` how often callers have called. The journal
//! in the store is the truth; a follower that misses a frame reads it there. Called by `engine` and
//! `gateway`, never asks the store.

mod ears;
mod frame;
pub mod limits;
pub mod link;
mod memory;
mod pictures;
mod wire;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::kernel::Timestamp;

use ears::Ears;
use link::Link;
use memory::{Memory, Reader};
use pictures::Pictures;
use wire::Wire;

pub use pictures::{Doubt, Version};

/// Position in a run's stream: `seq` names a durable event, `seq.n` the n-th live frame after it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId {
    /// Number of the durable event, from 1; 0 is before the first.
    pub seq: i64,
    /// Number of the live frame after it, from 1; 0 is the durable event itself.
    pub n: i64,
}

/// A committed event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Durable {
    /// Number in the run's log, from 1 without gaps.
    pub seq: i64,
    /// Type, such as `run.created`.
    pub r#type: Arc<str>,
    /// JSON text, the very bytes that the store keeps.
    pub data: Arc<str>,
    /// When it was committed.
    pub at: Timestamp,
}

/// A piece of live text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// The durable event that it follows, and its number after that.
    pub id: EventId,
    /// Message that the text will be part of.
    pub step_id: Arc<str>,
    /// Byte of the message at which the text begins.
    pub offset: usize,
    /// The text.
    pub delta: Arc<str>,
    /// When it was made.
    pub at: Timestamp,
}

/// What travels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// A committed event.
    Durable(Durable),
    /// A piece of live text.
    Token(Token),
}

/// What a subscription hands out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Received {
    /// The next frame.
    Frame(Frame),
    /// Frames were dropped before they were read: catch up from the journal.
    Lagged,
    /// Frames of other processes may not have come: catch up from what is kept and the journal.
    Missed,
    /// The journal has events up to this number, and the bus brought no later one; `i64::MAX`: the
    /// run has ended.
    Reached(i64),
    /// The journal has an event with this number, which is too large for the bus.
    Large(i64),
}

/// Live text that is kept for those who come late.
#[derive(Debug, Default)]
pub struct Kept {
    /// Pieces, in order.
    pub tokens: Vec<Token>,
    /// The last frame that was kept, of any kind: every piece before it is there.
    pub top: EventId,
    /// There is more after it.
    pub more: bool,
}

/// What this process is told by another, and not a follower of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// A key has changed, by its public part; none: any may have.
    Key(Option<String>),
    /// There is work.
    Wake,
    /// A run that is driven here is to stop.
    Cancel(Uuid),
}

/// The event bus, within this process and, over Redis, between all of them. Delivery is at most
/// once; order is that of the publisher. Run [`Bus::run`] beside it.
#[derive(Clone)]
pub struct Bus {
    memory: Memory,
    wire: Option<Arc<Wire>>,
    pictures: Pictures,
}

/// One follower's place in the frames of a run.
pub struct Subscription {
    bus: Bus,
    run_id: Uuid,
    reader: Reader,
}

impl EventId {
    /// The id of a durable event.
    #[must_use]
    pub fn durable(seq: i64) -> Self {
        Self { seq, n: 0 }
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.n == 0 { write!(f, "{}", self.seq) } else { write!(f, "{}.{}", self.seq, self.n) }
    }
}

impl FromStr for EventId {
    type Err = ();

    /// Reads `seq` or `seq.n`, digits only.
    fn from_str(text: &str) -> Result<Self, ()> {
        let (seq, n) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |part: &str| -> Result<i64, ()> {
            if part.is_empty() || !part.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(());
            }
            part.parse().map_err(|_| ())
        };
        Ok(Self { seq: digits(seq)?, n: digits(n)? })
    }
}

impl Frame {
    /// Where the frame stands in the run's stream.
    #[must_use]
    pub fn id(&self) -> EventId {
        match self {
            Self::Durable(durable) => EventId::durable(durable.seq),
            Self::Token(token) => token.id,
        }
    }

    fn bytes(&self) -> usize {
        const OVERHEAD: usize = 96;
        OVERHEAD
            + match self {
                Self::Durable(durable) => durable.data.len(),
                Self::Token(token) => token.delta.len(),
            }
    }
}

impl Bus {
    /// A bus within this process.
    #[must_use]
    pub fn memory() -> Self {
        Self::new(None, false)
    }

    /// A bus between all processes of one Redis; without one, within this process. `is_alone`: no
    /// other process changes runs.
    #[must_use]
    pub fn new(link: Option<Link>, is_alone: bool) -> Self {
        let (memory, pictures) = (Memory::default(), Pictures::new(link.clone(), is_alone));
        let wire = link.map(|link| Arc::new(Wire::new(link, memory.clone())));
        Self { memory, wire, pictures }
    }

    /// Sends a frame to those who follow the run, here at once and elsewhere soon. Live text is
    /// also kept for those who come back to it, within limits. Never waits.
    pub fn publish(&self, run_id: Uuid, frame: Frame) {
        if let Frame::Durable(event) = &frame {
            self.pictures.outdate(run_id, event.seq);
        }
        self.memory.publish(run_id, frame);
    }

    /// Says that nobody writes to the run here for now: what is kept of it goes with its last
    /// follower.
    pub fn retire(&self, run_id: Uuid) {
        self.memory.retire(run_id);
    }

    /// Follows a run, from the oldest frame that is still kept here.
    #[must_use]
    pub fn subscribe(&self, run_id: Uuid) -> Subscription {
        let reader = self.memory.subscribe(run_id);
        Subscription { bus: self.clone(), run_id, reader }
    }

    /// True when pictures of runs are kept.
    #[must_use]
    pub fn pictures(&self) -> bool {
        self.pictures.are_kept()
    }

    /// The picture of a run as somebody has read it, if nothing has changed since; empty when it
    /// was too large to be kept.
    pub async fn picture(&self, run_id: Uuid) -> Option<Bytes> {
        self.pictures.get(run_id).await
    }

    /// Keeps a picture of a run for others; false when a newer state of it is known, so that this
    /// one is not to be shown any more.
    pub async fn keep_picture(
        &self,
        run_id: Uuid,
        version: Version,
        has_ended: bool,
        picture: Bytes,
    ) -> bool {
        self.pictures.keep(run_id, version, has_ended, picture).await
    }

    /// Something about the run may have been committed that nobody tells of.
    pub fn forget_picture(&self, run_id: Uuid) {
        self.pictures.forget(run_id);
    }

    /// Made before a run is changed: unless it is resolved, what becomes of that is not known.
    #[must_use]
    pub fn doubt(&self, run_id: Uuid) -> Doubt {
        let doubt = self.doubts();
        doubt.about(run_id);
        doubt
    }

    /// The same of runs that are not known yet.
    #[must_use]
    pub fn doubts(&self) -> Doubt {
        Doubt::new(self.pictures.clone())
    }

    /// How many runs the bus keeps anything of.
    #[must_use]
    pub fn runs(&self) -> usize {
        self.memory.runs()
    }

    /// How many subscriptions there are here.
    #[must_use]
    pub fn followers(&self) -> usize {
        self.memory.readers()
    }

    /// The runs that somebody subscribes to here.
    #[must_use]
    pub fn followed(&self) -> Vec<Uuid> {
        self.memory.followed()
    }

    /// Tells subscribers that the journal of the run has events up to `seq`, or with `i64::MAX`
    /// that the run has ended. Whoever got these over the bus is not told.
    pub fn reached(&self, run_id: Uuid, seq: i64) {
        self.pictures.reached(run_id, seq);
        self.memory.reached(run_id, seq);
    }

    /// Tells the other processes that a key has changed, by its public part, or any may have.
    pub fn tell_key(&self, public: Option<&str>) {
        if let Some(wire) = &self.wire {
            wire.say(wire::KEYS.to_owned(), public.unwrap_or(wire::ALL).to_owned());
        }
    }

    /// Tells the other processes that there is work. Many wishes within some milliseconds are one.
    pub fn wake(&self) {
        if let Some(wire) = &self.wire {
            wire.wake();
        }
    }

    /// Tells the process of a worker that a run which it drives is to stop.
    pub fn tell_cancel(&self, worker: Uuid, run_id: Uuid) {
        if let Some(wire) = &self.wire {
            wire.say(wire::control(worker), run_id.to_string());
        }
    }

    /// From now on the worker of this process has this id.
    pub fn listen_for(&self, worker: Uuid) {
        if let Some(wire) = &self.wire {
            wire.worker.send_replace(Some(worker));
        }
    }

    /// Carries what is said between processes until `stop`. What others say, and no follower of a
    /// run, is handed to `heard`.
    pub async fn run(
        &self,
        heard: impl Fn(Heard) -> BoxFuture<'static, ()>,
        stop: &CancellationToken,
    ) {
        let Some(wire) = &self.wire else {
            stop.cancelled().await;
            return;
        };
        let ears = Ears::new(wire, heard);
        tokio::select! {
            () = wire.speak(stop) => {}
            () = ears.listen() => {}
        }
    }
}

impl Subscription {
    /// The next frame, when there is one. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Received {
        self.reader.next().await
    }

    /// What is kept outside this process after a position; `None` without a Redis and while it is
    /// away.
    pub async fn kept(&self, after: EventId) -> Option<Kept> {
        self.bus.wire.as_ref()?.kept(self.run_id, after).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_id_reads_back() {
        for id in [EventId::default(), EventId::durable(42), EventId { seq: 42, n: 7 }] {
            assert_eq!(id.to_string().parse(), Ok(id));
        }
        assert!(EventId::durable(42) < EventId { seq: 42, n: 1 });
        assert!(EventId { seq: 42, n: 9 } < EventId::durable(43));
    }

    #[test]
    fn odd_event_ids_are_refused() {
        for text in ["", ".", "1.", ".1", "-1", "+1", "1.2.3", "1e3", "x", "99999999999999999999"] {
            assert_eq!(text.parse::<EventId>(), Err(()), "{text}");
        }
    }
}
