//! The servers that are measured, each alone in a child process: the product, and what one would
//! write by hand. They say on standard output where they serve, answer questions there, and end
//! with their standard input.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use clap::ValueEnum;
use runplane::gateway::port;
use runplane::gateway::rest::{Transcoder, TranscoderOptions};
use runplane::kernel::config::Config;
use runplane::kernel::telemetry;
use runplane::proto::rest::Services;
use runplane::proto::runplane::v1::runs_service_server::RunsServiceServer;
use runplane::serve::{self, Server};
use runplane::store::Store;
use sea_orm::ConnectionTrait;
use secrecy::ExposeSecret;
use tokio::io::{AsyncBufReadExt, BufReader, stdin};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tonic::transport::server::TcpIncoming;

use super::child::Ready;
use super::memory::Memory;
use super::{Outcome, hand};

/// A server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Kind {
    /// The product, on SQLite.
    Full,
    /// Our transcoder over services that answer from memory: no key, no layers, no database.
    Transcoder,
    /// axum and serde by hand, from memory.
    Hand,
    /// tonic alone, from memory.
    Tonic,
}

impl Kind {
    /// Its name as an argument.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Transcoder => "transcoder",
            Self::Hand => "hand",
            Self::Tonic => "tonic",
        }
    }
}

/// Serves until standard input ends.
pub(super) async fn serve(kind: Kind, folder: &Path) -> Outcome<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    if kind == Kind::Full {
        return full(listener, folder).await;
    }
    let address = listener.local_addr()?.to_string();
    say(&serde_json::to_string(&Ready { address, key: String::new() })?)?;
    let ended = async {
        let mut lines = BufReader::new(stdin()).lines();
        while let Ok(Some(_)) = lines.next_line().await {}
    };
    match kind {
        Kind::Full => {}
        Kind::Hand => {
            let router = hand::router(folder)?;
            axum::serve(listener, router).with_graceful_shutdown(ended).await?;
        }
        Kind::Transcoder => {
            let memory = std::sync::Arc::new(Memory::load(folder)?);
            let (runs, agents, keys) = (memory.clone(), memory.clone(), memory);
            let services = Services { runs, agents, keys };
            let transcoder = Transcoder::new(services, TranscoderOptions::default());
            port::serve(listener, transcoder, ended, Duration::from_secs(1)).await;
        }
        Kind::Tonic => {
            let service = RunsServiceServer::new(Memory::load(folder)?);
            let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
            let router = tonic::transport::Server::builder().add_service(service);
            router.serve_with_incoming_shutdown(incoming, ended).await?;
        }
    }
    Ok(())
}

/// The product as `runplane serve` runs it: its defaults, its log, its first key.
async fn full(listener: TcpListener, folder: &Path) -> Outcome<()> {
    let url = format!("sqlite://{}", folder.join("runplane.db").display());
    let quiet = "[log]\nfilter = \"info,sea_orm_migration=warn\"\n";
    let config = Config::with(&format!("[store]\nurl = {url:?}\n{quiet}"))?;
    telemetry::init(&config.log)?;
    let _installed = rustls::crypto::ring::default_provider().install_default();
    let server = Server::build(config).await?;
    let grants = [runplane::kernel::caller::Grant::Admin];
    let key = server.key(runplane::kernel::Environment::Live, "bench", &grants).await?;
    let store = server.store.clone();
    let key = key.expose_secret().to_owned();
    let address = listener.local_addr()?.to_string();
    say(&serde_json::to_string(&Ready { address, key })?)?;
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

/// `commits`: how many there were. `write JOBS CLIENTS`: writes that many rows, a job each, and
/// tells how many commits it took.
async fn answer(store: &Store, question: &str) -> Outcome<()> {
    let words: Vec<&str> = question.split(' ').collect();
    match words.as_slice() {
        ["commits"] => say(&store.commits().to_string()),
        ["write", jobs, clients] => {
            let before = store.commits();
            write(store, jobs.parse()?, clients.parse()?).await?;
            say(&(store.commits() - before).to_string())
        }
        _ => Err("an unknown question".into()),
    }
}

/// The least that a durable change can cost: one small row a job.
async fn write(store: &Store, jobs: usize, clients: usize) -> Outcome<()> {
    let table = "CREATE TABLE IF NOT EXISTS bench (id INTEGER PRIMARY KEY, text TEXT NOT NULL)";
    let row = "INSERT INTO bench (text) VALUES ('a small row')";
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

async fn job(store: &Store, sql: &'static str) -> runplane::kernel::Result<()> {
    let job = store.tx("bench", move |tx| {
        Box::pin(async move { Ok(tx.execute_unprepared(sql).await.map(|_| ())?) })
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
}
