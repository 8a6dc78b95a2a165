//! Buckets in Redis, which all replicas share: one script, one round trip for all buckets of a
//! call. A breaker opens after some failures in a row, and from then on no call waits for Redis:
//! only the prober does, in the background. Called by `mod.rs`; what happens without an answer is
//! decided there.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, RedisResult, Script};
use secrecy::ExposeSecret;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::gcra::Pace;
use super::{BUCKETS_MAX, Bucket};
use crate::kernel::config::RedisConfig;
use crate::kernel::plan::Rate;
use crate::kernel::{self, Error};

/// Failures in a row after which Redis is taken to be away.
const FAILURES_MAX: u32 = 5;

/// Time between two probes.
const PROBE_EVERY: Duration = Duration::from_secs(1);

/// What a probe takes from: it writes, as calls do.
const PROBED: Bucket = Bucket {
    policy: "probe",
    id: 0,
    rate: Rate::new(1_000_000, Duration::from_secs(1), 1_000_000),
};

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
    client: Client,
    script: Script,
    prefix: String,
    timeout: Duration,
    connect_timeout: Duration,
    /// The way to Redis; none while it is away.
    link: Mutex<Option<Arc<Link>>>,
    lost: Notify,
    /// True when it has been told that Redis cannot be reached.
    told: AtomicBool,
    /// Questions that calls have waited for, answered or not.
    asked: AtomicU32,
}

/// A connection, with what failed on it: what comes late from an old one says nothing of the next.
struct Link {
    connection: MultiplexedConnection,
    failures: AtomicU32,
}

impl Remote {
    /// For the Redis of a URL; nothing is connected yet.
    pub(super) fn new(config: &RedisConfig) -> kernel::Result<Self> {
        let client = Client::open(config.url.expose_secret()).map_err(Error::internal)?;
        Ok(Self {
            client,
            script: Script::new(include_str!("gcra.lua")),
            prefix: config.prefix.clone(),
            timeout: Duration::from_millis(config.timeout_ms),
            connect_timeout: Duration::from_millis(config.connect_timeout_ms),
            link: Mutex::new(None),
            lost: Notify::new(),
            told: AtomicBool::new(false),
            asked: AtomicU32::new(0),
        })
    }

    /// True unless Redis is away.
    pub(super) fn is_up(&self) -> bool {
        self.link().is_some()
    }

    /// How long a call waits.
    pub(super) fn patience(&self) -> Duration {
        self.timeout
    }

    /// How many calls have asked Redis.
    pub(super) fn asked(&self) -> u32 {
        self.asked.load(Ordering::Relaxed)
    }

    /// Takes at most `wanted` from all buckets or none; `None` when Redis does not answer in time.
    pub(super) async fn take(&self, space: u128, of: &[Bucket], wanted: i64) -> Option<Answer> {
        let link = self.link()?;
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.take_by(&link, space, of, wanted).await
    }

    /// Connects, as soon as that is possible, and probes until `stop`.
    pub(super) async fn watch(&self, stop: &CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.probe() => {}
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.lost.notified() => {}
                () = sleep(PROBE_EVERY) => {}
            }
        }
    }

    /// One probe; connects when Redis is away.
    pub(super) async fn probe(&self) {
        if let Some(link) = self.link() {
            self.take_by(&link, 0, &[PROBED], 1).await;
            return;
        }
        match self.connect().await {
            Ok(link) => {
                *self.link.lock().unwrap_or_else(PoisonError::into_inner) = Some(link);
                self.told.store(false, Ordering::Relaxed);
                tracing::info!("limits are counted in Redis");
            }
            // Once, and not each second.
            Err(why) if !self.told.swap(true, Ordering::Relaxed) => {
                tracing::warn!(why, "Redis cannot be reached: each process counts limits alone");
            }
            Err(_) => {}
        }
    }

    /// A new way to Redis, on which a probe was answered.
    async fn connect(&self) -> Result<Arc<Link>, String> {
        let late = |_| "no answer in time".to_owned();
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.connect_timeout))
            .set_response_timeout(Some(self.connect_timeout));
        let connecting = self.client.get_multiplexed_async_connection_with_config(&config);
        // Twice: to connect, and to be greeted.
        let connection = timeout(2 * self.connect_timeout, connecting).await.map_err(late)?;
        let connection = connection.map_err(|error| error.to_string())?;
        let link = Arc::new(Link { connection, failures: AtomicU32::new(0) });
        // The first call of a script brings it there, which takes three round trips.
        let mut connection = link.connection.clone();
        let bringing = self.script.load_async(&mut connection);
        let brought = timeout(self.connect_timeout, bringing).await.map_err(late)?;
        brought.map_err(|error| error.to_string())?;
        let probe = timeout(self.timeout, self.invoke(&link, 0, &[PROBED], 1)).await;
        probe.map_err(late)?.map_err(|error| error.to_string())?;
        Ok(link)
    }

    fn link(&self) -> Option<Arc<Link>> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn take_by(
        &self,
        link: &Arc<Link>,
        space: u128,
        of: &[Bucket],
        wanted: i64,
    ) -> Option<Answer> {
        match timeout(self.timeout, self.invoke(link, space, of, wanted)).await {
            Ok(Ok(values)) => {
                link.failures.store(0, Ordering::Relaxed);
                Answer::of(wanted, &values)
            }
            Ok(Err(error)) => {
                self.fail(link, error.is_connection_dropped(), &error.to_string());
                None
            }
            Err(_late) => {
                self.fail(link, false, "no answer in time");
                None
            }
        }
    }

    async fn invoke(
        &self,
        link: &Link,
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
        call.invoke_async(&mut link.connection.clone()).await
    }

    /// The buckets of a call share a space, and so a slot of a cluster.
    fn name(&self, space: u128, bucket: &Bucket) -> String {
        format!("{}{{{space:x}}}:{}:{:x}", self.prefix, bucket.policy, bucket.id)
    }

    /// Notes a failure; opens the breaker when it is one too many, or the last.
    fn fail(&self, link: &Arc<Link>, is_last: bool, why: &str) {
        let failures = link.failures.fetch_add(1, Ordering::Relaxed) + 1;
        if failures < FAILURES_MAX && !is_last {
            return;
        }
        let mut current = self.link.lock().unwrap_or_else(PoisonError::into_inner);
        let lost = current.take_if(|current| Arc::ptr_eq(current, link));
        drop(current);
        if lost.is_some() {
            self.told.store(true, Ordering::Relaxed);
            self.lost.notify_one();
            tracing::warn!(why, "Redis is away: each process counts limits alone");
        }
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
