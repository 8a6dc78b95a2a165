//! The bus within one process: a ring of frames per run, read by any number of subscriptions. A
//! slow reader costs nothing: it finds that the ring has moved on and catches up from the journal.
//! Called by `cache/mod.rs` only.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use uuid::Uuid;

use super::{Frame, Received};

const FRAMES_MAX: usize = 256;
const BYTES_MAX: usize = 1024 * 1024;

/// All runs that somebody writes live text to, or follows.
#[derive(Debug, Clone, Default)]
pub(super) struct Memory {
    topics: Arc<Mutex<HashMap<Uuid, Topic>>>,
}

#[derive(Debug)]
struct Topic {
    frames: VecDeque<Frame>,
    bytes: usize,
    /// Number of the oldest frame kept, counted from the topic's beginning.
    first: u64,
    /// Somebody writes live text to the run.
    live: bool,
    readers: usize,
    /// Number of the frame to come.
    told: watch::Sender<u64>,
}

/// A place in one run's ring.
#[derive(Debug)]
pub(super) struct Reader {
    memory: Memory,
    run_id: Uuid,
    next: u64,
    told: watch::Receiver<u64>,
}

impl Memory {
    pub(super) fn publish(&self, run_id: Uuid, frame: Frame) {
        let mut topics = self.lock();
        match frame {
            Frame::Token(_) => {
                let topic = topics.entry(run_id).or_insert_with(Topic::new);
                topic.live = true;
                topic.push(frame);
            }
            // Whoever comes later reads it in the journal.
            Frame::Durable(_) => {
                if let Some(topic) = topics.get_mut(&run_id) {
                    topic.push(frame);
                }
            }
        }
    }

    pub(super) fn retire(&self, run_id: Uuid) {
        let mut topics = self.lock();
        if let Some(topic) = topics.get_mut(&run_id) {
            topic.live = false;
            if topic.readers == 0 {
                topics.remove(&run_id);
            }
        }
    }

    pub(super) fn subscribe(&self, run_id: Uuid) -> Reader {
        let mut topics = self.lock();
        let topic = topics.entry(run_id).or_insert_with(Topic::new);
        topic.readers += 1;
        let (next, told) = (topic.first, topic.told.subscribe());
        drop(topics);
        Reader { memory: self.clone(), run_id, next, told }
    }

    pub(super) fn runs(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, Topic>> {
        self.topics.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Topic {
    fn new() -> Self {
        Self {
            frames: VecDeque::new(),
            bytes: 0,
            first: 0,
            live: false,
            readers: 0,
            told: watch::Sender::new(0),
        }
    }

    fn push(&mut self, frame: Frame) {
        self.bytes += frame.bytes();
        self.frames.push_back(frame);
        while self.frames.len() > FRAMES_MAX || self.bytes > BYTES_MAX {
            let Some(oldest) = self.frames.pop_front() else { break };
            self.bytes -= oldest.bytes();
            self.first += 1;
        }
        self.told.send_replace(self.first + self.frames.len() as u64);
    }
}

impl Reader {
    pub(super) async fn next(&mut self) -> Received {
        loop {
            self.told.borrow_and_update();
            if let Some(received) = self.take() {
                return received;
            }
            if self.told.changed().await.is_err() {
                // A topic with a reader is never dropped.
                std::future::pending::<()>().await;
            }
        }
    }

    fn take(&mut self) -> Option<Received> {
        let topics = self.memory.lock();
        let topic = topics.get(&self.run_id)?;
        if self.next < topic.first {
            self.next = topic.first;
            return Some(Received::Lagged);
        }
        let place = usize::try_from(self.next - topic.first).ok()?;
        let frame = topic.frames.get(place)?.clone();
        self.next += 1;
        Some(Received::Frame(frame))
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut topics = self.memory.lock();
        let Some(topic) = topics.get_mut(&self.run_id) else { return };
        topic.readers -= 1;
        if topic.readers == 0 && !topic.live {
            topics.remove(&self.run_id);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::super::{Durable, EventId, Token};
    use super::*;
    use crate::kernel::Timestamp;

    fn durable(seq: i64) -> Frame {
        Frame::Durable(Durable { seq, r#type: "x".into(), data: "{}".into(), at: Timestamp(0) })
    }

    fn token(seq: i64, n: i64, delta: &str) -> Frame {
        let (id, step_id) = (EventId { seq, n }, "stp_1".into());
        Frame::Token(Token { id, step_id, offset: 0, delta: delta.into(), at: Timestamp(0) })
    }

    #[test]
    fn a_reader_gets_what_is_kept_and_then_what_comes() {
        let (memory, run) = (Memory::default(), Uuid::max());
        memory.publish(run, token(1, 1, "a"));
        let mut reader = memory.subscribe(run);
        assert_eq!(reader.next().now_or_never(), Some(Received::Frame(token(1, 1, "a"))));
        assert_eq!(reader.next().now_or_never(), None);
        memory.publish(run, durable(2));
        assert_eq!(reader.next().now_or_never(), Some(Received::Frame(durable(2))));
    }

    #[test]
    fn a_slow_reader_is_told_that_it_lags_once() {
        let (memory, run) = (Memory::default(), Uuid::max());
        let mut reader = memory.subscribe(run);
        for n in 1..=300 {
            memory.publish(run, token(1, n, "a"));
        }
        assert_eq!(reader.next().now_or_never(), Some(Received::Lagged));
        let oldest = token(1, 300 - 255, "a");
        assert_eq!(reader.next().now_or_never(), Some(Received::Frame(oldest)));
    }

    #[test]
    fn the_ring_is_bounded_in_bytes() {
        let (memory, run) = (Memory::default(), Uuid::max());
        let text = "x".repeat(BYTES_MAX / 4);
        for n in 1..=10 {
            memory.publish(run, token(1, n, &text));
        }
        let topics = memory.lock();
        assert!(topics[&run].bytes <= BYTES_MAX);
        assert_eq!(topics[&run].frames.len(), 3);
    }

    #[test]
    fn nothing_is_kept_of_a_run_that_nobody_writes_or_follows() {
        let (memory, run) = (Memory::default(), Uuid::max());
        memory.publish(run, durable(1));
        assert_eq!(memory.runs(), 0, "a durable frame alone is not worth keeping");
        memory.publish(run, token(1, 1, "a"));
        let reader = memory.subscribe(run);
        memory.retire(run);
        assert_eq!(memory.runs(), 1, "somebody still follows");
        drop(reader);
        assert_eq!(memory.runs(), 0);
        drop(memory.subscribe(run));
        assert_eq!(memory.runs(), 0, "a follower of a silent run leaves nothing behind");
    }
}
