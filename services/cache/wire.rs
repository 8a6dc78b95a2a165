//! What this process says to the others through Redis: frames of runs, which are taken from the
//! rings of `memory.rs`, and short words. Everything may be lost, and nobody waits: a caller leaves
//! what it has to say and goes on. Called by `mod.rs` only.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{Pipeline, RedisResult, Script, ServerErrorKind};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, interval, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::link::Link;
use super::memory::{Memory, Parcel};
use super::{EventId, Frame, Kept, frame, pictures};

/// The script that keeps and tells frames.
pub(super) const PUBLISH: &str = include_str!("publish.lua");

/// Milliseconds that frames are kept after the last of a run.
const KEPT_MS: u64 = 600_000;
/// Frames that are kept of a run, about.
const KEPT_MAX: u64 = 4096;
/// Runs whose frames go in one round trip, and bytes of these, about.
const RUNS_MAX: usize = 64;
const BYTES_MAX: usize = 1024 * 1024;
/// Frames that are read at once.
const READ_MAX: usize = 1024;
/// Words that wait to be said; more are left out.
const WORDS_MAX: usize = 1024;
/// Time between two wake-ups.
const WAKE_EVERY: Duration = Duration::from_millis(5);
/// Pause before frames that Redis did not take are sent again.
const AGAIN_AFTER: Duration = Duration::from_millis(250);
/// How often it is said that the way is good.
const BEAT_EVERY: Duration = Duration::from_secs(2);

/// Says nothing but that the way is good, on the channel of keys.
pub(super) const BEAT: &str = ".";
/// Says that all keys have changed.
pub(super) const ALL: &str = "*";

/// The channels beside those of runs.
pub(super) const KEYS: &str = "keys";
pub(super) const WAKE: &str = "wake";

/// The way to the other processes.
pub(super) struct Wire {
    pub(super) link: Link,
    pub(super) memory: Memory,
    /// This process, as the others are told.
    pub(super) origin: Uuid,
    /// The worker of this process, to whom others may have something to say.
    pub(super) worker: watch::Sender<Option<Uuid>>,
    script: Script,
    words: Mutex<VecDeque<Word>>,
    /// There are words to be said.
    said: Notify,
    /// There is work for another process.
    wake: Notify,
}

/// Something short for whoever listens.
struct Word {
    channel: String,
    text: String,
}

/// The channel of one worker.
pub(super) fn control(worker: Uuid) -> String {
    format!("ctl:{worker}")
}

/// The stream and the channel of a run.
pub(super) fn events(run_id: Uuid) -> String {
    format!("ev:{run_id}")
}

impl Wire {
    pub(super) fn new(link: Link, memory: Memory) -> Self {
        Self {
            link,
            memory,
            origin: Uuid::from_u128(rand::random()),
            worker: watch::Sender::new(None),
            script: Script::new(PUBLISH),
            words: Mutex::default(),
            said: Notify::new(),
            wake: Notify::new(),
        }
    }

    /// Says a word on a channel, soon.
    pub(super) fn say(&self, channel: String, text: String) {
        let mut words = self.lock();
        if words.len() >= WORDS_MAX {
            tracing::warn!(channel, "too much to say: other processes hear of it late");
            return;
        }
        words.push_back(Word { channel, text });
        self.said.notify_one();
    }

    /// Wakes the other processes, soon; many wishes are one.
    pub(super) fn wake(&self) {
        self.wake.notify_one();
    }

    /// What is kept after a position; `None` when Redis does not answer.
    pub(super) async fn kept(&self, run_id: Uuid, after: EventId) -> Option<Kept> {
        let key = self.link.name(&events(run_id));
        let asking = |mut way: MultiplexedConnection| async move {
            let mut range = redis::cmd("XRANGE");
            range.arg(key).arg(format!("({}-{}", after.seq, after.n)).arg("+");
            range.arg("COUNT").arg(READ_MAX);
            range.query_async::<Vec<(String, Vec<Vec<u8>>)>>(&mut way).await
        };
        let entries = self.link.ask("kept", self.link.long_patience(), asking).await?;
        let top = entries.last().and_then(|(id, _)| id.replace('-', ".").parse().ok());
        let (top, more) = (top.unwrap_or_default(), entries.len() == READ_MAX);
        let token = |(_, fields): (String, Vec<Vec<u8>>)| match frame::read(fields.get(1)?) {
            Some((_, frame::Word::Frame(Frame::Token(token)))) => Some(token),
            _ => None,
        };
        Some(Kept { tokens: entries.into_iter().filter_map(token).collect(), top, more })
    }

    /// Says what there is to say until `stop`, and then what is left.
    pub(super) async fn speak(&self, stop: &CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.send_frames() => {}
            () = self.send_words() => {}
            () = self.send_wakes() => {}
        }
        self.send_due().await;
        self.send_said().await;
    }

    async fn send_frames(&self) {
        let mut number = self.link.number();
        loop {
            let is_up = *number.borrow_and_update() > 0;
            self.memory.sends(is_up);
            loop {
                let taken = self.send_due().await;
                tokio::select! {
                    biased;
                    changed = number.changed() => {
                        if changed.is_ok() {
                            break;
                        }
                    }
                    () = self.next_due(taken) => {}
                }
            }
        }
    }

    /// Waits until there is something to send; what Redis did not take is, after a pause.
    async fn next_due(&self, taken: bool) {
        if !taken {
            sleep(AGAIN_AFTER).await;
        }
        self.memory.due().await;
    }

    /// Sends what is due, until nothing is or Redis does not take it, which is false.
    async fn send_due(&self) -> bool {
        loop {
            let parcels = self.memory.parcels(RUNS_MAX, BYTES_MAX);
            if parcels.is_empty() {
                return true;
            }
            let pipeline = self.pack(&parcels);
            let asking = |way| self.publish(way, &pipeline);
            let refused = self.link.ask("publish", self.link.long_patience(), asking).await;
            self.memory.sent(&parcels, refused.is_some());
            match refused {
                Some(refused) if refused.iter().any(|n| *n > 0) => {
                    tracing::debug!(?refused, "Redis has later frames of these runs");
                }
                Some(_) => {}
                // Tried again with the next frame, or when Redis is back.
                None => return false,
            }
        }
    }

    fn pack(&self, parcels: &[Parcel]) -> Pipeline {
        let mut pipeline = redis::pipe();
        for Parcel { run_id, frames } in parcels {
            let committed = frames.iter().rev().find(|frame| matches!(frame, Frame::Durable(_)));
            let call = pipeline.cmd("EVALSHA").arg(self.script.get_hash()).arg(3);
            call.arg(self.link.name(&events(*run_id)));
            for name in pictures::names(*run_id) {
                call.arg(self.link.name(&name));
            }
            call.arg(KEPT_MS).arg(KEPT_MAX).arg(pictures::KNOWN_MS);
            call.arg(committed.map_or(0, |frame| frame.id().seq));
            for frame in frames {
                let EventId { seq, n } = frame.id();
                // Of what was committed only the place is kept: the journal has it.
                let kept = if matches!(frame, Frame::Token(_)) { "=" } else { "" };
                call.arg(format!("{seq}-{n}")).arg(kept).arg(frame::write(self.origin, frame));
            }
        }
        pipeline
    }

    async fn publish(
        &self,
        mut way: MultiplexedConnection,
        pipeline: &Pipeline,
    ) -> RedisResult<Vec<i64>> {
        match pipeline.query_async(&mut way).await {
            Err(error) if error.kind() == ServerErrorKind::NoScript.into() => {
                self.script.load_async(&mut way).await?;
                pipeline.query_async(&mut way).await
            }
            refused => refused,
        }
    }

    async fn send_words(&self) {
        let mut beats = interval(BEAT_EVERY);
        loop {
            tokio::select! {
                () = self.said.notified() => self.send_said().await,
                _ = beats.tick() => {
                    self.send(&Word { channel: KEYS.to_owned(), text: BEAT.to_owned() }).await;
                }
            }
        }
    }

    async fn send_said(&self) {
        loop {
            let Some(word) = self.lock().pop_front() else { return };
            // Once more: a connection may have broken since the last word.
            if !self.send(&word).await {
                self.send(&word).await;
            }
        }
    }

    async fn send_wakes(&self) {
        let mut next = Instant::now();
        loop {
            sleep_until(next).await;
            self.wake.notified().await;
            self.send(&Word { channel: WAKE.to_owned(), text: self.origin.to_string() }).await;
            next = Instant::now() + WAKE_EVERY;
        }
    }

    /// Says a word; false when Redis does not take it.
    async fn send(&self, word: &Word) -> bool {
        let channel = self.link.name(&word.channel);
        let asking = |mut way: MultiplexedConnection| async move {
            let mut publish = redis::cmd("PUBLISH");
            publish.arg(channel).arg(&word.text);
            publish.query_async::<i64>(&mut way).await
        };
        self.link.ask("say", self.link.long_patience(), asking).await.is_some()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Word>> {
        self.words.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
