//! Many at once: F15 a herd of followers that comes back after a kill, and a thousand equal calls;
//! F17 a tenant with thousands of runs beside one with ten; F18 cancels of runs that other replicas
//! drive.

use std::collections::HashSet;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::iter;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use super::cluster::{Cluster, REPLICAS, Setup};
use super::doors::{Doors, pass};
use super::follower::Follow;
use super::history::{Acknowledged, Fault, History};
use super::load::{Load, create};
use super::rows;
use super::table::{Row, percentile, recoveries, secs};

/// Followers, and the runs that they follow.
const HERD: usize = 300;
const FOLLOWED: usize = 12;
/// Equal calls, and how many of them at once.
const EQUAL: usize = 1000;
const AT_ONCE: usize = 200;

/// An agent that speaks for half a minute.
fn speaker() -> Value {
    let text = "word ".repeat(120);
    json!({
        "name": "speaker", "model": "sim",
        "sim": {"tokens_per_second": 4, "turns": [{"text": text.trim()}]}
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "just chaos"]
async fn f15_a_herd_of_followers_comes_back_at_once() {
    let mut cluster = Cluster::start(Setup { redis: true, ..Setup::default() }).await;
    let mut load = Load::none();
    let agent = cluster.doors.at(0).await.agent(&speaker()).await;
    let runs = starts(&load, &cluster.doors, (&agent, FOLLOWED, "herd")).await;
    for n in 0..HERD {
        let how = Follow { place: 0, ..load.follow(&cluster, n) };
        load.add_follower(how, &runs[n % FOLLOWED]);
    }
    assert!(load.gets_on(3 * HERD as u64).await, "the herd does not hear");
    cluster.kill(0).await;
    let equal = crowd(&cluster, &agent).await;
    cluster.revive(0).await;
    // Nobody follows the run of the equal calls, so the followers' ends do not tell of its own.
    until_empty(&cluster).await;
    let (mut history, _) = load.end(&mut cluster).await;
    history.acknowledged.extend(equal.iter().map(|run_id| Acknowledged {
        run_id: run_id.clone(),
        key: "equal".to_owned(),
        result: String::new(),
    }));
    let killed_us = history.faults[0].at_us;
    let back = |us: &i64| *us > killed_us;
    let back = history.heard.iter().filter_map(|heard| {
        let us = heard.connected_us.iter().copied().find(|us| back(us))?;
        Some(Duration::from_micros(u64::try_from(us - killed_us).unwrap_or(0)))
    });
    let back: Vec<Duration> = back.collect();
    let what = format!("`kill -9` under {HERD} followers, {EQUAL} equal calls");
    let mut row = Row::new("F15", 1, &what);
    row.note(format!("{} followers back within {:.1} s", back.len(), secs(max(&back))));
    row.must(back.len() == HERD, format!("{} of {HERD} followers came back", back.len()));
    row.pass(max(&back) <= Duration::from_secs(10), "the herd is back too late");
    row.must(equal.len() == 1, format!("{} runs of one key", equal.len()));
    row.recoveries = recoveries(&history, "run.resumed", &history.faults);
    row.tell(&history);
}

/// Makes one call so many times at all replicas; the runs that were answered.
async fn crowd(cluster: &Cluster, agent_id: &str) -> HashSet<String> {
    let body = json!({"agent_id": agent_id, "input": "x", "metadata": {rows::LABEL: "equal"}});
    let seen = std::sync::Mutex::default();
    let calls = (0..EQUAL).map(|n| create(&cluster.doors, n, ("equal", &body), &seen));
    iter(calls).buffer_unordered(AT_ONCE).collect().await
}

/// Starts so many runs at the replicas in turn; their ids.
async fn starts(
    load: &Load,
    doors: &Doors,
    (agent_id, count, name): (&str, usize, &str),
) -> Vec<String> {
    let seen = std::sync::Mutex::default();
    let one = |n: usize| {
        let key = format!("{name}-{n}");
        let body = json!({"agent_id": agent_id, "input": n, "metadata": {rows::LABEL: key}});
        let seen = &seen;
        async move {
            let run_id = create(doors, n, (&key, &body), seen).await;
            load.acknowledge(Acknowledged { run_id: run_id.clone(), key, result: String::new() });
            run_id
        }
    };
    iter((0..count).map(one)).buffered(32).collect().await
}

/// Runs of the noisy tenant, and of its neighbour; and how many each may have at once.
const NOISY: usize = 1000;
const QUIET: usize = 10;
const CAP: u32 = 6;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "just chaos"]
async fn f17_a_tenant_with_many_runs_does_not_hold_up_its_neighbour() {
    let config = format!(
        "[limits]\nplan = 'x'\n[plans.x]\nrequests = {{ limit = 1000000, per = '1m' }}
        concurrent_runs = {CAP}"
    );
    let mut cluster = Cluster::start(Setup { config, ..Setup::default() }).await;
    let agent = json!({
        "name": "short", "model": "sim", "sim": {"turns": [{"text": "Done.", "delay_ms": 50}]}
    });
    let made = cluster.replicas[0].command(&["keys", "create", "--environment", "test"]).await;
    let key = String::from_utf8(made.stdout).expect("UTF-8");
    let (noisy, quiet) = (cluster.doors.clone(), cluster.doors.with_key(key.trim()));
    let load = Load::none();
    let [a, b] = [noisy.at(0).await.agent(&agent).await, quiet.at(0).await.agent(&agent).await];
    starts(&load, &noisy, (&a, NOISY, "noisy")).await;
    let waiting = cluster.query("SELECT count(*) FROM run_queue", []).await;
    let waiting: i64 = waiting[0].try_get_by_index(0).expect("a number");
    let mut runs = Vec::new();
    for n in 0..QUIET {
        runs.extend(starts(&load, &quiet, (&b, 1, &format!("quiet-{n}"))).await);
        pass(Duration::from_millis(200)).await;
    }
    until_empty(&cluster).await;
    let (history, _) = load.end(&mut cluster).await;
    let mut row = Row::new("F17", 1, &format!("{NOISY} runs of one tenant beside {QUIET}"));
    let delay = |run_id: &String| {
        let run = &history.runs[run_id];
        let us = run.started_us.unwrap_or(i64::MAX).saturating_sub(run.created_us);
        Duration::from_micros(u64::try_from(us).unwrap_or(0))
    };
    let delays: Vec<Duration> = runs.iter().map(delay).collect();
    let most = Duration::from_secs(1) + cluster.patience.heartbeat();
    row.note(format!("the neighbour's runs begin within {:.2} s", secs(max(&delays))));
    row.note(format!("{waiting} waited when they came"));
    let leased = history.leased.iter().map(|l| l.count).max().unwrap_or(0);
    row.note(format!("at most {leased} of {CAP} at once"));
    row.pass(max(&delays) <= most, "the neighbour waits");
    row.must(leased > 0, "no run was seen under way");
    row.tell(&history);
}

/// Waits until nothing is queued any more.
async fn until_empty(cluster: &Cluster) {
    let empty = async {
        loop {
            let rows = cluster.query("SELECT count(*) FROM run_queue", []).await;
            let count = rows.first().and_then(|row| row.try_get_by_index::<i64>(0).ok());
            if count == Some(0) {
                return;
            }
            pass(Duration::from_millis(300)).await;
        }
    };
    // The checker tells what is left.
    let _ = timeout(Duration::from_secs(180), empty).await;
}

/// Runs that are cancelled.
const CANCELLED: usize = 60;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "just chaos"]
async fn f18_cancels_reach_the_replicas_that_drive_the_runs() {
    storm(false, Duration::from_secs(4)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "just chaos"]
async fn f18_cancels_are_pushed_where_there_is_a_redis() {
    storm(true, Duration::from_millis(500)).await;
}

/// Cancels runs, each at a replica that does not drive it.
async fn storm(redis: bool, most: Duration) {
    let mut cluster = Cluster::start(Setup { redis, ..Setup::default() }).await;
    let load = Load::none();
    let call = json!({"name": "slow", "arguments": {"n": 1, "pause_ms": 20_000}});
    let agent = json!({
        "name": "slow", "model": "sim", "tools": [cluster.tools.tool("slow")],
        "sim": {"turns": [{"tool_calls": [call]}, {"text": "Done."}]}
    });
    let agent = cluster.doors.at(0).await.agent(&agent).await;
    let runs = starts(&load, &cluster.doors, (&agent, CANCELLED, "cancelled")).await;
    cluster.tools.until(|sent| sent.len() == CANCELLED).await;
    let mut holders = vec![0; runs.len()];
    for place in 0..REPLICAS {
        cluster.note("runs are cancelled", &[place]).await;
        let held = cluster.faults.pop().map(|fault| fault.held).unwrap_or_default();
        for (run_id, holder) in runs.iter().zip(&mut holders) {
            if held.contains(run_id) {
                *holder = place;
            }
        }
    }
    let cancels = runs.iter().zip(&holders).map(|(run_id, holder)| {
        let (doors, path) = (cluster.doors.clone(), format!("/v1/runs/{run_id}/cancel"));
        let clock = cluster.clock.clone();
        async move {
            let request = doors.request(holder + 1, Method::POST, &path).await.json(&json!({}));
            let at_us = clock.now().0;
            let answer = request.send().await.expect("an answer");
            assert!(answer.status().is_success(), "{:?}", answer.text().await);
            (at_us, clock.now().0)
        }
    });
    let asked: Vec<(i64, i64)> = iter(cancels).buffered(20).collect().await;
    let begun = Instant::now();
    until_empty(&cluster).await;
    let took = begun.elapsed();
    let (mut history, _) = load.end(&mut cluster).await;
    let name = if redis { "F18 Redis" } else { "F18" };
    let mut row = Row::new(name, CANCELLED, "cancel of a run that another replica drives");
    for (run_id, (at_us, answered_us)) in runs.iter().zip(asked) {
        let held = vec![run_id.clone()];
        let what = "a cancel".to_owned();
        history.faults.push(Fault { what, at_us, until_us: at_us, held });
        let late = late(&history, run_id, answered_us + 1_000_000);
        row.must(late == 0, format!("{late} effects of {run_id} more than 1 s after the answer"));
    }
    row.recoveries = recoveries(&history, "run.cancelled", &history.faults);
    row.note("recovery: from the request to `run.cancelled`");
    row.note(format!("all over {:.1} s after the last answer", secs(took)));
    let p99 = percentile(&row.recoveries, 0.99);
    row.must(row.recoveries.len() == CANCELLED, "not every run was cancelled");
    row.pass(p99 <= most, format!("p99 {:.2} s > {:.1} s", secs(p99), secs(most)));
    row.tell(&history);
}

/// Calls of a run that began after a moment.
fn late(history: &History, run_id: &str, after_us: i64) -> usize {
    let late = history.calls.iter().filter(|c| c.run_id == run_id && c.begun_us > after_us);
    late.count()
}

fn max(all: &[Duration]) -> Duration {
    all.iter().copied().max().unwrap_or_default()
}
