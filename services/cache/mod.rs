//! What may be lost: live frames of runs, on their way from the worker to those who follow; in
//! `limits/` how often callers have called, and in `news.rs` which keys have changed. The journal
//! in the store is the truth; a follower that misses a frame reads it there. Called by `engine` and
//! `gateway`, never asks the store.

pub mod limits;
mod memory;
pub mod news;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use uuid::Uuid;

use crate::kernel::Timestamp;

use memory::{Memory, Reader};

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
}

/// The event bus. Delivery is at most once; order is that of the publisher.
#[derive(Debug, Clone)]
pub struct Bus {
    wire: Wire,
}

#[derive(Debug, Clone)]
enum Wire {
    Memory(Memory),
}

/// One follower's place in the frames of a run.
#[derive(Debug)]
pub struct Subscription {
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
        Self { wire: Wire::Memory(Memory::default()) }
    }

    /// Sends a frame to those who follow the run. Live text is also kept for those who come back to
    /// it, within limits.
    pub fn publish(&self, run_id: Uuid, frame: Frame) {
        match &self.wire {
            Wire::Memory(memory) => memory.publish(run_id, frame),
        }
    }

    /// Says that nobody writes to the run for now: what is kept of it goes with its last follower.
    pub fn retire(&self, run_id: Uuid) {
        match &self.wire {
            Wire::Memory(memory) => memory.retire(run_id),
        }
    }

    /// Follows a run, from the oldest frame that is still kept.
    #[must_use]
    pub fn subscribe(&self, run_id: Uuid) -> Subscription {
        match &self.wire {
            Wire::Memory(memory) => Subscription { reader: memory.subscribe(run_id) },
        }
    }

    /// How many runs the bus keeps anything of.
    #[must_use]
    pub fn runs(&self) -> usize {
        match &self.wire {
            Wire::Memory(memory) => memory.runs(),
        }
    }
}

impl Subscription {
    /// The next frame, when there is one. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Received {
        self.reader.next().await
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
