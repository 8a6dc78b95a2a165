//! The commands of `runplane`: the arguments, and one file for each command or family of them.
//! Called by `main.rs` alone. Whatever a command does beyond its own words it asks of the other
//! parts.

mod agents;
mod apply;
mod audit;
mod backup;
mod completions;
mod differ;
mod documents;
mod exit;
mod export;
mod follow;
mod input;
mod keys;
mod live;
mod migrate;
mod ordered;
mod output;
mod pages;
mod plan;
mod remote;
mod runs;
mod serve;
mod table;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

use self::exit::Outcome;
use crate::kernel::config::Config;
use crate::{gateway, kernel};

/// What follows the help: how commands end, and how to begin.
const AFTER: &str = "\
Exit codes:
  0  done; also when whoever read the output has closed it
  1  failed
  2  wrong arguments, or a wrong file that they name
  3  refused by the server, which says why
  4  not found
  5  the server does not answer, or not in time
  6  the run has ended otherwise than completed, or has not ended
  7  something differs: apply --dry-run, migrate --check

Examples:
  runplane demo
  runplane serve --config runplane.toml
  export RUNPLANE_URL=https://runplane.example RUNPLANE_KEY_FILE=~/.runplane-key
  runplane runs create agt_… \"Summarize today\" --follow
  runplane runs list --status in_progress --all --json
  runplane export agents/ && runplane apply -f agents/ --dry-run";

/// The open, self-hosted platform API for AI agents: gRPC, gRPC-Web and REST on one port.
#[derive(Debug, Parser)]
#[command(name = "runplane", version, arg_required_else_help = true, after_help = AFTER)]
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
    /// Brings the database's schema to what this version needs; with SQLite, while the server is
    /// stopped.
    Migrate {
        #[command(flatten)]
        common: Common,
        /// Only tells what is missing; the exit code is 7 when something is.
        #[arg(long)]
        check: bool,
    },
    /// Copies the SQLite database and its secrets into one file, also while the server runs.
    Backup {
        #[command(flatten)]
        common: Common,
        /// File to make.
        file: PathBuf,
    },
    /// Puts a backup into the place of the SQLite database, while the server is stopped.
    Restore {
        #[command(flatten)]
        common: Common,
        /// Backup to take.
        file: PathBuf,
        /// Replaces a database, and secrets, that are there.
        #[arg(long)]
        force: bool,
        /// What `backup` has printed: another file is refused.
        #[arg(long, value_name = "HEX")]
        sha256: Option<String>,
    },
    /// Agents of a server: lists, shows, creates, changes, runs them.
    #[command(after_help = "Example:\n  runplane agents get agt_… > greeter.yaml\n  \
        runplane agents update agt_… -f greeter.yaml")]
    Agents(agents::AgentsArgs),
    /// Runs of a server: starts, follows, lists, feeds, cancels them.
    #[command(after_help = "Example:\n  runplane runs create agt_… \"Ada\" -p language=French \
        --follow\n  git diff | runplane runs create agt_… - --follow > review.md")]
    Runs(runs::RunsArgs),
    /// Keys: makes them with the database (`create`), all else with a server.
    Keys {
        #[command(subcommand)]
        command: keys::KeysCommand,
    },
    /// Writes a server's agents and keys, without secrets, as YAML files for review in git.
    Export(export::ExportArgs),
    /// Makes a server's agents and keys as YAML or JSON files say. Nothing is deleted.
    #[command(after_help = "Agents and keys are matched by their names. Example:\n  \
        runplane apply -f agents/ --dry-run && runplane apply -f agents/")]
    Apply {
        /// File, or folder of files; `-` reads the standard input.
        #[arg(short, long, value_name = "FILE|DIR|-")]
        file: String,
        #[command(flatten)]
        options: apply::Options,
    },
    /// Applies an export to another server or project.
    Import {
        /// Folder or file of an export; `-` reads the standard input.
        #[arg(value_name = "FILE|DIR|-")]
        from: String,
        #[command(flatten)]
        options: apply::Options,
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
    /// Prints what a shell needs to complete these commands.
    #[command(after_help = "Example:\n  source <(runplane completions bash)")]
    Completions {
        /// The shell.
        shell: Shell,
    },
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

impl Command {
    /// True when failures are to be told as JSON.
    fn json(&self) -> bool {
        match self {
            Self::Agents(args) => args.remote.json,
            Self::Runs(args) => args.remote.json,
            Self::Keys { command } => command.json(),
            Self::Export(args) => args.remote.json,
            Self::Apply { options, .. } | Self::Import { options, .. } => options.remote.json,
            _ => false,
        }
    }
}

/// Does what the arguments say.
pub async fn run(cli: Cli) -> ExitCode {
    let json = cli.command.json();
    let Err(failure) = command(cli.command).await else { return ExitCode::SUCCESS };
    if !failure.is_closed() {
        output::notice(&if json { failure.json() } else { failure.text() });
    }
    failure.exit.into()
}

async fn command(command: Command) -> Outcome<()> {
    match command {
        Command::Demo { once, listen } => Box::pin(serve::demo(once, listen)).await,
        Command::Serve(common) => Box::pin(serve::serve(common)).await,
        Command::Check(common) => {
            serve::whole(&common).await?;
            output::line("the configuration is right")
        }
        Command::Migrate { common, check } => migrate::run(&common.load()?, check).await,
        Command::Backup { common, file } => backup::backup(&common.load()?, &file).await,
        Command::Restore { common, file, force, sha256 } => {
            backup::restore(&common.load()?, &file, force, sha256.as_deref()).await
        }
        Command::Agents(args) => agents::run(args).await,
        Command::Runs(args) => runs::run(args).await,
        Command::Keys { command } => keys::run(command).await,
        Command::Export(args) => export::run(args).await,
        Command::Apply { file, options } => apply::run(&file, options).await,
        Command::Import { from, options } => apply::run(&from, options).await,
        Command::Audit { command } => audit::run(command).await,
        Command::Defaults => output::print(kernel::config::DEFAULTS),
        Command::Openapi => output::print(&gateway::openapi::document()?),
        Command::Completions { shell } => completions::run(shell),
    }
}
