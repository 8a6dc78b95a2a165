//! Faults of workers: F1 a replica is killed, F2 it hangs for longer than its lease, F3 all are
//! killed, F5 all are asked to end, one after the other.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::time::Instant;

use super::cluster::{Cluster, REPLICAS, Setup};
use super::doors::pass;
use super::load::Load;
use super::settings;
use super::table::{Row, recoveries};

/// Callers at once.
const CALLERS: usize = 18;
const KILL_EVERY: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "just chaos"]
async fn f1_a_random_replica_is_killed_every_five_seconds() {
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
    let (history, seen) = load.end(&cluster).await;
    let mut row = Row::new("F1", kills, "kill -9 of a random replica, every 5 s");
    row.recoveries = recoveries(&history, "run.resumed", &history.faults);
    // By the default lease of 10 s: 12, 16 and 25 s.
    let lease = cluster.patience.lease();
    row.recovers_within([lease.mul_f64(1.2), lease.mul_f64(1.6), lease.mul_f64(2.5)]);
    row.pass(seen.odd.is_empty(), format!("odd answers {:?}", seen.odd));
    row.tell(&history);
}
