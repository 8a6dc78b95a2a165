//! The commands of `runplane`: the arguments, and one file for each command or family of them.
//! Called by `main.rs` alone. Whatever a command does beyond its own words it asks of the other
//! parts.

mod audit;
mod keys;
mod serve;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::kernel::config::Config;
use crate::{gateway, kernel};

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// The open, self-hosted platform API for AI agents: gRPC, gRPC-Web and REST on one port.
#[derive(Debug, Parser)]
#[command(name = "runplane", version, arg_required_else_help = true)]
pub struct Cli {
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
        command: keys::KeysCommand,
    },
    /// Looks after the audit log; with SQLite, while the server is stopped.
    Audit {
        #[command(subcommand)]
        command: audit::AuditCommand,
    },
    /// Prints the default configuration: every key, with its reason.
    Defaults,
    /// Prints the description of the REST API, OpenAPI 3.1 in JSON; a server has it at
    /// /openapi.json, and as a page at /docs.
    Openapi,
}

#[derive(Debug, Args)]
struct Common {
    /// Configuration file, over the defaults; the environment, as in RUNPLANE__SERVER__LISTEN, goes
    /// over both.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Common {
    fn load(&self) -> Outcome<Config> {
        Ok(Config::load(self.config.as_deref())?)
    }
}

/// Does what the arguments say.
pub async fn run(cli: Cli) -> ExitCode {
    match command(cli.command).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn command(command: Command) -> Outcome<()> {
    match command {
        Command::Demo { once, listen } => serve::demo(once, listen).await,
        Command::Serve(common) => serve::serve(common).await,
        Command::Check(common) => {
            serve::whole(&common).await?;
            println!("the configuration is right");
            Ok(())
        }
        Command::Keys { command } => keys::run(command).await,
        Command::Audit { command } => audit::run(command).await,
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
