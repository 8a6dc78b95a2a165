//! Faults of workers: F1 a replica is killed, F2 it hangs for longer than its lease, F3 all are
//! killed, F5 all are asked to end, one after the other.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::time::Instant;

use super::cluster::{Cluster, REPLICAS, Setup};
use super::doors::pass;
use super::history::History;
use super::load::Load;
use super::settings;
use super::table::{Row, recoveries, secs};

/// Callers at once.
const CALLERS: usize = 18;
/// Between two kills.
const KILL_EVERY: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "just chaos"]
async fn f01_a_random_replica_is_killed_every_five_seconds() {
    let mut cluster = Cluster::start(Setup::default()).await;
    let load = Load::start(&cluster, CALLERS).await;
    let mut rng = StdRng::seed_from_u64(1);
    assert!(load.gets_on(100).await, "nothing goes on");
    let (over, mut kills) = (Instant::now() + settings::length(), 0);
    while Instant::now() < over {
        let next = Instant::now() + KILL_EVERY;
        let place = rng.random_range(0..REPLICAS);
        cluster.kill(place).await;
        cluster.revive(place).await;
        kills += 1;
        pass(next.saturating_duration_since(Instant::now())).await;
    }
    let (history, seen) = load.end(&mut cluster).await;
    let mut row = Row::new("F1", kills, "`kill -9` of a random replica, every 5 s");
    row.recoveries = recoveries(&history, "run.resumed", &history.faults);
    // By the default lease of 10 s: 12, 16 and 25 s.
    let lease = cluster.patience.lease();
    row.recovers_within([lease.mul_f64(1.2), lease.mul_f64(1.6), lease.mul_f64(2.5)]);
    row.answers(&seen, false);
    row.tell(&history);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "just chaos"]
async fn f02_a_replica_hangs_for_twice_its_lease_and_goes_on() {
    let mut cluster = Cluster::start(Setup::default()).await;
    let load = Load::start(&cluster, CALLERS).await;
    assert!(load.gets_on(100).await, "nothing goes on");
    let (over, mut hangs, mut noticed) = (Instant::now() + settings::length(), 0, Vec::new());
    while hangs == 0 || Instant::now() + cluster.patience.lease() * 2 < over {
        let place = hangs % REPLICAS;
        noticed.push(hang(&mut cluster, place).await);
        hangs += 1;
        assert!(load.gets_on(20).await, "nothing goes on");
    }
    let (history, _) = load.end(&mut cluster).await;
    let what = format!("SIGSTOP for {} s, then SIGCONT", 2 * cluster.patience.lease().as_secs());
    let mut row = Row::new("F2", hangs, &what);
    row.recoveries = recoveries(&history, "run.resumed", &history.faults);
    let slowest = noticed.iter().copied().max().unwrap_or_default();
    row.note(format!("zombies noticed within {:.1} s", secs(slowest)));
    let beat = cluster.patience.heartbeat();
    row.pass(slowest <= beat, format!("a zombie noticed after {:.1} s", secs(slowest)));
    row.tell(&history);
}

/// Stops a replica for twice its lease. How long it takes, once it goes on, to notice that it was
/// taken for gone.
async fn hang(cluster: &mut Cluster, place: usize) -> Duration {
    cluster.note(&format!("replica {place} hangs"), &[place]).await;
    cluster.doors.set(place, None);
    cluster.replicas[place].freeze();
    pass(cluster.patience.lease() * 2).await;
    let logged = cluster.replicas[place].logged.clone();
    let begun = "reaped; beginning anew";
    let before = logged.all().iter().filter(|line| line.contains(begun)).count();
    cluster.over();
    cluster.replicas[place].thaw();
    let thawed = Instant::now();
    logged.with(begun, before + 1).await;
    let noticed = thawed.elapsed();
    let url = cluster.replicas[place].url.borrow().clone();
    cluster.doors.set(place, url);
    cluster.forget(place);
    noticed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "just chaos"]
async fn f03_all_replicas_are_killed_and_started_again() {
    let mut cluster = Cluster::start(Setup::default()).await;
    let (history, kills) = kill_all(&mut cluster).await;
    let mut row = Row::new("F3", kills, "`kill -9` of all replicas");
    row.recoveries = first_resumed(&history);
    row.recovers_within([Duration::from_secs(15); 3]);
    row.note("recovery: from the start of the replicas to the first run that goes on");
    row.tell(&history);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "just chaos"]
async fn f03_the_only_process_is_killed_and_started_again_on_sqlite() {
    let mut cluster = Cluster::embedded(Setup::default()).await;
    let (history, kills) = kill_all(&mut cluster).await;
    let mut row = Row::new("F3 SQLite", kills, "`kill -9` of the only process");
    row.recoveries = first_resumed(&history);
    row.recovers_within([Duration::from_secs(3); 3]);
    row.tell(&history);
}

async fn kill_all(cluster: &mut Cluster) -> (History, usize) {
    let load = Load::start(cluster, CALLERS).await;
    let (over, mut kills) = (Instant::now() + settings::length(), 0);
    while kills == 0 || Instant::now() < over {
        assert!(load.gets_on(150).await, "nothing goes on");
        let places = 0..cluster.replicas.len();
        for place in places.clone() {
            cluster.kill(place).await;
        }
        for place in places {
            cluster.revive(place).await;
        }
        cluster.over();
        kills += 1;
    }
    (load.end(cluster).await.0, kills)
}

/// From each start of all to the first run that was resumed.
fn first_resumed(history: &History) -> Vec<Duration> {
    let starts = history.faults.iter().filter(|fault| fault.until_us > fault.at_us);
    let resumed: Vec<i64> = history
        .events
        .values()
        .flatten()
        .filter(|event| event.kind == "run.resumed")
        .map(|event| event.at_us)
        .collect();
    // The first replica serves a little before the last.
    let first = |at_us: i64| resumed.iter().filter(|us| **us > at_us).min().copied();
    starts
        .filter_map(|fault| {
            let us = first(fault.at_us)?.saturating_sub(fault.until_us);
            Some(Duration::from_micros(u64::try_from(us).unwrap_or(0)))
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "just chaos"]
async fn f05_every_replica_is_asked_to_end_and_started_again() {
    let config = "[server]\ndrain_seconds = 25".to_owned();
    let mut cluster = Cluster::start(Setup { config, ..Setup::default() }).await;
    let load = Load::start(&cluster, CALLERS).await;
    let (over, mut stops) = (Instant::now() + settings::length(), 0);
    let mut drains = Vec::new();
    while stops < REPLICAS || Instant::now() < over {
        assert!(load.gets_on(50).await, "nothing goes on");
        let place = stops % REPLICAS;
        cluster.note(&format!("SIGTERM of replica {place}"), &[place]).await;
        // A load balancer takes it out first; who follows a run stays until told.
        cluster.doors.set(place, None);
        let begun = Instant::now();
        cluster.replicas[place].terminate();
        let status = cluster.replicas[place].ended().await;
        assert_eq!(status.code(), Some(0), "{}", cluster.replicas[place].logged);
        drains.push(begun.elapsed());
        cluster.over();
        cluster.forget(place);
        cluster.revive(place).await;
        stops += 1;
    }
    let (history, seen) = load.end(&mut cluster).await;
    let mut row = Row::new("F5", stops, "SIGTERM, one replica after the other");
    row.recoveries = drains;
    row.note("recovery: the drain");
    row.recovers_within([Duration::from_secs(30); 3]);
    row.sends_nothing_again(&history);
    row.answers(&seen, true);
    row.tell(&history);
}
