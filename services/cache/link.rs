//! The way to Redis that all parts share. A breaker opens after some failures in a row, and from
//! then on nobody waits for Redis: only the prober does, in the background, once a second. Asked
//! by everything in `cache/`, run by `serve`. Knows nothing of what is asked; a question without
//! an answer is the asker's to settle.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use redis::aio::{MultiplexedConnection, PubSub};
use redis::{AsyncConnectionConfig, Client, RedisError, RedisResult, Script};
use secrecy::ExposeSecret;
use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::{limits, pictures, wire};
use crate::kernel::config::RedisConfig;
use crate::kernel::telemetry::TRACE;
use crate::kernel::{self, Error};

/// Failures in a row after which Redis is taken to be away.
const FAILURES_MAX: u32 = 5;

/// Time between two probes.
const PROBE_EVERY: Duration = Duration::from_secs(1);

/// Milliseconds that what a probe has written is kept.
const PROBE_MS: u64 = 60_000;

/// Brought to a new Redis: the first call of a script would take three round trips.
const SCRIPTS: [&str; 3] = [limits::GCRA, wire::PUBLISH, pictures::KEEP];

/// One Redis. Cheap to clone; run [`Link::run`] beside it.
#[derive(Clone)]
pub struct Link {
    shared: Arc<Shared>,
}

struct Shared {
    client: Client,
    prefix: String,
    timeout: Duration,
    connect_timeout: Duration,
    /// The connection; none while Redis is away.
    way: Mutex<Option<Arc<Way>>>,
    /// Number of the connection, from 1; 0 while there is none.
    number: watch::Sender<u64>,
    /// How many connections there were.
    made: AtomicU64,
    lost: Notify,
    /// True when it has been told that Redis cannot be reached.
    told: AtomicBool,
}

struct Way {
    connection: MultiplexedConnection,
    failures: AtomicU32,
}

impl Link {
    /// The Redis of this configuration, if it names one. Nothing is connected yet.
    ///
    /// # Errors
    /// `internal_error` for a URL that is none.
    pub fn new(config: &RedisConfig) -> kernel::Result<Option<Self>> {
        if !config.is_set() {
            return Ok(None);
        }
        let shared = Shared {
            client: Client::open(config.url.expose_secret()).map_err(Error::internal)?,
            prefix: config.prefix.clone(),
            timeout: Duration::from_millis(config.timeout_ms),
            connect_timeout: Duration::from_millis(config.connect_timeout_ms),
            way: Mutex::new(None),
            number: watch::Sender::new(0),
            made: AtomicU64::new(0),
            lost: Notify::new(),
            told: AtomicBool::new(false),
        };
        Ok(Some(Self { shared: Arc::new(shared) }))
    }

    /// True unless Redis is away.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.way().is_some()
    }

    /// How long a call waits for an answer.
    #[must_use]
    pub fn patience(&self) -> Duration {
        self.shared.timeout
    }

    /// How long work in the background waits, for which no caller waits.
    pub(super) fn long_patience(&self) -> Duration {
        self.shared.connect_timeout
    }

    /// The name of a key or a channel: every one has the prefix.
    pub(super) fn name(&self, rest: &str) -> String {
        format!("{}{rest}", self.shared.prefix)
    }

    /// The number of the connection as it changes; 0 while Redis is away.
    pub(super) fn number(&self) -> watch::Receiver<u64> {
        self.shared.number.subscribe()
    }

    /// Asks for `what`; `None` at once while Redis is away, and when it does not answer within
    /// `patience`.
    pub(super) async fn ask<T, F>(
        &self,
        what: &'static str,
        patience: Duration,
        question: impl FnOnce(MultiplexedConnection) -> F,
    ) -> Option<T>
    where
        F: Future<Output = RedisResult<T>>,
    {
        let way = self.way()?;
        let span = tracing::info_span!(
            target: TRACE,
            "redis",
            otel.name = format_args!("redis {what}"),
            otel.kind = "client",
            otel.status_code = tracing::field::Empty,
            "error.type" = tracing::field::Empty,
            db.system.name = "redis",
            db.operation.name = what,
        );
        let answer = self.ask_by(&way, patience, question).instrument(span.clone()).await;
        if answer.is_none() {
            span.record("otel.status_code", "ERROR");
            span.record("error.type", "no_answer");
        }
        answer
    }

    /// Another connection, which only listens.
    pub(super) async fn listener(&self) -> Result<PubSub, RedisError> {
        self.shared.client.get_async_pubsub().await
    }

    /// Connects, as soon as that is possible, and probes until `stop`.
    pub async fn run(&self, stop: &CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.probe() => {}
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.shared.lost.notified() => {}
                () = sleep(PROBE_EVERY) => {}
            }
        }
    }

    /// One probe; connects when Redis is away.
    pub async fn probe(&self) {
        if let Some(way) = self.way() {
            self.ask_by(&way, self.shared.timeout, |way| self.write(way)).await;
            return;
        }
        match self.connect().await {
            Ok(way) => {
                *self.shared.way.lock().unwrap_or_else(PoisonError::into_inner) = Some(way);
                self.shared.told.store(false, Ordering::Relaxed);
                let number = self.shared.made.fetch_add(1, Ordering::Relaxed) + 1;
                self.shared.number.send_replace(number);
                tracing::info!("Redis is there: limits are counted and streams are shared in it");
            }
            // Once, and not each second.
            Err(why) if !self.shared.told.swap(true, Ordering::Relaxed) => {
                tracing::warn!(why, "Redis cannot be reached: each process counts limits alone");
            }
            Err(_) => {}
        }
    }

    /// A new connection, on which a probe was answered.
    async fn connect(&self) -> Result<Arc<Way>, String> {
        let Shared { client, connect_timeout, .. } = &*self.shared;
        let (late, patience) = (|_| "no answer in time".to_owned(), *connect_timeout);
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(patience))
            .set_response_timeout(Some(patience));
        let connecting = client.get_multiplexed_async_connection_with_config(&config);
        // Twice: to connect, and to be greeted.
        let connection = timeout(2 * patience, connecting).await.map_err(late)?;
        let connection = connection.map_err(|error| error.to_string())?;
        let bringing = async {
            for script in SCRIPTS {
                Script::new(script).load_async(&mut connection.clone()).await?;
            }
            RedisResult::Ok(())
        };
        let brought = timeout(patience, bringing).await.map_err(late)?;
        brought.map_err(|error| error.to_string())?;
        let probe = timeout(self.shared.timeout, self.write(connection.clone())).await;
        probe.map_err(late)?.map_err(|error| error.to_string())?;
        Ok(Arc::new(Way { connection, failures: AtomicU32::new(0) }))
    }

    /// What a probe does: it writes, as most questions do.
    async fn write(&self, mut connection: MultiplexedConnection) -> RedisResult<()> {
        let mut set = redis::cmd("SET");
        set.arg(self.name("probe")).arg(1).arg("PX").arg(PROBE_MS);
        set.query_async(&mut connection).await
    }

    fn way(&self) -> Option<Arc<Way>> {
        self.shared.way.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn ask_by<T, F>(
        &self,
        way: &Arc<Way>,
        patience: Duration,
        question: impl FnOnce(MultiplexedConnection) -> F,
    ) -> Option<T>
    where
        F: Future<Output = RedisResult<T>>,
    {
        match timeout(patience, question(way.connection.clone())).await {
            Ok(Ok(answer)) => {
                way.failures.store(0, Ordering::Relaxed);
                Some(answer)
            }
            Ok(Err(error)) => {
                self.fail(way, error.is_connection_dropped(), &error.to_string());
                None
            }
            Err(_late) => {
                self.fail(way, false, "no answer in time");
                None
            }
        }
    }

    /// Notes a failure; opens the breaker when it is one too many, or the last.
    fn fail(&self, way: &Arc<Way>, is_last: bool, why: &str) {
        let failures = way.failures.fetch_add(1, Ordering::Relaxed) + 1;
        if failures < FAILURES_MAX && !is_last {
            return;
        }
        let mut current = self.shared.way.lock().unwrap_or_else(PoisonError::into_inner);
        let lost = current.take_if(|current| Arc::ptr_eq(current, way));
        drop(current);
        if lost.is_some() {
            self.shared.told.store(true, Ordering::Relaxed);
            self.shared.number.send_replace(0);
            self.shared.lost.notify_one();
            tracing::warn!(why, "Redis is away: each process counts limits alone");
        }
    }
}
