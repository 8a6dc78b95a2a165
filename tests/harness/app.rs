//! The app as a test has it: the whole server on a free port with a database and keys of its own.
//! It stops, and is waited for, when it is dropped.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use runplane::cache::Bus;
use runplane::kernel::caller::Grant;
use runplane::kernel::config::Config;
use runplane::kernel::{Clock, Environment};
use runplane::keys::bootstrap::Opens;
use runplane::serve::{self, Server};
use runplane::store::Store;
use secrecy::ExposeSecret;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::databases::{self, Place};
use super::doors::{Client, Door};
use super::redis::Redis;

/// What every test changes of the defaults: a secret that needs no file, tools on this machine, and
/// no long goodbyes.
const CHANGES: &str = r#"
[server]
drain_seconds = 1
[auth]
pepper = "a pepper for tests, of no worth"
[limits]
unauthenticated = { limit = 1000000, per = "1s", burst = 1000000 }
failed_logins = { limit = 1000000, per = "1s", burst = 1000000 }
[engine]
concurrent_runs = 32
drain_ms = 1000
[egress]
allow_subnets = ["127.0.0.0/8"]
"#;

/// How to start.
#[derive(Default)]
pub struct Options {
    /// Database.
    pub on: On,
    /// Clock; the system's unless a test wants to move it.
    pub clock: Clock,
    /// Changes of the configuration, in TOML.
    pub config: String,
    /// Where limits are counted, which must outlive the app; none: in memory.
    pub redis: Option<Arc<Redis>>,
}

/// Which database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum On {
    /// A file.
    #[default]
    Sqlite,
    /// A private server.
    Postgres,
}

/// A running server.
pub struct App {
    /// Root of its URLs.
    pub url: String,
    /// Key for live data with the scope `admin`.
    pub admin: String,
    /// Key for live data with the scope `run`.
    pub runner: String,
    /// Key for live data with the scope `read`.
    pub reader: String,
    /// Key for test data with the scope `admin`.
    pub test_admin: String,
    /// Key of the server's operator.
    pub operator: String,
    /// Its clock.
    pub clock: Clock,
    /// Its store.
    pub store: Store,
    /// Where its followers listen.
    pub bus: Bus,
    config: Config,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
    // After the thread: what it stands on goes last.
    place: Option<Place>,
}

/// What the server's thread tells when it serves.
struct Started {
    url: String,
    keys: [String; 5],
    store: Store,
    bus: Bus,
}

impl App {
    /// Starts with the defaults.
    pub async fn start() -> Self {
        Self::with(Options::default()).await
    }

    /// Starts.
    pub async fn with(options: Options) -> Self {
        let (store, place) = match options.on {
            On::Sqlite => databases::sqlite_place(),
            On::Postgres => databases::postgres_copy().await,
        };
        let mut changes: toml::Table = CHANGES.parse().expect("TOML");
        if let Some(redis) = &options.redis {
            merge(&mut changes, redis.config().parse().expect("TOML"));
        }
        merge(&mut changes, options.config.parse().expect("TOML"));
        let mut config = Config::with(&changes.to_string()).expect("a right configuration");
        config.store.url = store.url;
        config.store.max_connections = 8;
        Self::launch(config, options.clock, place).await
    }

    /// Stops, and waits for it without holding up what else the test's runtime does.
    pub async fn stop(mut self) {
        self.finish().await;
    }

    /// Stops, and starts again on the same data, with the same keys.
    pub async fn restart(mut self) -> Self {
        self.finish().await;
        let place = self.place.take().expect("a place");
        let mut next = Self::launch(self.config.clone(), self.clock.clone(), place).await;
        next.admin = std::mem::take(&mut self.admin);
        next.runner = std::mem::take(&mut self.runner);
        next.reader = std::mem::take(&mut self.reader);
        next.test_admin = std::mem::take(&mut self.test_admin);
        next.operator = std::mem::take(&mut self.operator);
        next
    }

    /// A caller with the admin key.
    pub fn door(&self, door: Door) -> Client {
        self.client(door, &self.admin)
    }

    /// A caller with a key.
    pub fn client(&self, door: Door, key: &str) -> Client {
        Client::new(door, &self.url, Some(key))
    }

    /// A caller without a key.
    pub fn stranger(&self, door: Door) -> Client {
        Client::new(door, &self.url, None)
    }

    /// Moves the clock, if it is a manual one.
    pub fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }

    async fn launch(config: Config, clock: Clock, place: Place) -> Self {
        let stop = CancellationToken::new();
        let (tell, told) = oneshot::channel();
        let (parts, ends) = ((config.clone(), clock.clone()), stop.clone());
        let thread = std::thread::spawn(move || live(parts, tell, &ends));
        let started = told.await.expect("the server starts; see above");
        let [admin, runner, reader, test_admin, operator] = started.keys.clone();
        let Started { url, store, bus, .. } = started;
        let (thread, place) = (Some(thread), Some(place));
        Self {
            url,
            admin,
            runner,
            reader,
            test_admin,
            operator,
            clock,
            store,
            bus,
            config,
            stop,
            thread,
            place,
        }
    }

    async fn finish(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            let joined = tokio::task::spawn_blocking(|| thread.join()).await.expect("a join");
            joined.expect("the server ends well");
        }
    }

    fn end(&mut self) {
        self.stop.cancel();
        let ended = self.thread.take().map_or(Ok(()), JoinHandle::join);
        if !std::thread::panicking() {
            ended.expect("the server ends well");
        }
    }
}

impl Drop for App {
    fn drop(&mut self) {
        self.end();
    }
}

/// The server's life, in a runtime of its own: so a test may drop it wherever it is.
fn live(parts: (Config, Clock), tell: oneshot::Sender<Started>, stop: &CancellationToken) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        super::doors::crypto();
        let server = Server::build_at(parts.0, parts.1).await.expect("the server builds");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let keys = keys(&server).await;
        let (store, bus) = (server.store.clone(), server.engine.bus().clone());
        tell.send(Started { url, keys, store, bus }).ok().expect("the test waits");
        serve::run(server, listener, stop.cancelled()).await.expect("the server serves");
    });
}

async fn keys(server: &Server) -> [String; 5] {
    let kinds = [
        (Environment::Live, Grant::ADMIN),
        (Environment::Live, Grant::RUN),
        (Environment::Live, Grant::READ),
        (Environment::Test, Grant::ADMIN),
    ];
    let mut keys = Vec::new();
    for (environment, grant) in kinds {
        let key = server.key(environment, &grant.to_string(), &[grant]).await.expect("a key");
        keys.push(key.expose_secret().to_owned());
    }
    let operator = server.key_for(Opens::Operator, "operator", &[Grant::OPERATOR]).await;
    keys.push(operator.expect("a key").expose_secret().to_owned());
    keys.try_into().expect("five keys")
}

fn merge(into: &mut toml::Table, changes: toml::Table) {
    for (name, value) in changes {
        match (into.get_mut(&name), value) {
            (Some(toml::Value::Table(table)), toml::Value::Table(changes)) => merge(table, changes),
            (_, value) => {
                into.insert(name, value);
            }
        }
    }
}
