//! What a run costs when many have ended before it: it should make no difference. And what a
//! process costs its database that has nothing to do.

use std::path::Path;
use std::time::Duration;

use super::call::{Product, new_run};
use super::child::Served;
use super::load;
use super::postgres::Postgres;
use super::server::Kind;
use super::table::table;
use super::{Outcome, Size};

/// Runs that have ended before.
const ENDED: [usize; 3] = [1_000, 100_000, 1_000_000];
const CLIENTS: usize = 50;
/// How long a process is watched that has nothing to do.
const IDLE: Duration = Duration::from_secs(30);

/// Measures SQLite and Postgres.
pub(super) async fn measure(folder: &Path, size: Size) -> Outcome<String> {
    let place = folder.join("history");
    std::fs::create_dir_all(&place)?;
    let mut rows = of("SQLite", &place, size).await?;
    let place = folder.join("history-postgres");
    std::fs::create_dir_all(&place)?;
    let postgres = Postgres::start(folder)?;
    std::fs::write(place.join("url"), &postgres.url)?;
    rows.extend(of("Postgres", &place, size).await?);
    let idle = idle(&place).await?;
    drop(postgres);
    let head = ["database", "ended runs", "CPU ms per run", "ratio", "runs/s", "ratio"];
    let title = "Runs of the instant `sim` model beside others that have ended, 50 clients. Least \
        CPU and best rate of the rounds; on Postgres the CPU is the server's without the \
        database's.";
    let seconds = IDLE.as_secs();
    let idle = format!(
        "\nA process with nothing to do, on Postgres: {idle:.2} transactions a second, over \
         {seconds} s.\n"
    );
    Ok(table(title, &head, &rows) + &idle)
}

async fn of(name: &str, folder: &Path, size: Size) -> Outcome<Vec<Vec<String>>> {
    let mut served = Served::start(Kind::Full, folder).await?;
    let agent_id = Product::open(&served.ready).await?.agent().await?;
    let body = new_run(&agent_id).to_string();
    let request = load::request(&served.ready, "POST /v1/runs", &body);
    let count = (size.calls / 20).max(CLIENTS) / CLIENTS * CLIENTS;
    load::http(&served.ready, &request, CLIENTS, CLIENTS).await?;
    let (mut rows, mut first, mut filled) = (Vec::new(), None, 0);
    for ended in ENDED {
        served.ask(&format!("fill {filled} {ended}")).await?;
        filled = ended;
        let (mut cpu, mut wall) = (f64::MAX, f64::MAX);
        for _ in 0..=size.rounds {
            let load = load::http(&served.ready, &request, count, CLIENTS);
            let took = load::measured(&served, count, load).await?;
            cpu = cpu.min(took.cpu.as_secs_f64() * 1e3);
            wall = wall.min(took.wall.as_secs_f64());
        }
        let rate = count as f64 / wall;
        let (first_cpu, first_rate) = *first.get_or_insert((cpu, rate));
        rows.push(vec![
            name.to_owned(),
            ended.to_string(),
            format!("{cpu:.3}"),
            format!("{:.2}", cpu / first_cpu),
            format!("{rate:.0}"),
            format!("{:.2}", rate / first_rate),
        ]);
    }
    served.stop().await?;
    Ok(rows)
}

/// Transactions a second of a process that nobody asks for anything.
async fn idle(folder: &Path) -> Outcome<f64> {
    let mut served = Served::start(Kind::Full, folder).await?;
    // What its start leaves to be done, it does.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let before = served.ask("transactions").await?;
    tokio::time::sleep(IDLE).await;
    let after = served.ask("transactions").await?;
    served.stop().await?;
    // The question itself is one.
    Ok((after - before).saturating_sub(1) as f64 / IDLE.as_secs_f64())
}
