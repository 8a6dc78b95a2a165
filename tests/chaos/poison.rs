//! F16: a run whose worker dies whenever it comes to one call. It alone fails, after so many
//! claims; whoever shares a worker with it goes on.

use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, timeout};

use super::checker;
use super::cluster::{Cluster, Setup};
use super::history::Acknowledged;
use super::load::{Load, create};
use super::rows;
use super::table::{Row, secs};

/// Callers at once.
const CALLERS: usize = 12;
/// Name of the tool whose call ends its worker; it never answers.
const POISON: &str = "held";
/// Claims that the run gets: one in which the model answers, and six that get no further.
const CLAIMS: usize = 7;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "just chaos"]
async fn f16_a_run_that_kills_its_workers_fails_and_no_other_does() {
    let mut cluster = Cluster::start(Setup::default()).await;
    let load = Load::start(&cluster, CALLERS).await;
    assert!(load.gets_on(100).await, "nothing goes on");
    let agent = json!({
        "name": "poison", "model": "sim", "tools": [cluster.tools.tool(POISON)],
        "sim": {"turns": [{"tool_calls": [{"name": POISON, "arguments": {"n": 1}}]}]}
    });
    let agent_id = cluster.doors.at(1).await.agent(&agent).await;
    let key = "poison".to_owned();
    let body = json!({"agent_id": agent_id, "input": "x", "metadata": {rows::LABEL: key}});
    let begun = Instant::now();
    let run_id = create(&cluster.doors, 1, (&key, &body), &std::sync::Mutex::default()).await;
    let poisoned = run_id.clone();
    load.acknowledge(Acknowledged { run_id, key, result: String::new() });
    let mut deaths = 0;
    while deaths < CLAIMS && is_called(&cluster, deaths + 1).await {
        let Some(place) = holder(&cluster) else { break };
        cluster.kill(place).await;
        cluster.revive(place).await;
        deaths += 1;
    }
    let settled = async {
        let run = cluster.doors.at(1).await.settled(&poisoned).await;
        (run["status"].clone(), run["error"]["code"].clone())
    };
    let (status, code) = timeout(Duration::from_secs(90), settled).await.unwrap_or_default();
    let took = begun.elapsed();
    let (history, _) = load.end(&mut cluster).await;
    let mut row = Row::new("F16", deaths, "a worker ended by one run's call");
    row.note(format!("the run failed after {deaths} claims and {:.0} s", secs(took)));
    let story = checker::story(&history, &poisoned);
    let stalled = (status, code) == (json!("failed"), json!("run_stalled"));
    row.must(stalled, format!("the run did not stall: {story}"));
    row.must(deaths == CLAIMS, format!("{deaths} claims, not {CLAIMS}"));
    let others = history.runs.iter().filter(|(id, run)| {
        **id != poisoned && run.status != "completed" && run.status != "in_progress"
    });
    let others: Vec<_> = others.map(|(id, run)| (id, &run.status, &run.error)).collect();
    row.must(others.is_empty(), format!("others too: {others:?}"));
    row.pass(took <= Duration::from_secs(180), "it takes more than 3 minutes");
    row.tell(&history);
}

/// Waits until the call has come so many times.
async fn is_called(cluster: &Cluster, times: usize) -> bool {
    let called = |sent: &[crate::harness::tools::Sent]| {
        sent.iter().filter(|sent| sent.tool == POISON).count() >= times
    };
    cluster.tools.comes(called, cluster.patience.lease() * 4 + Duration::from_secs(20)).await
}

/// The replica that has made the last of these calls: whose socket has the port that it came from.
fn holder(cluster: &Cluster) -> Option<usize> {
    let sent = cluster.tools.sent();
    let port = sent.iter().rev().find(|sent| sent.tool == POISON)?.port;
    let table = std::fs::read_to_string("/proc/net/tcp").ok()?;
    let inode = table.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let local = fields.get(1)?.split(':').nth(1)?;
        let is_it = u16::from_str_radix(local, 16) == Ok(port);
        is_it.then(|| fields.get(9).copied().unwrap_or_default().to_owned())
    })?;
    let name = format!("socket:[{inode}]");
    let has_it = |pid: u32| {
        let files = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        let mut links = files.filter_map(|file| std::fs::read_link(file.path()).ok());
        links.any(|link| link.to_str() == Some(&name))
    };
    cluster.replicas.iter().position(|replica| replica.is_running() && has_it(replica.pid()))
}
