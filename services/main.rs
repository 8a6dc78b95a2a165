//! The `runplane` command: arguments, then configuration, then telemetry, then serve.

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};
use runplane::kernel::Environment;
use runplane::kernel::caller::{Grant, Level};
use runplane::kernel::config::Config;
use runplane::kernel::grants;
use runplane::kernel::ids;
use runplane::kernel::telemetry;
use runplane::keys::bootstrap::Opens;
use runplane::serve::{self, Server};
use runplane::upkeep::Checked;
use runplane::{demo, gateway, kernel};
use secrecy::ExposeSecret;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// The open, self-hosted platform API for AI agents: gRPC, gRPC-Web and REST on one port.
#[derive(Debug, Parser)]
#[command(name = "runplane", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Shows everything at work: starts a server on a fresh SQLite file, defines an agent and runs
    /// it.
    Demo {
        /// End after the run instead of serving on.
        #[arg(long)]
        once: bool,
        /// Address to serve at; a free port is taken when it is in use.
        #[arg(long, default_value = "127.0.0.1:8080")]
        listen: SocketAddr,
    },
    /// Serves. Prints the first admin key when the store is empty.
    Serve(Common),
    /// Reads the whole configuration and tells every mistake; binds no port.
    Check(Common),
    /// Makes keys from the operator's side; with SQLite, while the server is stopped.
    Keys {
        #[command(subcommand)]
        command: KeysCommand,
    },
    /// Looks after the audit log; with SQLite, while the server is stopped.
    Audit {
        #[command(subcommand)]
        command: AuditCommand,
    },
    /// Prints the default configuration: every key, with its reason.
    Defaults,
    /// Prints the description of the REST API, OpenAPI 3.1 in JSON; a server has it at
    /// /openapi.json, and as a page at /docs.
    Openapi,
}

#[derive(Debug, Subcommand)]
enum AuditCommand {
    /// Checks that no line was changed or taken out, and prints the head of the chain. Kept
    /// elsewhere and given as --head later, it shows that the end was not cut off either.
    Verify {
        #[command(flatten)]
        common: Common,
        /// A head that an earlier check has printed, which must still be part of the log.
        #[arg(long, value_name = "SEQ:CHAIN")]
        head: Option<String>,
    },
}

#[derive(Debug, Subcommand)]
enum KeysCommand {
    /// Makes a key and prints it once: of the first project, unless another space is named.
    Create {
        #[command(flatten)]
        common: Common,
        /// Name of the key.
        #[arg(long, default_value = "operator")]
        name: String,
        /// What the key may do, such as read, run, admin or agents:write; give it more than once
        /// for more than one. Default: admin, of an operator's key operator.
        #[arg(long = "scope", value_name = "SCOPE")]
        scopes: Vec<String>,
        /// Makes a key of the server's operator, who makes organisations and projects.
        #[arg(long)]
        operator: bool,
        /// Project that the key opens.
        #[arg(long, value_name = "PRJ_ID", value_parser = project, conflicts_with = "operator")]
        project: Option<Uuid>,
        /// Organisation whose published agents the key reaches.
        #[arg(long, value_name = "ORG_ID", value_parser = organisation,
            conflicts_with_all = ["operator", "project"])]
        organisation: Option<Uuid>,
        /// Environment that the key opens.
        #[arg(long, value_enum, default_value_t = EnvironmentArg::Live)]
        environment: EnvironmentArg,
    },
}

#[derive(Debug, Args)]
struct Common {
    /// Configuration file, over the defaults; the environment, as in RUNPLANE__SERVER__LISTEN, goes
    /// over both.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum EnvironmentArg {
    Test,
    Live,
}

#[tokio::main]
async fn main() -> ExitCode {
    // The one provider of TLS for outbound calls; a second call would only say that it is there.
    let _installed = rustls::crypto::ring::default_provider().install_default();
    match command(Cli::parse().command).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn command(command: Command) -> Outcome<()> {
    match command {
        Command::Demo { once, listen } => {
            let telemetry = telemetry::init(&Config::with("[log]\nfilter = \"warn\"")?)?;
            let stop = CancellationToken::new();
            let work = demo::run(demo::Options { once, listen }, stop.clone());
            let done = interruptible(stop, work).await;
            telemetry.finish().await;
            done
        }
        Command::Serve(common) => serve(whole(&common).await?).await,
        Command::Check(common) => {
            whole(&common).await?;
            println!("the configuration is right");
            Ok(())
        }
        Command::Keys { command } => key(command).await,
        Command::Audit { command: AuditCommand::Verify { common, head } } => {
            verify(Config::load(common.config.as_deref())?, head).await
        }
        Command::Defaults => {
            print!("{}", kernel::config::DEFAULTS);
            Ok(())
        }
        Command::Openapi => {
            print!("{}", gateway::openapi::document()?);
            Ok(())
        }
    }
}

/// The configuration, when the files that it names can be used too: told before a port is bound.
async fn whole(common: &Common) -> Outcome<Config> {
    let config = Config::load(common.config.as_deref())?;
    gateway::tls::load(&config.tls).await?;
    Ok(config)
}

async fn key(command: KeysCommand) -> Outcome<()> {
    let KeysCommand::Create { common, name, scopes, operator, project, organisation, environment } =
        command;
    let environment = place(environment);
    let (opens, level) = match (project, organisation) {
        (Some(id), _) => (Opens::Project(id, environment), Level::Project),
        (_, Some(id)) => (Opens::Organisation(id, environment), Level::Organisation),
        _ if operator => (Opens::Operator, Level::Operator),
        _ => (Opens::First(environment), Level::Project),
    };
    let mut grants = scopes.iter().map(|text| grant(text, level)).collect::<Result<Vec<_>, _>>()?;
    if grants.is_empty() {
        grants.push(if operator { Grant::OPERATOR } else { Grant::ADMIN });
    }
    let server = Server::build(Config::load(common.config.as_deref())?).await?;
    let secret = server.key_for(opens, &name, &grants).await?;
    println!("{}", secret.expose_secret());
    server.store.close().await;
    Ok(())
}

/// Checks the audit log and tells what is wrong, or how far it goes.
async fn verify(config: Config, head: Option<String>) -> Outcome<()> {
    let server = Server::build(config).await?;
    let upkeep = server.upkeep();
    let checked = upkeep.verify().await;
    let kept = match &head {
        Some(head) => upkeep.has(head).await,
        None => Ok(true),
    };
    server.store.close().await;
    let Checked { lines, head: found, faults } = checked?;
    for fault in &faults {
        println!("{fault}");
    }
    println!("{lines} lines; head {found}");
    if !faults.is_empty() {
        return Err("the audit log was changed".into());
    }
    match (kept?, head) {
        (false, Some(head)) => {
            Err(format!("the audit log does not contain the head {head}").into())
        }
        _ => Ok(()),
    }
}

async fn serve(config: Config) -> Outcome<()> {
    let telemetry = telemetry::init(&config)?;
    let served = serve_on(config).await;
    telemetry.finish().await;
    served
}

async fn serve_on(config: Config) -> Outcome<()> {
    let (listen, tls) = (config.server.listen, config.tls.is_on());
    let server = Server::build(config).await?;
    let listener = TcpListener::bind(listen).await.map_err(|error| {
        format!("cannot listen at {listen} (server.listen, RUNPLANE__SERVER__LISTEN): {error}")
    })?;
    if let Some(key) = server.first_key().await? {
        println!("First admin key, shown this once: {}", key.expose_secret());
    }
    tracing::info!(address = %listener.local_addr()?, tls, "serving gRPC, gRPC-Web and REST");
    let stop = CancellationToken::new();
    let work = serve::run(server, listener, stop.clone().cancelled_owned());
    interruptible(stop, async { Ok(work.await?) }).await?;
    tracing::info!("stopped");
    Ok(())
}

/// Does the work and fires `stop` at the first interrupt or termination; a second one ends the work
/// at once.
async fn interruptible(
    stop: CancellationToken,
    work: impl Future<Output = Outcome<()>>,
) -> Outcome<()> {
    let (mut interrupt, mut terminate) =
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let twice = async {
        for _ in 0..2 {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            stop.cancel();
        }
    };
    tokio::select! {
        done = work => done,
        () = twice => Err("stopped at once by a second signal".into()),
    }
}

fn grant(text: &str, level: Level) -> Result<Grant, String> {
    let known = Grant::parse(text).filter(|grant| grant.fits(level));
    known.ok_or_else(|| format!("--scope {text}: must be one of: {}", grants::choices(level)))
}

fn project(text: &str) -> Result<Uuid, &'static str> {
    ids::parse(ids::Kind::Project, text).ok_or("must be prj_ and 26 characters")
}

fn organisation(text: &str) -> Result<Uuid, &'static str> {
    ids::parse(ids::Kind::Organisation, text).ok_or("must be org_ and 26 characters")
}

fn place(environment: EnvironmentArg) -> Environment {
    match environment {
        EnvironmentArg::Test => Environment::Test,
        EnvironmentArg::Live => Environment::Live,
    }
}
