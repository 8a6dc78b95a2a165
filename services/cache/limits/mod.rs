//! How often callers may call: buckets that fill at a pace, from which every call takes one. They
//! are in Redis, where all processes share them, or in memory. Called by `gateway/rate.rs`, which
//! knows whose buckets a call takes from; here nothing is known of callers. Never refuses because
//! Redis is away.

pub mod gcra;
mod held;
mod local;
mod redis;
mod shards;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use super::link::Link;
use crate::kernel::Clock;
use crate::kernel::plan::Rate;

use self::redis::Remote;
use gcra::Pace;
use held::{Held, Turn};
pub use local::Local;

/// The script that decides in Redis.
pub(super) const GCRA: &str = include_str!("gcra.lua");

/// Most buckets that one call takes from.
pub const BUCKETS_MAX: usize = 4;

/// Time between two looks at how many processes share the limits.
const COUNT_EVERY: Duration = Duration::from_secs(2);

/// Tells how many processes live that share the limits; `None` when it cannot be told.
pub type Replicas = Arc<dyn Fn() -> BoxFuture<'static, Option<u32>> + Send + Sync>;

/// A bucket that a call takes from.
#[derive(Debug, Clone, Copy)]
pub struct Bucket {
    /// Name of the limit, as callers are told it.
    pub policy: &'static str,
    /// Whose bucket it is, within the space that is asked.
    pub id: u128,
    /// How it fills, and how much it holds.
    pub rate: Rate,
}

/// The name under which a bucket is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Name {
    policy: &'static str,
    space: u128,
    id: u128,
}

/// How a bucket is after a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct State {
    /// Name of the limit.
    pub policy: &'static str,
    /// Most that the bucket holds.
    pub limit: i64,
    /// Microseconds in which it fills.
    pub window_us: i64,
    /// How many are left.
    pub remaining: i64,
    /// Microseconds after which there is one for this call; 0 when there was.
    pub retry_after_us: i64,
    /// Microseconds after which one more is left.
    pub next_us: i64,
    /// When it is full: microseconds since 1970.
    pub reset_at_us: i64,
}

/// What came of asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// True when every bucket had one, and one was taken from each.
    pub allowed: bool,
    /// True when Redis is away and this process counts alone.
    pub degraded: bool,
    states: [State; BUCKETS_MAX],
    len: usize,
}

/// The limits of all processes. Cheap to clone; run [`Limiter::run`] beside it.
#[derive(Clone)]
pub struct Limiter {
    shared: Arc<Shared>,
}

struct Shared {
    local: Local,
    /// How many processes share the limits, as was last known.
    replicas: AtomicU32,
    count: Option<Replicas>,
    remote: Option<(Remote, Held)>,
}

impl Bucket {
    fn name(&self, space: u128) -> Name {
        Name { policy: self.policy, space, id: self.id }
    }
}

impl Verdict {
    /// The verdict on buckets that were full at a moment, of which `granted` have been taken; 0 of
    /// a `cost` that is not 0: refused.
    fn of<'a>(
        asked: impl Iterator<Item = (&'a Bucket, i64, Pace)>,
        now: i64,
        granted: i64,
        cost: i64,
    ) -> Self {
        let allowed = granted > 0 || cost == 0;
        let mut states = [State::default(); BUCKETS_MAX];
        let mut len = 0;
        for ((bucket, tat, pace), state) in asked.zip(&mut states) {
            let mut decision =
                gcra::decide(Some(tat), now, pace, if allowed { granted } else { 1 });
            if !allowed && decision.allowed {
                decision = gcra::decide(Some(tat), now, pace, 0);
            }
            *state = State {
                policy: bucket.policy,
                limit: pace.capacity,
                window_us: pace.fill_us(),
                remaining: decision.remaining,
                retry_after_us: decision.retry_after_us,
                next_us: decision.next_us,
                reset_at_us: decision.tat,
            };
            len += 1;
        }
        Self { allowed, degraded: false, states, len }
    }

    /// How each bucket is, in the order of asking.
    #[must_use]
    pub fn states(&self) -> &[State] {
        &self.states[..self.len]
    }

    /// The bucket with the least in it; the one that is empty longest when there are several.
    #[must_use]
    pub fn tightest(&self) -> Option<&State> {
        self.states().iter().min_by_key(|state| (state.remaining, -state.retry_after_us))
    }

    /// Microseconds after which every bucket has one; 0 when every bucket had.
    #[must_use]
    pub fn retry_after_us(&self) -> i64 {
        self.states().iter().map(|state| state.retry_after_us).max().unwrap_or_default()
    }
}

impl Limiter {
    /// Counts in memory; `count` tells with how many processes the limits are shared.
    #[must_use]
    pub fn local(clock: Clock, count: Option<Replicas>) -> Self {
        let local = Local::new(clock);
        let shared = Shared { local, replicas: AtomicU32::new(1), count, remote: None };
        Self { shared: Arc::new(shared) }
    }

    /// Counts in Redis, if there is one, and in memory while it is away.
    #[must_use]
    pub fn new(link: Option<Link>, clock: Clock, count: Option<Replicas>) -> Self {
        let Some(link) = link else { return Self::local(clock, count) };
        let remote = Some((Remote::new(link), Held::new(clock.clone())));
        let (local, replicas) = (Local::new(clock), AtomicU32::new(1));
        Self { shared: Arc::new(Shared { local, replicas, count, remote }) }
    }

    /// Takes one from each bucket, or none from any when one is empty: at most [`BUCKETS_MAX`], all
    /// of one space.
    pub async fn admit(&self, space: u128, buckets: &[Bucket]) -> Verdict {
        let Some((remote, held)) = &self.shared.remote else { return self.alone(space, buckets) };
        let shared = match remote.is_up() {
            true => together(remote, held, space, buckets).await,
            false => None,
        };
        shared.unwrap_or_else(|| Verdict { degraded: true, ..self.alone(space, buckets) })
    }

    /// Looks for Redis, and learns of other processes. What cannot be reached now is tried again,
    /// by the link and by [`Limiter::run`].
    pub async fn start(&self) {
        if let Some((remote, _)) = &self.shared.remote
            && !remote.is_up()
        {
            remote.probe().await;
        }
        self.count().await;
    }

    /// Keeps what is known of other processes fresh until `stop`.
    pub async fn run(&self, stop: CancellationToken) {
        let counting = async {
            while self.shared.count.is_some() {
                tokio::time::sleep(COUNT_EVERY).await;
                self.count().await;
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = counting => {}
        }
    }

    /// True while calls are counted where they should be: in Redis, if there is one.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.shared.remote.as_ref().is_none_or(|(remote, _)| remote.is_up())
    }

    /// How many calls have waited for an answer of Redis.
    #[must_use]
    pub fn waits(&self) -> u32 {
        self.shared.remote.as_ref().map_or(0, |(remote, _)| remote.asked())
    }

    fn alone(&self, space: u128, buckets: &[Bucket]) -> Verdict {
        let of = self.shared.replicas.load(Ordering::Relaxed);
        self.shared.local.admit_share(space, buckets, of)
    }

    async fn count(&self) {
        let Some(count) = &self.shared.count else { return };
        // The last known number holds where none can be told.
        if let Some(replicas) = count().await {
            self.shared.replicas.store(replicas.max(1), Ordering::Relaxed);
        }
    }
}

/// What all processes have together; `None` when Redis does not answer.
async fn together(
    remote: &Remote,
    held: &Held,
    space: u128,
    buckets: &[Bucket],
) -> Option<Verdict> {
    let mut turn = held.ask(space, buckets);
    if let Turn::Wait(told) = turn {
        turn = tokio::time::timeout(remote.patience(), told).await.ok()?.ok()?;
    }
    match turn {
        Turn::Decided(verdict) => Some(verdict),
        Turn::Ask(wanted) => {
            let asking = held.asking(space, buckets, wanted);
            let answer = remote.take(space, buckets, wanted).await?;
            Some(asking.learn(&answer))
        }
        Turn::Wait(_) => None,
    }
}
