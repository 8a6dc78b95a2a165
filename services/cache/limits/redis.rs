//! Buckets in Redis, which all replicas share: one script, one round trip for all buckets of a
//! call. Called by `mod.rs`; what happens without an answer is decided there, and whether Redis is
//! asked at all by its link.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{RedisResult, Script};

use super::gcra::Pace;
use super::{BUCKETS_MAX, Bucket, GCRA};
use crate::cache::link::Link;

/// What Redis has answered.
#[derive(Debug)]
pub(super) struct Answer {
    /// How many were asked for.
    pub(super) wanted: i64,
    /// How many were taken from each bucket.
    pub(super) granted: i64,
    /// The time in Redis, microseconds since 1970.
    pub(super) now_us: i64,
    /// When each bucket was full, before.
    pub(super) tats: [i64; BUCKETS_MAX],
}

/// The buckets in one Redis.
pub(super) struct Remote {
    link: Link,
    script: Script,
    /// How many calls have asked.
    asked: AtomicU32,
}

impl Remote {
    pub(super) fn new(link: Link) -> Self {
        Self { link, script: Script::new(GCRA), asked: AtomicU32::new(0) }
    }

    /// True unless Redis is away.
    pub(super) fn is_up(&self) -> bool {
        self.link.is_up()
    }

    /// Looks for Redis at once.
    pub(super) async fn probe(&self) {
        self.link.probe().await;
    }

    /// How long a call waits.
    pub(super) fn patience(&self) -> Duration {
        self.link.patience()
    }

    /// How many calls have asked Redis.
    pub(super) fn asked(&self) -> u32 {
        self.asked.load(Ordering::Relaxed)
    }

    /// Takes at most `wanted` from all buckets or none; `None` when Redis does not answer in time.
    pub(super) async fn take(&self, space: u128, of: &[Bucket], wanted: i64) -> Option<Answer> {
        if !self.is_up() {
            return None;
        }
        self.asked.fetch_add(1, Ordering::Relaxed);
        let question = |way| self.invoke(way, space, of, wanted);
        let values = self.link.ask("limits", self.patience(), question).await?;
        Answer::of(wanted, &values)
    }

    async fn invoke(
        &self,
        mut way: MultiplexedConnection,
        space: u128,
        of: &[Bucket],
        wanted: i64,
    ) -> RedisResult<Vec<i64>> {
        let mut call = self.script.prepare_invoke();
        call.arg(wanted);
        for bucket in of {
            let pace = Pace::of(bucket.rate);
            call.key(self.name(space, bucket)).arg(pace.emission_us).arg(pace.capacity);
        }
        call.invoke_async(&mut way).await
    }

    /// The buckets of a call share a space, and so a slot of a cluster.
    fn name(&self, space: u128, bucket: &Bucket) -> String {
        self.link.name(&format!("{{{space:x}}}:{}:{:x}", bucket.policy, bucket.id))
    }
}

impl Answer {
    fn of(wanted: i64, values: &[i64]) -> Option<Self> {
        let [granted, now_us, rest @ ..] = values else { return None };
        let mut tats = [0; BUCKETS_MAX];
        tats.iter_mut().zip(rest).for_each(|(tat, value)| *tat = *value);
        Some(Self { wanted, granted: *granted, now_us: *now_us, tats })
    }
}
