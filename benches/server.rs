//! The servers that are measured, each alone in a child process: the product, and what one would
//! write by hand. They say on standard output where they serve, answer questions there, and end
//! with their standard input.

use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use runplane::cache::limits::Limiter;
use runplane::cache::link::Link;
use runplane::gateway::auth::{AuthLayer, Authenticator, Required};
use runplane::gateway::dispatch::Dispatch;
use runplane::gateway::health::Health;
use runplane::gateway::port::PortLimits;
use runplane::gateway::rate::Gate;
use runplane::gateway::rest::{Transcoder, TranscoderOptions};
use runplane::gateway::{Dialect, port, stack};
use runplane::kernel::caller::Grant;
use runplane::kernel::config::{Config, Plans};
use runplane::kernel::telemetry::{self, Meters};
use runplane::kernel::{Clock, Environment};
use runplane::keys::pepper;
use runplane::proto::DESCRIPTOR_SET;
use runplane::proto::rest::{Services, method};
use runplane::proto::runplane::v1::runs_service_server::{self, RunsServiceServer};
use runplane::serve::{self, Server};
use runplane::store::Store;
use sea_orm::{ConnectionTrait, DbBackend};
use secrecy::ExposeSecret;
use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader, stdin};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tonic::service::Routes;
use tonic::transport::server::TcpIncoming;

use super::child::Ready;
use super::envoy::{Envoy, Setup};
use super::memory::Memory;
use super::redis::Redis;
use super::{Outcome, hand, past};

const LIMITS: PortLimits = PortLimits {
    connections_max: 1024,
    idle_max: Duration::from_secs(300),
    stalled_max: Duration::from_secs(60),
    drain: Duration::from_secs(1),
};

/// A server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Kind {
    /// The product, on SQLite.
    Full,
    /// Our transcoder over services that answer from memory: no key, no layers, no database.
    Transcoder,
    /// The product's whole stack of layers, with keys, over the same services.
    Gateway,
    /// The same, with no limit on how often a key may call.
    Open,
    /// The same, with limits that are counted in Redis.
    Redis,
    /// axum and serde by hand, from memory.
    Hand,
    /// tonic alone, from memory.
    Tonic,
    /// The same behind Envoy's JSON transcoder.
    Envoy,
    /// The transcoder of `rest_over_grpc`, over services that answer from memory: a program of its
    /// own, `benches/rivals`.
    RestOverGrpc,
}

impl Kind {
    /// Its name as an argument.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Transcoder => "transcoder",
            Self::Gateway => "gateway",
            Self::Open => "open",
            Self::Redis => "redis",
            Self::Hand => "hand",
            Self::Tonic => "tonic",
            Self::Envoy => "envoy",
            Self::RestOverGrpc => "rest-over-grpc",
        }
    }
}

/// Serves until standard input ends; `envoy` is the program that goes before tonic.
pub(super) async fn serve(kind: Kind, folder: &Path, envoy: Option<&Path>) -> Outcome<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    if kind == Kind::Full {
        return full(listener, folder).await;
    }
    if matches!(kind, Kind::Gateway | Kind::Open | Kind::Redis) {
        return gateway(kind, listener, folder).await;
    }
    let address = listener.local_addr()?;
    let mut ready = Ready { address: address.to_string(), key: String::new(), beside: None };
    let envoy = match envoy {
        Some(program) => Some(before(address, program, folder).await?),
        None => None,
    };
    if let Some(envoy) = &envoy {
        (ready.address, ready.beside) = (envoy.address.to_string(), envoy.process.id());
    }
    say(&serde_json::to_string(&ready)?)?;
    from_memory(kind, listener, folder).await
}

/// Serves what answers from memory.
async fn from_memory(kind: Kind, listener: TcpListener, folder: &Path) -> Outcome<()> {
    let ended = ended();
    match kind {
        Kind::Hand => {
            let router = hand::router(folder)?;
            axum::serve(listener, router).with_graceful_shutdown(ended).await?;
        }
        Kind::Transcoder => {
            let memory = Arc::new(Memory::load(folder)?);
            let transcoder = Transcoder::new(services(&memory), TranscoderOptions::default());
            // As the handlers by hand are served: the timers of our port are not the transcoder's.
            // It routes by itself, as their router does.
            let each = tower::make::Shared::new(transcoder);
            axum::serve(listener, each).with_graceful_shutdown(ended).await?;
        }
        Kind::Tonic | Kind::Envoy => {
            let service = RunsServiceServer::new(Memory::load(folder)?);
            let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
            let router = tonic::transport::Server::builder().add_service(service);
            router.serve_with_incoming_shutdown(incoming, ended).await?;
        }
        Kind::Full | Kind::Gateway | Kind::Open | Kind::Redis | Kind::RestOverGrpc => {
            return Err(format!("{} is served elsewhere", kind.name()).into());
        }
    }
    Ok(())
}

/// Envoy before a gRPC server: it writes JSON as near to the product's as it can.
async fn before(upstream: SocketAddr, program: &Path, folder: &Path) -> Outcome<Envoy> {
    let options = json!({"print_options": {
        "preserve_proto_field_names": true,
        "always_print_primitive_fields": true,
    }});
    let setup = Setup {
        program,
        folder: folder.join("envoy"),
        descriptors: DESCRIPTOR_SET,
        services: &[runs_service_server::SERVICE_NAME],
        upstream,
        options,
    };
    Ok(Envoy::start(&setup).await?)
}

/// Returns when standard input ends.
async fn ended() {
    let mut lines = BufReader::new(stdin()).lines();
    while let Ok(Some(_)) = lines.next_line().await {}
}

fn services(memory: &Arc<Memory>) -> Services<Memory, Memory, Memory, Memory, Memory, Memory> {
    let all = || Arc::clone(memory);
    let (runs, agents, auth, keys) = (all(), all(), all(), all());
    Services { runs, agents, auth, keys, organisations: all(), projects: all() }
}

/// The product as `runplane serve` runs it: its defaults and its log. On an SQLite file, or on the
/// database that the file `url` in the folder names.
async fn full(listener: TcpListener, folder: &Path) -> Outcome<()> {
    let file = format!("sqlite://{}", folder.join("runplane.db").display());
    let url = std::fs::read_to_string(folder.join("url")).unwrap_or(file);
    let server = product(&listener, &url).await?;
    let store = server.store.clone();
    let ended = async {
        let mut lines = BufReader::new(stdin()).lines();
        while let Ok(Some(question)) = lines.next_line().await {
            if let Err(error) = answer(&store, &question).await {
                eprintln!("error: {question}: {error}");
                break;
            }
        }
    };
    Ok(serve::run(server, listener, ended).await?)
}

/// Builds the product, and says a key.
async fn product(listener: &TcpListener, url: &str) -> Outcome<Server> {
    let quiet = "[log]\nfilter = \"info,sea_orm_migration=warn,runplane::call=warn\"\n";
    let pepper = "[auth]\npepper = \"of no worth\"\n";
    let config = Config::with(&format!("[store]\nurl = {url:?}\n{quiet}{pepper}"))?;
    let _telemetry = telemetry::init(&config)?;
    let _installed = rustls::crypto::ring::default_provider().install_default();
    let server = Server::build(config).await?;
    let key = server.key(Environment::Live, "bench", &[Grant::ADMIN]).await?;
    let key = key.expose_secret().to_owned();
    let address = listener.local_addr()?.to_string();
    say(&serde_json::to_string(&Ready { address, key, beside: None })?)?;
    Ok(server)
}

/// The product's layers, put together as `serve` does it, over services that answer from memory.
async fn gateway(kind: Kind, listener: TcpListener, folder: &Path) -> Outcome<()> {
    let url = format!("sqlite://{}", folder.join(format!("{}.db", kind.name())).display());
    let Server { config, store, .. } = product(&listener, &url).await?;
    let (clock, pepper) = (store.clock().clone(), pepper::load(&config.auth, &config.store)?);
    let (authenticator, recorder) =
        Authenticator::new(store, pepper, plans(&config)?, clock.clone());
    let memory = Arc::new(Memory::load(folder)?);
    let rest = Transcoder::new(services(&memory), TranscoderOptions::default());
    let routes = Routes::new(RunsServiceServer::from_arc(memory)).prepare().into_axum_router();
    let resolver = rest.clone();
    let required: Required = Arc::new(move |dialect, request| match dialect {
        Dialect::Rest => method(resolver.find(request)?),
        Dialect::Grpc | Dialect::GrpcWeb => method(request.uri().path()),
    });
    let health = Health::new(Arc::new(|| Box::pin(std::future::ready(true))));
    let inner = Dispatch::new(routes, rest, health);
    let (gate, _redis) = gate(kind, &config, &clock).await?;
    let auth = AuthLayer { authenticator, required, gate };
    let stack = stack::stack(&config.server, (clock, Meters::default()), auth, inner);
    tokio::select! {
        () = port::serve(listener, stack, port::Stop::at(ended()), LIMITS, None) => {}
        () = recorder.run() => {}
    }
    Ok(())
}

/// What holds calls to their limits, with the Redis that it stands on: its CPU time is not ours.
async fn gate(kind: Kind, config: &Config, clock: &Clock) -> Outcome<(Gate, Option<Redis>)> {
    let (limits, clock) = (config.limits.clone(), clock.clone());
    match kind {
        Kind::Open => Ok((Gate::open(limits, clock), None)),
        Kind::Redis => {
            let redis = Redis::start();
            let config = Config::with(&redis.config())?;
            let limiter = Limiter::new(Link::new(&config.redis)?, clock.clone(), None);
            limiter.start().await;
            Ok((Gate::new(limiter, limits, clock), Some(redis)))
        }
        _ => Ok((Gate::new(Limiter::local(clock.clone(), None), limits, clock), None)),
    }
}

fn plans(config: &Config) -> Outcome<Plans> {
    let plans = Plans::new(&config.limits.plan, config.plans.clone());
    Ok(plans.ok_or("limits.plan is no plan")?)
}

/// `commits`: how many there were. `write JOBS CLIENTS`: writes that many rows, a job each, and
/// tells how many commits it took. `commit TIMES`: microseconds of a job that shares its commit
/// with nobody, the median. `fill FROM TO`: adds runs that have ended. `transactions`: how
/// many Postgres counts in all.
async fn answer(store: &Store, question: &str) -> Outcome<()> {
    let words: Vec<&str> = question.split(' ').collect();
    match words.as_slice() {
        ["commits"] => say(&store.commits().to_string()),
        ["write", jobs, clients] => {
            let before = store.commits();
            write(store, jobs.parse()?, clients.parse()?).await?;
            say(&(store.commits() - before).to_string())
        }
        ["commit", times] => say(&commit(store, times.parse()?).await?.to_string()),
        ["fill", from, to] => {
            past::fill(store, from.parse()?, to.parse()?).await?;
            say("0")
        }
        ["transactions"] => say(&past::transactions(store).await?.to_string()),
        _ => Err("an unknown question".into()),
    }
}

/// Median of microseconds that a small row takes to be durable.
async fn commit(store: &Store, times: usize) -> Outcome<u128> {
    write(store, 20, 1).await?;
    let mut took = Vec::new();
    for _ in 0..times.max(1) {
        let begun = Instant::now();
        write(store, 1, 1).await?;
        took.push(begun.elapsed().as_micros());
    }
    took.sort_unstable();
    Ok(took[took.len() / 2])
}

/// The least that a durable change can cost: one small row a job.
async fn write(store: &Store, jobs: usize, clients: usize) -> Outcome<()> {
    let (table, row) = match store.read().get_database_backend() {
        DbBackend::Postgres => (
            "CREATE TABLE IF NOT EXISTS bench (id BIGSERIAL PRIMARY KEY, text TEXT NOT NULL)",
            "INSERT INTO bench (text) VALUES ('a small row')",
        ),
        _ => (
            "CREATE TABLE IF NOT EXISTS bench (id INTEGER PRIMARY KEY, text TEXT NOT NULL)",
            "INSERT INTO bench (text) VALUES ('a small row')",
        ),
    };
    job(store, table).await?;
    let mut all = JoinSet::new();
    for _ in 0..clients {
        let store = store.clone();
        all.spawn(async move {
            for _ in 0..jobs / clients {
                job(&store, row).await?;
            }
            Ok::<_, runplane::kernel::Error>(())
        });
    }
    while let Some(done) = all.join_next().await {
        done??;
    }
    Ok(())
}

pub(super) async fn job(store: &Store, sql: &str) -> runplane::kernel::Result<()> {
    let sql = sql.to_owned();
    let job = store.tx("bench", move |tx| {
        let sql = sql.clone();
        Box::pin(async move { Ok(tx.execute_unprepared(&sql).await.map(|_| ())?) })
    });
    job.await
}

fn say(line: &str) -> Outcome<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}

/// The files that servers answer from, made from what the product answers.
pub(super) mod files {
    /// One run.
    pub(in super::super) const RUN: &str = "run.json";

    /// A list of runs, of this many.
    pub(in super::super) fn list(count: usize) -> String {
        format!("list{count}.json")
    }

    /// The same as protobuf.
    pub(in super::super) fn binary(name: &str) -> String {
        name.replace(".json", ".pb")
    }
}
