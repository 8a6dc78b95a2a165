//! The live side of one claim: text as it comes, in frames of 20 ms or 1 KiB, numbered after the
//! last durable event; and the durable events themselves once they are committed. Called by
//! `journal.rs` and `worker.rs`. Never waits for a reader, never asks the store.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use uuid::Uuid;

use crate::cache::{Bus, Durable, EventId, Frame, Token};
use crate::kernel::{Clock, faults};

const EVERY: Duration = Duration::from_millis(20);
const BYTES: usize = 1024;

/// Writer of one run's live frames.
pub(super) struct Live {
    bus: Bus,
    clock: Clock,
    run_id: Uuid,
    state: Mutex<State>,
    due: Notify,
}

struct State {
    last: EventId,
    waiting: Option<Waiting>,
}

struct Waiting {
    step_id: Arc<str>,
    offset: usize,
    text: String,
}

impl Live {
    /// A writer that goes on after the durable event `seq`.
    pub(super) fn new(bus: Bus, clock: Clock, run_id: Uuid, seq: i64) -> Self {
        let state = State { last: EventId::durable(seq), waiting: None };
        Self { bus, clock, run_id, state: Mutex::new(state), due: Notify::new() }
    }

    /// Takes text; it goes out within 20 ms while [`Live::run`] is polled.
    pub(super) fn token(&self, step_id: &str, offset: usize, delta: &str) {
        if delta.is_empty() {
            return;
        }
        let mut state = self.lock();
        if !state.waiting.as_ref().is_some_and(|w| w.goes_on_with(step_id, offset)) {
            self.flush(&mut state);
        }
        let first = state.waiting.is_none();
        let waiting = state.waiting.get_or_insert_with(|| Waiting {
            step_id: step_id.into(),
            offset,
            text: String::new(),
        });
        waiting.text.push_str(delta);
        if waiting.text.len() >= BYTES {
            self.flush(&mut state);
        } else if first {
            self.due.notify_one();
        }
    }

    /// Sends what was committed, after the text that came before it.
    pub(super) fn committed(&self, events: &[Durable]) {
        let mut state = self.lock();
        self.flush(&mut state);
        for event in events {
            state.last = EventId::durable(event.seq);
            self.bus.publish(self.run_id, Frame::Durable(event.clone()));
        }
    }

    /// Sends waiting text 20 ms after its first byte, for ever.
    pub(super) async fn run(&self) {
        loop {
            self.due.notified().await;
            tokio::time::sleep(EVERY).await;
            self.flush(&mut self.lock());
        }
    }

    fn flush(&self, state: &mut State) {
        let Some(Waiting { step_id, offset, text }) = state.waiting.take() else { return };
        faults::point("mid_delta");
        state.last.n += 1;
        let (id, delta, at) = (state.last, text.into(), self.clock.now());
        self.bus.publish(self.run_id, Frame::Token(Token { id, step_id, offset, delta, at }));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn goes_on_with(&self, step_id: &str, offset: usize) -> bool {
        *self.step_id == *step_id && self.offset + self.text.len() == offset
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;
    use crate::cache::{Received, Subscription};
    use crate::kernel::Timestamp;

    fn live() -> (Live, Subscription) {
        let (bus, run) = (Bus::memory(), Uuid::max());
        let subscription = bus.subscribe(run);
        (Live::new(bus, Clock::manual(Timestamp(0)), run, 2), subscription)
    }

    fn sent(subscription: &mut Subscription) -> Vec<(String, String)> {
        let mut frames = Vec::new();
        while let Some(Received::Frame(frame)) = subscription.next().now_or_never() {
            let text = match &frame {
                Frame::Token(token) => format!("{}@{}", token.delta, token.offset),
                Frame::Durable(durable) => durable.r#type.to_string(),
            };
            frames.push((frame.id().to_string(), text));
        }
        frames
    }

    fn durable(seq: i64) -> Durable {
        Durable { seq, r#type: "step".into(), data: "{}".into(), at: Timestamp(0) }
    }

    #[test]
    fn text_is_sent_before_the_event_that_supersedes_it_and_numbered_anew_after() {
        let (live, mut subscription) = live();
        live.token("stp_1", 0, "ab");
        live.token("stp_1", 2, "c");
        assert_eq!(sent(&mut subscription), []);
        live.committed(&[durable(3), durable(4)]);
        live.token("stp_2", 0, "d");
        live.committed(&[durable(5)]);
        let frames = sent(&mut subscription);
        let frames: Vec<_> = frames.iter().map(|(id, text)| (id.as_str(), text.as_str())).collect();
        let expected =
            [("2.1", "abc@0"), ("3", "step"), ("4", "step"), ("4.1", "d@0"), ("5", "step")];
        assert_eq!(frames, expected);
    }

    #[test]
    fn a_kilobyte_goes_out_at_once_and_a_jump_begins_a_new_frame() {
        let (live, mut subscription) = live();
        live.token("stp_1", 0, &"x".repeat(BYTES));
        assert_eq!(sent(&mut subscription).len(), 1);
        live.token("stp_1", BYTES, "a");
        live.token("stp_1", 0, "b");
        live.committed(&[]);
        let texts: Vec<_> = sent(&mut subscription).into_iter().map(|(_, text)| text).collect();
        assert_eq!(texts, ["a@1024", "b@0"]);
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_text_goes_out_after_20_ms() {
        let (live, mut subscription) = live();
        live.token("stp_1", 0, "a");
        tokio::select! {
            () = live.run() => unreachable!("it runs for ever"),
            received = subscription.next() => assert!(matches!(received, Received::Frame(_))),
        }
    }
}
