//! What many open streams cost: memory of each, against what bare axum needs for one, and how late
//! live text comes while all are open.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use runplane::kernel::{Clock, Timestamp};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::Outcome;
use super::call::Product;
use super::child::{Ready, Served};
use super::load::{self, Connection};
use super::server::Kind;
use super::table::table;

/// Open streams.
const STREAMS: usize = 1000;
/// Runs that they follow.
const RUNS: usize = 10;
/// How long live text is watched.
const WATCHED: Duration = Duration::from_secs(15);

/// What was measured of one server.
struct Cost {
    idle_kib: u64,
    open_kib: u64,
}

/// Measures both.
pub(super) async fn measure(folder: &Path, sampled: &Path) -> Outcome<String> {
    let mut bare = Served::start(Kind::Hand, sampled).await?;
    let (bare_cost, _) = opened(&mut bare, &["/events".to_owned()], None).await?;
    bare.stop().await?;
    let folder = folder.join("streams");
    std::fs::create_dir_all(&folder)?;
    let mut served = Served::start(Kind::Full, &folder).await?;
    let paths = runs(&served.ready).await?;
    let probe = paths.first().cloned();
    let (cost, mut lags) = opened(&mut served, &paths, probe).await?;
    served.stop().await?;
    lags.sort_unstable();
    let at = |part: f64| lags.get((lags.len() as f64 * part) as usize).copied();
    let ms = |lag: Option<i64>| lag.map_or(String::new(), |us| format!("{:.1}", us as f64 / 1e3));
    let row = |name: &str, cost: &Cost| {
        vec![
            name.to_owned(),
            format!("{:.1}", cost.idle_kib as f64 / 1024.0),
            format!("{:.1}", cost.each()),
        ]
    };
    let mut rows = vec![row("bare axum", &bare_cost), row("whole product", &cost)];
    rows[0].extend([String::new(), String::new(), String::new()]);
    rows[1].extend([format!("{:.2}", cost.each() / bare_cost.each()), ms(at(0.5)), ms(at(0.99))]);
    let head = ["server", "MiB before", "KiB per stream", "ratio", "delta lag p50, ms", "p99, ms"];
    let title = format!(
        "{STREAMS} open SSE streams over HTTP/1.1, of {RUNS} live runs with 5 tokens a second \
         each; the lag of {} pieces at one more follower, from when they were made.",
        lags.len()
    );
    Ok(table(&title, &head, &rows))
}

impl Cost {
    fn each(&self) -> f64 {
        self.open_kib.saturating_sub(self.idle_kib) as f64 / STREAMS as f64
    }
}

/// Runs that speak slowly; the paths of their events.
async fn runs(ready: &Ready) -> Outcome<Vec<String>> {
    let text = "word ".repeat(2000);
    let agent = json!({"name": "slow", "model": "sim",
        "sim": {"tokens_per_second": 5, "turns": [{"text": text}]}});
    let agent_id = Product::open(ready).await?.agent_of(&agent).await?;
    let body = json!({"agent_id": agent_id, "input": "x"}).to_string();
    let mut connection = Connection::open(&ready.address).await?;
    let mut paths = Vec::new();
    for _ in 0..RUNS {
        let request = load::request(ready, "POST /v1/runs", &body);
        let run: Value = serde_json::from_slice(connection.exchange(&request).await?)?;
        paths.push(format!("/v1/runs/{}/events", run["id"].as_str().ok_or("no id")?));
    }
    Ok(paths)
}

/// Opens all streams, and reads them until the end; with a path, watches how late its live text
/// comes.
async fn opened(
    served: &mut Served,
    paths: &[String],
    probe: Option<String>,
) -> Outcome<(Cost, Vec<i64>)> {
    let idle_kib = served.memory_kib()?;
    let begun = Arc::new(AtomicUsize::new(0));
    let mut all = JoinSet::new();
    for n in 0..STREAMS {
        let stream = ask(&served.ready, &paths[n % paths.len()], "text/event-stream").await?;
        all.spawn(read(stream, Arc::clone(&begun)));
    }
    let waiting = async {
        while begun.load(Ordering::Relaxed) < STREAMS {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(60), waiting).await?;
    let lags = match probe {
        Some(path) => lags(ask(&served.ready, &path, "application/x-ndjson").await?).await?,
        None => Vec::new(),
    };
    let open_kib = served.memory_kib()?;
    all.shutdown().await;
    Ok((Cost { idle_kib, open_kib }, lags))
}

async fn ask(ready: &Ready, path: &str, accept: &str) -> Outcome<TcpStream> {
    let mut stream = TcpStream::connect(&ready.address).await?;
    let head = String::from_utf8(load::request(ready, &format!("GET {path}"), ""))?;
    let head = head.replace("accept: application/json", &format!("accept: {accept}"));
    stream.write_all(head.as_bytes()).await?;
    Ok(stream)
}

async fn read(mut stream: TcpStream, begun: Arc<AtomicUsize>) {
    let (mut buffer, mut first) = ([0; 2048], true);
    while let Ok(1..) = stream.read(&mut buffer).await {
        if std::mem::take(&mut first) {
            begun.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Microseconds from when each piece was made to when it came.
async fn lags(stream: TcpStream) -> Outcome<Vec<i64>> {
    let (mut lines, clock, end) =
        (BufReader::new(stream).lines(), Clock::system(), Instant::now() + WATCHED);
    let mut lags = Vec::new();
    while Instant::now() < end {
        let Some(line) = timeout(WATCHED, lines.next_line()).await?? else { break };
        // The length of a chunk may be a number in JSON, too.
        let Ok(line) = serde_json::from_str::<Value>(&line) else { continue };
        let Some(event) = line.get("result") else { continue };
        if event["type"] == "token" {
            let made: Timestamp = serde_json::from_value(event["created_at"].clone())?;
            lags.push(clock.now().0 - made.0);
        }
    }
    // What was there before the watch began says nothing.
    Ok(lags.split_off(lags.len().min(10)))
}
