//! A database for each test, on SQLite and on Postgres: [`on_both!`] makes two tests of one body.
//! Postgres is a private instance in a temporary folder, started by the first test that needs it
//! and stopped when the test process ends, however it ends; with `RUNPLANE_TEST_POSTGRES_URL` it is
//! the server of that URL.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock};

use runplane::cache::Bus;
use runplane::cache::link::Link;
use runplane::kernel::config::Config;
use runplane::kernel::{Clock, Timestamp};
use runplane::store::{Store, StoreConfig};
use sea_orm::{ConnectionTrait, Database as Connector};
use tempfile::TempDir;
use tokio::sync::OnceCell;

use super::redis::Redis;

/// Makes two tests, `NAME::on_sqlite` and `NAME::on_postgres`, of one `async fn NAME(db: Database)
/// { … }`.
#[macro_export]
macro_rules! on_both {
    ($($bodies:tt)*) => {
        $crate::on! { [on_sqlite sqlite, on_postgres postgres] $($bodies)* }
    };
}

/// The same, and a third test, `NAME::on_postgres_and_redis`, in which the processes on the
/// database hear each other over a Redis.
#[macro_export]
macro_rules! on_all {
    ($($bodies:tt)*) => {
        $crate::on! {
            [on_sqlite sqlite, on_postgres postgres, on_postgres_and_redis postgres_and_redis]
            $($bodies)*
        }
    };
}

/// Makes a test of each body for each place: how it is called, and what of [`Database`] opens it.
#[macro_export]
macro_rules! on {
    ($places:tt $($(#[$meta:meta])* async fn $name:ident($db:ident: Database) $body:block)*) => {
        $(mod $name {
            use super::*;

            $(#[$meta])*
            async fn body($db: $crate::harness::databases::Database) $body

            $crate::on! { @each $places }
        })*
    };
    (@each [$($test:ident $open:ident),*]) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $test() {
            body($crate::harness::databases::Database::$open().await).await;
        })*
    };
}

/// What time it is in every test, until the test moves it.
pub const START: Timestamp = Timestamp(1_750_000_000_000_000);

/// Makes the bus of one process: what processes on one database hear each other by, and the way to
/// the Redis that it stands on.
pub type Buses = Arc<dyn Fn() -> (Bus, Option<Link>) + Send + Sync>;

/// Tables without rows, and a clock that stands still.
pub struct Database {
    pub store: Store,
    pub clock: Clock,
    pub config: StoreConfig,
    /// How the processes on it hear each other; by itself not at all: all they share is the
    /// database.
    pub buses: Buses,
    _place: Place,
}

/// What goes when the test ends.
pub enum Place {
    Folder { _folder: TempDir },
    Server { name: String },
}

impl Database {
    /// On SQLite.
    pub async fn sqlite() -> Self {
        let (config, place) = sqlite_place();
        Self::open(config, place).await
    }

    /// On Postgres.
    pub async fn postgres() -> Self {
        let (config, place) = postgres_copy().await;
        Self::open(config, place).await
    }

    /// On Postgres, with a Redis between the processes.
    pub async fn postgres_and_redis() -> Self {
        let database = Self::postgres().await;
        // One Redis for all tests, and names of its own for each.
        static REDIS: LazyLock<Redis> = LazyLock::new(Redis::start);
        let prefix = format!("{}:", rand::random::<u64>());
        let config = Config::with(&format!("{}prefix = {prefix:?}\n", REDIS.config()));
        let redis = config.expect("a right configuration").redis;
        let buses = move || {
            let link = Link::new(&redis).expect("a URL");
            (Bus::new(link.clone(), false), link)
        };
        Self { buses: Arc::new(buses), ..database }
    }

    async fn open(config: StoreConfig, place: Place) -> Self {
        let clock = Clock::manual(START);
        let store = Store::open(&config, clock.clone()).await.expect("the store opens");
        let buses = || (Bus::memory(), None);
        Self { store, clock, config, buses: Arc::new(buses), _place: place }
    }

    /// Closes the store and opens it again, as a new process would.
    pub async fn reopen(&mut self) {
        self.store.close().await;
        self.store =
            Store::open(&self.config, self.clock.clone()).await.expect("the store opens again");
    }
}

/// A file that is not there yet.
pub fn sqlite_place() -> (StoreConfig, Place) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let url = format!("sqlite:{}", folder.path().join("runplane.db").display());
    (StoreConfig { url, ..StoreConfig::default() }, Place::Folder { _folder: folder })
}

/// A database, a copy of the template or empty.
pub async fn postgres_place(template: Option<&str>) -> (StoreConfig, Place) {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let name = format!("runplane_test_{}_{number}", std::process::id());
    let like = template.map(|template| format!(" TEMPLATE {template}")).unwrap_or_default();
    admin(&format!("CREATE DATABASE {name}{like}")).await;
    let config = StoreConfig { url: url_of(&name), max_connections: 8, ..StoreConfig::default() };
    (config, Place::Server { name })
}

impl Drop for Place {
    fn drop(&mut self) {
        let Self::Server { name } = self else { return };
        if external().is_none() {
            return;
        }
        // Somebody else's server is left as it was. The test's own runtime may be ending, so this
        // has one of its own.
        let sql = format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)");
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(admin(&sql));
        });
        let _ = dropping.join();
    }
}

/// A database with all tables, and no row.
pub async fn postgres_copy() -> (StoreConfig, Place) {
    let template = TEMPLATE.get_or_init(make_template).await;
    postgres_place(Some(template)).await
}

static TEMPLATE: OnceCell<String> = OnceCell::const_new();

/// Runs the migrations once; every test copies the result.
async fn make_template() -> String {
    let (config, place) = postgres_place(None).await;
    let store = Store::open(&config, Clock::system()).await.expect("the template opens");
    store.close().await;
    let Place::Server { name } = &place else { unreachable!("a server") };
    let name = name.clone();
    // Kept for as long as the process runs.
    std::mem::forget(place);
    name
}

async fn admin(sql: &str) {
    let mut options = sea_orm::ConnectOptions::new(url_of("postgres"));
    options.max_connections(1).sqlx_logging(false);
    let conn = Connector::connect(options).await.expect("the test server answers");
    conn.execute_unprepared(sql).await.expect(sql);
    conn.close().await.expect("the connection closes");
}

fn url_of(database: &str) -> String {
    if let Some(url) = external() {
        let mut url: url::Url = url.parse().expect("RUNPLANE_TEST_POSTGRES_URL is a URL");
        url.set_path(database);
        return url.into();
    }
    let server = SERVER.get_or_init(Server::start);
    format!("postgres://runplane@localhost/{database}?host={}", server.folder)
}

#[expect(clippy::disallowed_methods, reason = "tests have no configuration of their own")]
fn external() -> Option<String> {
    std::env::var("RUNPLANE_TEST_POSTGRES_URL").ok()
}

static SERVER: std::sync::OnceLock<Server> = std::sync::OnceLock::new();

/// The private instance. Its shell waits for the end of its input, which comes when this process
/// ends, however it ends; then it stops the server and removes the folder.
struct Server {
    folder: String,
    _shell: Child,
}

const SCRIPT: &str = r#"
set -eu
: "${BIN:=$(dirname "$(command -v initdb || echo /usr/bin/initdb)")}"
folder=$(mktemp -d "${TMPDIR:-/tmp}/runplane-postgres.XXXXXX")
trap 'rm -rf "$folder"' EXIT
"$BIN/initdb" -D "$folder/data" -U runplane -A trust -E UTF8 --locale=C --no-sync >"$folder/initdb"
"$BIN/postgres" -D "$folder/data" -c listen_addresses= -c unix_socket_directories="$folder" \
  -c max_connections=300 -c shared_buffers=64MB -c fsync=off -c full_page_writes=off \
  -c synchronous_commit=off </dev/null >"$folder/log" 2>&1 &
server=$!
until "$BIN/pg_isready" -q -h "$folder"; do
  kill -0 $server || { cat "$folder/log" >&2; exit 1; }
  sleep 0.02
done
echo "$folder"
read -r _ || true
kill -INT $server
wait $server || true
"#;

impl Server {
    fn start() -> Self {
        let mut command = as_somebody_else();
        command
            .args(["sh", "-c", SCRIPT])
            .env("BIN", programs().unwrap_or_default())
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut shell = command.spawn().expect("the private Postgres starts");
        let output = shell.stdout.take().expect("an output");
        let mut folder = String::new();
        BufReader::new(output).read_line(&mut folder).expect("the private Postgres answers");
        let folder = folder.trim().to_owned();
        assert!(!folder.is_empty(), "Postgres did not start: install postgresql");
        Self { folder, _shell: shell }
    }
}

/// Postgres refuses to run as root.
pub fn as_somebody_else() -> Command {
    let id = Command::new("id").arg("-u").output().expect("id runs");
    if id.stdout.trim_ascii() != b"0" {
        return Command::new("env");
    }
    let mut command = Command::new("setpriv");
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let somebody = ["--reuid=postgres", "--regid=postgres", "--clear-groups", "--"];
    let nobody = ["--reuid=65534", "--regid=65534", "--clear-groups", "--"];
    let known = users.lines().any(|line| line.starts_with("postgres:"));
    command.args(if known { somebody } else { nobody });
    command
}

/// The newest of Debian's versions; `None` leaves it to the `PATH`.
pub fn programs() -> Option<PathBuf> {
    let entries = std::fs::read_dir("/usr/lib/postgresql").ok()?;
    let version = |bin: &PathBuf| bin.parent()?.file_name()?.to_str()?.parse::<u32>().ok();
    let programs = entries.flatten().map(|entry| entry.path().join("bin"));
    programs.filter(|bin| bin.join("initdb").exists()).max_by_key(version)
}
