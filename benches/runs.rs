//! What a run costs from created to completed, when its model answers at once: against the commits
//! that make it durable.

use std::path::Path;
use std::time::Duration;

use super::call::{Product, new_run};
use super::child::Served;
use super::load::{self, Took};
use super::postgres::Postgres;
use super::server::Kind;
use super::table::table;
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

/// Measures runs with one client and with many, on both databases.
pub(super) async fn measure(folder: &Path, size: Size) -> Outcome<String> {
    let place = folder.join("runs");
    std::fs::create_dir_all(&place)?;
    let mut rows = of("SQLite", &place, size).await?;
    let place = folder.join("runs-postgres");
    std::fs::create_dir_all(&place)?;
    let postgres = Postgres::start(folder)?;
    std::fs::write(place.join("url"), &postgres.url)?;
    rows.extend(of("Postgres", &place, size).await?);
    let head = [
        "database",
        "clients",
        "runs/s",
        "CPU ms per run",
        "commits per run",
        "rows/s, one job each",
        "CPU ms per row",
        "commits/s of the rows",
        "runs/s ÷ (rows/s ÷ commits that a run needs)",
    ];
    let title = "Runs of the instant `sim` model, created and waited for over REST, SQLite with \
        `synchronous=full` and Postgres with its defaults; beside them the least durable job of \
        the same store by as many clients. A run needs the commits that it takes with one client. \
        Best round; the CPU is the server's without the database's.";
    Ok(table(title, &head, &rows))
}

async fn of(name: &str, folder: &Path, size: Size) -> Outcome<Vec<Vec<String>>> {
    let mut served = Served::start(Kind::Full, folder).await?;
    let agent_id = Product::open(&served.ready).await?.agent().await?;
    let body = new_run(&agent_id).to_string();
    let (mut rows, mut needed) = (Vec::new(), None);
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
        let Some(best) = best else { continue };
        let needed = *needed.get_or_insert(best.commits as f64 / best.count as f64);
        rows.push(row((name, clients), &best, needed));
    }
    served.stop().await?;
    Ok(rows)
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

fn row((name, clients): (&str, usize), round: &Round, needed: f64) -> Vec<String> {
    let Round { count, runs, commits, rows, row_commits } = *round;
    let rate = |count: f64, wall: Duration| count / wall.as_secs_f64();
    let all = count as f64;
    let (run_rate, row_rate) = (rate(all, runs.wall), rate(all, rows.wall));
    vec![
        name.to_owned(),
        clients.to_string(),
        format!("{run_rate:.0}"),
        format!("{:.3}", runs.cpu.as_secs_f64() * 1e3),
        format!("{:.2}", commits as f64 / all),
        format!("{row_rate:.0}"),
        format!("{:.3}", rows.cpu.as_secs_f64() * 1e3),
        format!("{:.0}", rate(row_commits as f64, rows.wall)),
        format!("{:.2}", run_rate / (row_rate / needed)),
    ]
}
