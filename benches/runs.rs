//! What a run costs from created to completed, when its model answers at once: against the commits
//! that make it durable.

use std::path::Path;
use std::time::Duration;

use super::call::{Product, new_run};
use super::child::Served;
use super::load::{self, Took};
use super::server::Kind;
use super::table::{ratio, table};
use super::{Outcome, Size};

/// Clients at once, and the part of the whole count that they make.
const CASES: [(usize, usize); 2] = [(1, 100), (50, 5)];

/// One round.
#[derive(Debug, Clone, Copy)]
struct Round {
    count: usize,
    runs: Took,
    commits: u64,
    /// As many small rows, a job each, by as many clients.
    rows: Took,
    row_commits: u64,
}

/// Measures runs with one client and with many.
pub(super) async fn measure(folder: &Path, size: Size) -> Outcome<String> {
    let folder = folder.join("runs");
    std::fs::create_dir_all(&folder)?;
    let mut served = Served::start(Kind::Full, &folder).await?;
    let agent_id = Product::open(&served.ready).await?.agent().await?;
    let body = new_run(&agent_id).to_string();
    let mut rows = Vec::new();
    for (clients, share) in CASES {
        let count = (size.calls / share).max(clients) / clients * clients;
        let mut best: Option<Round> = None;
        for round in 0..=size.rounds {
            let round_took = one(&mut served, &body, count, clients).await?;
            let better = best.is_none_or(|best| round_took.runs.wall < best.runs.wall);
            if round > 0 && better {
                best = Some(round_took);
            }
        }
        rows.extend(best.map(|best| row(clients, &best)));
    }
    served.stop().await?;
    let head = [
        "clients",
        "runs/s",
        "CPU ms per run",
        "commits per run",
        "rows/s, one job each",
        "CPU ms per row",
        "commits/s of the rows",
        "time of a run ÷ time of its commits",
    ];
    let title = "Runs of the instant `sim` model, created and waited for over REST, SQLite with \
        `synchronous=full`; beside them the least durable job of the same store. Best round.";
    Ok(table(title, &head, &rows))
}

async fn one(served: &mut Served, body: &str, count: usize, clients: usize) -> Outcome<Round> {
    let request = load::request(&served.ready, "POST /v1/runs", body);
    let before = served.ask("commits").await?;
    let load = load::http(&served.ready, &request, count, clients);
    let runs = load::measured(served, count, load).await?;
    let commits = served.ask("commits").await? - before;
    let (cpu, begun) = (served.cpu()?, std::time::Instant::now());
    let row_commits = served.ask(&format!("write {count} {clients}")).await?;
    let wall = begun.elapsed();
    let rows = Took { cpu: served.cpu()?.since(&cpu) / u32::try_from(count)?, wall };
    Ok(Round { count, runs, commits, rows, row_commits })
}

fn row(clients: usize, round: &Round) -> Vec<String> {
    let Round { count, runs, commits, rows, row_commits } = *round;
    let rate = |count: f64, wall: Duration| count / wall.as_secs_f64();
    let all = count as f64;
    let one_commit = rows.wall.div_f64(row_commits as f64);
    vec![
        clients.to_string(),
        format!("{:.0}", rate(all, runs.wall)),
        format!("{:.3}", runs.cpu.as_secs_f64() * 1e3),
        format!("{:.2}", commits as f64 / all),
        format!("{:.0}", rate(all, rows.wall)),
        format!("{:.3}", rows.cpu.as_secs_f64() * 1e3),
        format!("{:.0}", rate(row_commits as f64, rows.wall)),
        ratio(runs.wall, one_commit.mul_f64(commits as f64)),
    ]
}
