//! The product beside what a user would pick instead, in one run: each a child process on the same
//! core, with the same model, asked by the same client. `benches/peers/run` installs them and calls
//! this; README.md tells how one is added. Loopback only, bounded times and counts.

mod client;
mod model;
mod peer;
mod process;
mod report;
mod round;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;

use self::model::Model;
pub(crate) use self::model::serve as serve_model;
use self::peer::Peer;
use self::process::Places;
use self::report::Row;
use self::round::Figures;
use crate::child::Served;
use crate::server::Kind;
use crate::table::{self, PEERS};
use crate::{Outcome, machine};

/// Small rows that are committed one after the other, to know what one commit takes.
const COMMITS: usize = 500;

/// What is compared, and how long.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Folder of the peers' descriptions.
    #[arg(long, default_value = "benches/peers")]
    peers: PathBuf,
    /// Folder where they are installed.
    #[arg(long, default_value = "target/peers")]
    installed: PathBuf,
    /// The product's program.
    #[arg(long, default_value = "target/release/runplane")]
    runplane: PathBuf,
    /// Only these, by the names of their folders.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Rounds; the best of each figure is told.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds that each load goes on.
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// Also writes the figures into this file, between their markers.
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
}

/// Measures all, round by round, and tells it.
pub(crate) async fn measure(options: &Options, folder: &Path) -> Outcome<()> {
    let machine = machine::describe();
    let peers = Peer::all(&options.peers)?;
    let wanted = |peer: &Peer| options.only.is_empty() || options.only.contains(&peer.name());
    let (ours, others): (Vec<_>, Vec<_>) =
        peers.into_iter().filter(wanted).partition(Peer::is_ours);
    let model = Model::start().await?;
    let places = Places {
        installed: options.installed.canonicalize()?,
        runplane: options.runplane.canonicalize()?,
        model: format!("http://{}/v1", model.address),
    };
    let mut figures: BTreeMap<String, Figures> = BTreeMap::new();
    let mut commit = Duration::MAX;
    for round in 1..=options.rounds.max(1) {
        commit = commit.min(one_commit(&folder.join(format!("commit-{round}"))).await?);
        for peer in in_turns(&others, &ours) {
            let scratch = folder.join(format!("{}-{round}", peer.name()));
            let span = Duration::from_secs(options.seconds.max(1));
            let took = one(peer, &places, &model, (&scratch, span)).await;
            eprintln!("round {round}, {}: {took:?}", peer.title);
            let before = figures.remove(&peer.name()).unwrap_or_default();
            figures.insert(peer.name(), before.best(took));
            // Databases of thousands of runs are of no use to the next.
            let _left = std::fs::remove_dir_all(&scratch);
        }
    }
    let mut rows = Vec::new();
    for peer in ours.into_iter().chain(others) {
        let figures = figures.remove(&peer.name()).unwrap_or_default();
        let versions = peer.versions(&places.installed.join(peer.name())).unwrap_or_default();
        rows.push(Row { peer, figures, versions });
    }
    let text = machine + &report::tables(&rows, commit, options.rounds);
    print!("{text}");
    options.write.as_deref().map_or(Ok(()), |file| table::write(file, &PEERS, &text))
}

/// The product after each of the others, so that what disturbs the machine for a while meets both.
fn in_turns<'a>(others: &'a [Peer], ours: &'a [Peer]) -> Vec<&'a Peer> {
    let mut turns: Vec<_> = ours.iter().collect();
    for (i, other) in others.iter().enumerate() {
        turns.push(other);
        turns.extend(ours.get(i % ours.len().max(1)));
    }
    turns
}

/// A peer that cannot be measured has a reason instead of figures; the others go on.
async fn one(
    peer: &Peer,
    places: &Places,
    model: &Model,
    where_and_how_long: (&Path, Duration),
) -> Figures {
    let failed = places.installed.join(peer.name()).join("failed");
    let took = match std::fs::read_to_string(failed) {
        Ok(why) => Err(format!("not installed: {}", why.trim()).into()),
        Err(_) => round::measure(peer, places, model, where_and_how_long).await,
    };
    took.unwrap_or_else(|error| Figures { faults: vec![error.to_string()], ..Figures::default() })
}

/// What one commit of a small row takes that nobody shares, on the same disk.
async fn one_commit(folder: &Path) -> Outcome<Duration> {
    std::fs::create_dir_all(folder)?;
    let mut served = Served::start(Kind::Full, folder).await?;
    served.ask("write 50 1").await?;
    let begun = Instant::now();
    served.ask(&format!("write {COMMITS} 1")).await?;
    let wall = begun.elapsed();
    served.stop().await?;
    Ok(wall / u32::try_from(COMMITS)?)
}
