//! What a call costs, against what it would cost by hand. `just bench` runs it; docs/benchmarks.md
//! holds what it printed. One run on one machine: servers are children of this process, so that
//! `/proc` tells their CPU time apart from the load's. Loopback only, bounded counts; nothing is
//! written but standard output, and the file of `--write`.

mod call;
mod child;
mod codec;
#[path = "../tests/oracle/envoy.rs"]
mod envoy;
mod hand;
mod history;
mod limits;
mod load;
mod machine;
mod memory;
mod past;
mod peers;
mod postgres;
#[expect(dead_code, reason = "the tests do more with it")]
#[path = "../tests/harness/redis.rs"]
mod redis;
mod runs;
mod server;
mod streams;
mod table;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};

use self::server::Kind;

/// What a function of the benchmark makes, or why it could not.
type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// CPU per call of the whole server, against hand-written handlers.
#[derive(Debug, Parser)]
#[command(name = "bench")]
struct Arguments {
    #[command(subcommand)]
    child: Option<Child>,
    /// Rounds of each measurement; their minimum and median are told.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Calls in a round of the cheapest kind; the others take a fixed share of it.
    #[arg(long, default_value_t = 20_000)]
    calls: usize,
    /// Only these parts.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Part>,
    /// Also writes the figures into this file, between its markers.
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
    /// Envoy, to compare with; without it its cells stay empty.
    #[arg(long, value_name = "PROGRAM")]
    envoy: Option<PathBuf>,
    /// Where the database lies while it is measured. Default: beside this program.
    #[arg(long, value_name = "FOLDER")]
    folder: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Child {
    /// Serves for a benchmark; started by it.
    #[command(hide = true)]
    Serve {
        #[arg(value_enum)]
        kind: Kind,
        folder: PathBuf,
        #[arg(long)]
        envoy: Option<PathBuf>,
    },
    /// The product beside what a user would pick instead; `benches/peers/run` installs them.
    Peers(peers::Options),
    /// The model that they all ask; started by it.
    #[command(hide = true)]
    Model,
}

/// A part of the benchmark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// REST and gRPC calls.
    Calls,
    /// The same calls with limits, and without.
    Limits,
    /// Runs, from created to completed.
    Runs,
    /// JSON alone.
    Codec,
    /// A thousand open streams.
    Streams,
    /// Runs beside up to a million that have ended; a process with nothing to do.
    History,
}

/// How much is measured.
#[derive(Debug, Clone, Copy)]
struct Size {
    rounds: usize,
    calls: usize,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let serving = matches!(arguments.child, Some(Child::Serve { .. }));
    let core = if serving { machine::SERVER_CORE } else { machine::LOAD_CORE };
    // Before the runtime counts the cores: the load shall not run where the server runs.
    machine::pin(core, std::process::id());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(command(arguments)),
        Err(error) => Err(error.into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn command(arguments: Arguments) -> Outcome<()> {
    match &arguments.child {
        Some(Child::Serve { kind, folder, envoy }) => {
            return server::serve(*kind, folder, envoy.as_deref()).await;
        }
        Some(Child::Model) => return peers::serve_model().await,
        Some(Child::Peers(options)) => {
            let folder = folder(arguments.folder.as_ref())?;
            return tokio::select! {
                done = peers::measure(options, folder.path()) => done,
                // The peers have groups of their own, which hear of no interrupt.
                _ = tokio::signal::ctrl_c() => Err("interrupted".into()),
            };
        }
        None => {}
    }
    let folder = folder(arguments.folder.as_ref())?;
    let size = Size { rounds: arguments.rounds.max(1), calls: arguments.calls.max(100) };
    let wanted = |part| arguments.only.is_empty() || arguments.only.contains(&part);
    let mut text = machine::describe();
    if [Part::Calls, Part::Limits, Part::Codec, Part::Streams].into_iter().any(wanted) {
        let samples = call::samples(folder.path()).await?;
        if wanted(Part::Calls) {
            text +=
                &call::measure(folder.path(), &samples, arguments.envoy.as_deref(), size).await?;
        }
        if wanted(Part::Limits) {
            text += &limits::measure(folder.path(), &samples, size).await?;
        }
        if wanted(Part::Codec) {
            text += &codec::measure(&samples, size)?;
        }
    }
    if wanted(Part::Streams) {
        text += &streams::measure(folder.path(), folder.path()).await?;
    }
    if wanted(Part::History) {
        text += &history::measure(folder.path(), size).await?;
    }
    if wanted(Part::Runs) {
        text += &runs::measure(folder.path(), size).await?;
    }
    print!("{text}");
    arguments.write.as_deref().map_or(Ok(()), |file| table::write(file, &table::FIGURES, &text))
}

/// A folder of this run's own, on a real disk: many a temporary folder is memory, where a commit
/// costs nothing.
fn folder(given: Option<&PathBuf>) -> Outcome<tempfile::TempDir> {
    let program = std::env::current_exe()?;
    let beside = program.parent().ok_or("this program has no folder")?;
    let parent = given.map_or(beside, PathBuf::as_path);
    Ok(tempfile::Builder::new().prefix("bench-").tempdir_in(parent)?)
}
