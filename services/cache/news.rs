//! News of keys on their way to the other processes, so that a key which was revoked is refused
//! everywhere at once: Redis publishes, whoever listens forgets what it knew. Told by the services
//! through `serve`, heard by `gateway/auth.rs`. News may be lost: what is known of a key is
//! known for 5 seconds only.

use std::time::Duration;

use futures::StreamExt;
use futures::future::BoxFuture;
use redis::Client;
use redis::aio::MultiplexedConnection;
use secrecy::ExposeSecret;
use tokio::sync::mpsc;
use tokio::time::{interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::kernel::config::RedisConfig;
use crate::kernel::{Error, Result};

/// News that wait to be sent; more are left out.
const QUEUE: usize = 1024;
/// Says that all keys have changed.
const ALL: &str = "*";
/// Says nothing but that the way is good.
const BEAT: &str = ".";
/// How often that is said.
const BEAT_EVERY: Duration = Duration::from_secs(2);
/// Silence after which the way is taken to be broken.
const SILENCE: Duration = Duration::from_secs(6);
/// Pause before Redis is tried again.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Takes news.
#[derive(Debug, Clone)]
pub struct News(mpsc::Sender<String>);

/// Carries them to the other processes, and theirs here.
pub struct Courier {
    client: Option<Client>,
    channel: String,
    patience: Duration,
    queue: mpsc::Receiver<String>,
}

/// The two ends of a queue of news. Without a Redis there is nobody to tell.
///
/// # Errors
/// `internal_error` for a URL that is none.
pub fn news(config: &RedisConfig) -> Result<(News, Courier)> {
    let url = config.url.expose_secret();
    let client = (!url.is_empty()).then(|| Client::open(url)).transpose();
    let (sender, queue) = mpsc::channel(QUEUE);
    let courier = Courier {
        client: client.map_err(Error::internal)?,
        channel: format!("{}keys", config.prefix),
        patience: Duration::from_millis(config.connect_timeout_ms),
        queue,
    };
    Ok((News(sender), courier))
}

impl News {
    /// Tells that a key has changed, by its public part, or all.
    pub fn tell(&self, public: Option<&str>) {
        if self.0.try_send(public.unwrap_or(ALL).to_owned()).is_err() {
            tracing::warn!("other processes hear of a changed key a few seconds late");
        }
    }
}

impl Courier {
    /// Carries until `stop`. `heard` is called for each key that has changed elsewhere, and with
    /// none when any may have.
    pub async fn run(
        mut self,
        heard: impl Fn(Option<String>) -> BoxFuture<'static, ()>,
        stop: &CancellationToken,
    ) {
        let Some(client) = self.client.take() else {
            stop.cancelled().await;
            return;
        };
        let (channel, patience) = (self.channel.clone(), self.patience);
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.send(&client) => {}
            () = hear(&client, &channel, patience, heard) => {}
        }
    }

    async fn send(&mut self, client: &Client) {
        let mut way: Option<MultiplexedConnection> = None;
        let mut beats = interval(BEAT_EVERY);
        loop {
            let word = tokio::select! {
                word = self.queue.recv() => word,
                _ = beats.tick() => Some(BEAT.to_owned()),
            };
            let Some(word) = word else { return };
            // A way that has broken since the last time is made anew.
            for _ in 0..2 {
                if way.is_none() {
                    let connect = client.get_multiplexed_async_connection();
                    way = timeout(self.patience, connect).await.ok().and_then(|made| made.ok());
                }
                let Some(connection) = &mut way else { break };
                let mut publish = redis::cmd("PUBLISH");
                publish.arg(&self.channel).arg(&word);
                let sent = timeout(self.patience, publish.query_async::<i64>(connection)).await;
                if matches!(sent, Ok(Ok(_))) {
                    break;
                }
                way = None;
            }
        }
    }
}

async fn hear(
    client: &Client,
    channel: &str,
    patience: Duration,
    heard: impl Fn(Option<String>) -> BoxFuture<'static, ()>,
) {
    loop {
        let connect = async {
            let mut listening = client.get_async_pubsub().await?;
            listening.subscribe(channel).await?;
            Ok::<_, redis::RedisError>(listening)
        };
        if let Ok(Ok(listening)) = timeout(patience, connect).await {
            // Whatever was told before is not heard any more.
            heard(None).await;
            let mut messages = listening.into_on_message();
            // Somebody's beat is always due: silence is a way that has broken unseen.
            while let Ok(Some(message)) = timeout(SILENCE, messages.next()).await {
                let word = message.get_payload::<String>().unwrap_or_default();
                if word != BEAT {
                    heard(Some(word).filter(|word| word != ALL)).await;
                }
            }
        }
        sleep(AGAIN_AFTER).await;
    }
}
