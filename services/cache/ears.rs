//! What this process hears from the others, on one connection for all channels: frames of the runs
//! that somebody follows here, news of keys, wake-ups, cancels. Whatever was said while nobody
//! listened is lost: after it, who follows a run here is told to look. Called by `mod.rs` only;
//! never says anything.

use std::time::Duration;

use futures::StreamExt;
use futures::future::BoxFuture;
use redis::aio::{PubSubSink, PubSubStream};
use redis::{Msg, RedisResult};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use uuid::Uuid;

use super::wire::{ALL, BEAT, KEYS, WAKE, Wire, control, events};
use super::{Heard, frame};

/// Silence after which the connection is taken to be broken: somebody's beat is always due.
const SILENCE: Duration = Duration::from_secs(6);
/// Pause before Redis is tried again.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// Channels that are asked for at once.
const CHANNELS_MAX: usize = 256;

/// What this process listens with.
pub(super) struct Ears<'a, F> {
    wire: &'a Wire,
    heard: F,
    keys: String,
    wake: String,
    runs: String,
}

impl<'a, F> Ears<'a, F>
where
    F: Fn(Heard) -> BoxFuture<'static, ()>,
{
    /// Ears that hand on what does not go to followers.
    pub(super) fn new(wire: &'a Wire, heard: F) -> Self {
        let name = |rest| wire.link.name(rest);
        Self { wire, heard, keys: name(KEYS), wake: name(WAKE), runs: name("ev:") }
    }

    /// Listens, for ever.
    pub(super) async fn listen(&self) {
        let mut worker = self.wire.worker.subscribe();
        loop {
            worker.mark_changed();
            let patience = self.wire.link.long_patience();
            if let Ok(Ok((sink, stream))) = timeout(2 * patience, self.open()).await {
                let _broken = self.hear(sink, stream, &mut worker).await;
            }
            self.wire.memory.hears(false);
            sleep(AGAIN_AFTER).await;
        }
    }

    async fn open(&self) -> RedisResult<(PubSubSink, PubSubStream)> {
        let (mut sink, stream) = self.wire.link.listener().await?.split();
        sink.subscribe(&[&self.keys, &self.wake]).await?;
        Ok((sink, stream))
    }

    /// Hears until the connection breaks.
    async fn hear(
        &self,
        mut sink: PubSubSink,
        mut stream: PubSubStream,
        worker: &mut watch::Receiver<Option<Uuid>>,
    ) -> RedisResult<()> {
        let memory = &self.wire.memory;
        memory.hears(true);
        self.follow(&mut sink, &memory.followed()).await?;
        // Whatever was told before is not heard any more.
        (self.heard)(Heard::Key(None)).await;
        (self.heard)(Heard::Wake).await;
        let mut silent = Instant::now() + SILENCE;
        loop {
            tokio::select! {
                message = timeout_at(silent, stream.next()) => {
                    let Ok(Some(message)) = message else { return Ok(()) };
                    silent = Instant::now() + SILENCE;
                    self.take(&message).await;
                }
                () = memory.turned() => {
                    let (come, gone) = memory.turns();
                    self.follow(&mut sink, &come).await?;
                    self.leave(&mut sink, &gone).await?;
                }
                Ok(()) = worker.changed() => {
                    let id = *worker.borrow_and_update();
                    if let Some(id) = id {
                        self.subscribe(&mut sink, &[self.wire.link.name(&control(id))]).await?;
                    }
                }
            }
        }
    }

    /// Listens to these runs. What was told before is missed.
    async fn follow(&self, sink: &mut PubSubSink, runs: &[Uuid]) -> RedisResult<()> {
        for piece in runs.chunks(CHANNELS_MAX) {
            self.subscribe(sink, &self.channels(piece)).await?;
            self.wire.memory.missed(piece);
        }
        Ok(())
    }

    async fn leave(&self, sink: &mut PubSubSink, runs: &[Uuid]) -> RedisResult<()> {
        for piece in runs.chunks(CHANNELS_MAX) {
            let channels = self.channels(piece);
            in_time(self.wire.link.long_patience(), sink.unsubscribe(&channels)).await?;
        }
        Ok(())
    }

    async fn subscribe(&self, sink: &mut PubSubSink, channels: &[String]) -> RedisResult<()> {
        in_time(self.wire.link.long_patience(), sink.subscribe(channels)).await
    }

    fn channels(&self, runs: &[Uuid]) -> Vec<String> {
        runs.iter().map(|run_id| self.wire.link.name(&events(*run_id))).collect()
    }

    async fn take(&self, message: &Msg) {
        let (channel, bytes) = (message.get_channel_name(), message.get_payload_bytes());
        if let Some(run_id) = channel.strip_prefix(&self.runs) {
            let told = run_id.parse().ok().zip(frame::read(bytes));
            if let Some((run_id, (origin, word))) = told
                && origin != self.wire.origin
            {
                self.wire.memory.heard(run_id, word);
            }
            return;
        }
        let text = String::from_utf8_lossy(bytes);
        let heard = match channel {
            keys if keys == self.keys && text == BEAT => return,
            keys if keys == self.keys => {
                Heard::Key(Some(text.into_owned()).filter(|key| key != ALL))
            }
            wake if wake == self.wake && text == self.wire.origin.to_string() => return,
            wake if wake == self.wake => Heard::Wake,
            _ => match text.parse() {
                Ok(run_id) => Heard::Cancel(run_id),
                Err(_) => return,
            },
        };
        (self.heard)(heard).await;
    }
}

/// Waits for an answer for so long; a connection on which none comes is broken.
async fn in_time(
    patience: Duration,
    asking: impl Future<Output = RedisResult<()>>,
) -> RedisResult<()> {
    let late = |_| redis::RedisError::from((redis::ErrorKind::Io, "no answer in time"));
    timeout(patience, asking).await.map_err(late)?
}
