//! The bus within one process: a ring of frames per run, read by any number of subscriptions. A
//! slow reader costs nothing: it finds that the ring has moved on and catches up from the journal.
//! Where there is a Redis, the rings are also what `wire.rs` sends from: what it cannot send in
//! time is overwritten, and after an outage it sends again what is still there. Called by `mod.rs`,
//! `wire.rs` and `ears.rs` only.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, watch};
use uuid::Uuid;

use super::frame::Word;
use super::{Frame, Received};

const FRAMES_MAX: usize = 256;
const BYTES_MAX: usize = 1024 * 1024;
/// Runs that are kept only until their frames are sent; of more, frames are left out.
const SENDING_MAX: usize = 1024;

/// All runs that somebody writes live text to, or follows, or whose frames are still to be sent.
#[derive(Clone, Default)]
pub(super) struct Memory {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    topics: Mutex<Topics>,
    /// There is something to send.
    due: Notify,
    /// Followers have come or gone.
    turned: Notify,
}

#[derive(Default)]
struct Topics {
    by_run: HashMap<Uuid, Topic>,
    /// Frames can be sent.
    sends: bool,
    /// Runs with frames to send, in order.
    due: VecDeque<Uuid>,
    /// Somebody wants to know which runs are followed.
    hears: bool,
    /// Runs to which the first follower has come, or of which the last has gone.
    turned: HashSet<Uuid>,
}

struct Topic {
    frames: VecDeque<Kept>,
    bytes: usize,
    /// Number of the oldest frame kept, counted from the topic's beginning.
    first: u64,
    /// Somebody writes live text to the run here.
    live: bool,
    readers: usize,
    /// Number of the first frame that was not sent.
    sent: u64,
    /// Frames are on their way.
    is_sending: bool,
    /// The run is among those with frames to send.
    is_due: bool,
    /// The journal has events up to this number at least.
    reached: i64,
    /// The last event that was too large to be told.
    large: i64,
    /// How many times frames may have been missed.
    missed: u64,
    /// Changes with all that readers want to know.
    told: watch::Sender<u64>,
}

struct Kept {
    frame: Frame,
    /// Made here, and not heard from another process.
    ours: bool,
}

/// Frames of one run to send, in order.
pub(super) struct Parcel {
    pub(super) run_id: Uuid,
    pub(super) frames: Vec<Frame>,
}

/// A place in one run's ring.
pub(super) struct Reader {
    memory: Memory,
    run_id: Uuid,
    next: u64,
    reached: i64,
    missed: u64,
    told: watch::Receiver<u64>,
}

impl Memory {
    pub(super) fn publish(&self, run_id: Uuid, frame: Frame) {
        let mut topics = self.lock();
        let is_token = matches!(frame, Frame::Token(_));
        // Whoever comes later reads what was committed in the journal: without readers here it is
        // kept only until it is sent.
        let kept = is_token || (topics.sends && topics.due.len() < SENDING_MAX);
        let topic = match topics.by_run.get_mut(&run_id) {
            Some(topic) => topic,
            None if kept => topics.by_run.entry(run_id).or_insert_with(Topic::new),
            None => return,
        };
        topic.live |= is_token;
        topic.push(frame, true);
        self.make_due(&mut topics, run_id);
    }

    pub(super) fn retire(&self, run_id: Uuid) {
        let mut topics = self.lock();
        if let Some(topic) = topics.by_run.get_mut(&run_id) {
            topic.live = false;
            topics.tidy(run_id);
        }
    }

    pub(super) fn subscribe(&self, run_id: Uuid) -> Reader {
        let mut topics = self.lock();
        let topic = topics.by_run.entry(run_id).or_insert_with(Topic::new);
        topic.readers += 1;
        let is_first = topic.readers == 1;
        let (next, reached, missed) = (topic.first, topic.reached, topic.missed);
        let told = topic.told.subscribe();
        if is_first {
            self.turn(&mut topics, run_id);
        }
        drop(topics);
        Reader { memory: self.clone(), run_id, next, reached, missed, told }
    }

    pub(super) fn runs(&self) -> usize {
        self.lock().by_run.len()
    }

    pub(super) fn readers(&self) -> usize {
        self.lock().by_run.values().map(|topic| topic.readers).sum()
    }

    /// The runs that have a reader.
    pub(super) fn followed(&self) -> Vec<Uuid> {
        let followed = |(run_id, topic): (&Uuid, &Topic)| (topic.readers > 0).then_some(*run_id);
        self.lock().by_run.iter().filter_map(followed).collect()
    }

    /// Takes what another process has told of a run.
    pub(super) fn heard(&self, run_id: Uuid, word: Word) {
        let mut topics = self.lock();
        let Some(topic) = topics.by_run.get_mut(&run_id) else { return };
        match word {
            Word::Frame(frame) => topic.push(frame, false),
            Word::Large(seq) => {
                topic.large = topic.large.max(seq);
                topic.reach(seq);
            }
        }
    }

    /// The journal of a run has events up to this number.
    pub(super) fn reached(&self, run_id: Uuid, seq: i64) {
        if let Some(topic) = self.lock().by_run.get_mut(&run_id) {
            topic.reach(seq);
        }
    }

    /// Tells readers of these runs that they may have missed frames. Who reads a run that is
    /// written to here has missed none.
    pub(super) fn missed(&self, runs: &[Uuid]) {
        let mut topics = self.lock();
        for run_id in runs {
            if let Some(topic) = topics.by_run.get_mut(run_id).filter(|topic| !topic.live) {
                topic.missed += 1;
                topic.tell();
            }
        }
    }

    /// Says whether somebody wants to know which runs are followed from now on.
    pub(super) fn hears(&self, hears: bool) {
        let mut topics = self.lock();
        topics.hears = hears;
        topics.turned.clear();
    }

    /// Waits until followers have come or gone.
    pub(super) async fn turned(&self) {
        self.shared.turned.notified().await;
    }

    /// The runs whose first follower has come since the last time, and those whose last has gone.
    pub(super) fn turns(&self) -> (Vec<Uuid>, Vec<Uuid>) {
        let mut topics = self.lock();
        let turned = std::mem::take(&mut topics.turned);
        let is_read = |run_id: &Uuid| topics.by_run.get(run_id).is_some_and(|t| t.readers > 0);
        turned.into_iter().partition(is_read)
    }

    /// Says whether frames can be sent. After an outage everything of runs that are written to here
    /// is due again, and Redis refuses what it has.
    pub(super) fn sends(&self, sends: bool) {
        let mut topics = self.lock();
        topics.sends = sends;
        if sends {
            let live = topics.by_run.iter().filter(|(_, topic)| topic.live);
            let live: Vec<Uuid> = live.map(|(run_id, _)| *run_id).collect();
            live.into_iter().for_each(|run_id| self.make_due_again(&mut topics, run_id));
        } else {
            for run_id in std::mem::take(&mut topics.due) {
                if let Some(topic) = topics.by_run.get_mut(&run_id) {
                    topic.is_due = false;
                    topics.tidy(run_id);
                }
            }
        }
    }

    /// Waits until there is something to send.
    pub(super) async fn due(&self) {
        self.shared.due.notified().await;
    }

    /// What is to be sent next: of at most so many runs, and about so many bytes.
    pub(super) fn parcels(&self, runs_max: usize, bytes_max: usize) -> Vec<Parcel> {
        let mut topics = self.lock();
        let (mut parcels, mut bytes) = (Vec::new(), 0);
        while parcels.len() < runs_max && bytes < bytes_max {
            let Some(run_id) = topics.due.pop_front() else { break };
            let Some(topic) = topics.by_run.get_mut(&run_id) else { continue };
            (topic.is_due, topic.is_sending) = (false, true);
            let frames = topic.take_unsent();
            bytes += frames.iter().map(Frame::bytes).sum::<usize>();
            parcels.push(Parcel { run_id, frames });
        }
        parcels
    }

    /// Says what has become of parcels.
    pub(super) fn sent(&self, parcels: &[Parcel], arrived: bool) {
        let mut topics = self.lock();
        for Parcel { run_id, .. } in parcels {
            let Some(topic) = topics.by_run.get_mut(run_id) else { continue };
            topic.is_sending = false;
            if !arrived {
                self.make_due_again(&mut topics, *run_id);
            }
            topics.tidy(*run_id);
        }
    }

    fn turn(&self, topics: &mut Topics, run_id: Uuid) {
        if topics.hears {
            topics.turned.insert(run_id);
            self.shared.turned.notify_one();
        }
    }

    fn make_due(&self, topics: &mut Topics, run_id: Uuid) {
        let Some(topic) = topics.by_run.get_mut(&run_id) else { return };
        if topics.sends && !topic.is_due {
            topic.is_due = true;
            topics.due.push_back(run_id);
            self.shared.due.notify_one();
        }
    }

    fn make_due_again(&self, topics: &mut Topics, run_id: Uuid) {
        if let Some(topic) = topics.by_run.get_mut(&run_id) {
            topic.sent = topic.first;
        }
        self.make_due(topics, run_id);
    }

    fn lock(&self) -> MutexGuard<'_, Topics> {
        self.shared.topics.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Topics {
    /// Drops a topic that nobody needs.
    fn tidy(&mut self, run_id: Uuid) {
        let Some(topic) = self.by_run.get(&run_id) else { return };
        if topic.readers == 0 && !topic.live && !topic.is_due && !topic.is_sending {
            self.by_run.remove(&run_id);
        }
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
            sent: 0,
            is_sending: false,
            is_due: false,
            reached: 0,
            large: 0,
            missed: 0,
            told: watch::Sender::new(0),
        }
    }

    fn push(&mut self, frame: Frame, ours: bool) {
        self.bytes += frame.bytes();
        if let Frame::Durable(durable) = &frame {
            self.reached = self.reached.max(durable.seq);
        }
        self.frames.push_back(Kept { frame, ours });
        while self.frames.len() > FRAMES_MAX || self.bytes > BYTES_MAX {
            let Some(oldest) = self.frames.pop_front() else { break };
            self.bytes -= oldest.frame.bytes();
            self.first += 1;
        }
        self.tell();
    }

    fn reach(&mut self, seq: i64) {
        if seq > self.reached {
            self.reached = seq;
            self.tell();
        }
    }

    fn tell(&self) {
        self.told.send_modify(|changes| *changes = changes.wrapping_add(1));
    }

    /// The frames made here that were not sent and are still there.
    fn take_unsent(&mut self) -> Vec<Frame> {
        let skip = usize::try_from(self.sent.saturating_sub(self.first)).unwrap_or(usize::MAX);
        self.sent = self.first + self.frames.len() as u64;
        let ours = self.frames.iter().skip(skip).filter(|kept| kept.ours);
        ours.map(|kept| kept.frame.clone()).collect()
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
        let topic = topics.by_run.get(&self.run_id)?;
        if self.missed != topic.missed {
            self.missed = topic.missed;
            return Some(Received::Missed);
        }
        if self.next < topic.first {
            self.next = topic.first;
            return Some(Received::Lagged);
        }
        let place = usize::try_from(self.next - topic.first).ok()?;
        if let Some(Kept { frame, .. }) = topic.frames.get(place) {
            self.next += 1;
            if let Frame::Durable(durable) = frame {
                self.reached = self.reached.max(durable.seq);
            }
            return Some(Received::Frame(frame.clone()));
        }
        if self.reached < topic.large {
            self.reached = topic.large;
            return Some(Received::Large(topic.large));
        }
        if self.reached < topic.reached {
            self.reached = topic.reached;
            return Some(Received::Reached(topic.reached));
        }
        None
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut topics = self.memory.lock();
        let Some(topic) = topics.by_run.get_mut(&self.run_id) else { return };
        topic.readers -= 1;
        if topic.readers == 0 {
            self.memory.turn(&mut topics, self.run_id);
            topics.tidy(self.run_id);
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
        assert!(topics.by_run[&run].bytes <= BYTES_MAX);
        assert_eq!(topics.by_run[&run].frames.len(), 3);
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

    fn sent(memory: &Memory) -> Vec<String> {
        let parcels = memory.parcels(10, BYTES_MAX);
        memory.sent(&parcels, true);
        parcels.iter().flat_map(|p| p.frames.iter().map(|frame| frame.id().to_string())).collect()
    }

    #[test]
    fn every_frame_made_here_is_sent_once_and_a_run_forgotten_after_its_last() {
        let (memory, run) = (Memory::default(), Uuid::max());
        memory.sends(true);
        memory.publish(run, durable(1));
        memory.publish(run, token(1, 1, "a"));
        memory.heard(run, Word::Frame(durable(2)));
        assert_eq!(sent(&memory), ["1", "1.1"]);
        memory.publish(run, durable(3));
        memory.retire(run);
        assert_eq!((memory.runs(), sent(&memory)), (1, vec!["3".to_owned()]));
        assert_eq!((memory.runs(), sent(&memory)), (0, vec![]));
        memory.publish(Uuid::nil(), durable(1));
        memory.sends(false);
        assert_eq!(memory.runs(), 0, "nothing waits for a Redis that is away");
    }

    #[test]
    fn after_an_outage_what_is_still_there_is_sent_again() {
        let (memory, run) = (Memory::default(), Uuid::max());
        memory.sends(true);
        memory.publish(run, token(1, 1, "a"));
        let lost = memory.parcels(10, BYTES_MAX);
        memory.publish(run, token(1, 2, "b"));
        memory.sent(&lost, false);
        assert_eq!(sent(&memory), ["1.1", "1.2"], "in order");
        memory.sends(false);
        memory.publish(run, token(1, 3, "c"));
        assert!(sent(&memory).is_empty());
        memory.sends(true);
        assert_eq!(sent(&memory), ["1.1", "1.2", "1.3"]);
    }

    #[test]
    fn a_reader_is_told_of_what_the_bus_did_not_bring() {
        let (memory, run) = (Memory::default(), Uuid::max());
        memory.hears(true);
        let mut reader = memory.subscribe(run);
        assert_eq!(memory.turns(), (vec![run], vec![]));
        memory.heard(run, Word::Frame(durable(2)));
        memory.reached(run, 2);
        assert_eq!(reader.next().now_or_never(), Some(Received::Frame(durable(2))));
        assert_eq!(reader.next().now_or_never(), None, "it knows of that");
        memory.reached(run, 3);
        memory.missed(&[run]);
        assert_eq!(reader.next().now_or_never(), Some(Received::Missed));
        assert_eq!(reader.next().now_or_never(), Some(Received::Reached(3)));
        drop(reader);
        assert_eq!(memory.turns(), (vec![], vec![run]));
        assert!(memory.followed().is_empty());
    }
}
