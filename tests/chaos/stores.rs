//! Faults of what the replicas stand on: F6 Redis is killed and comes back empty, then stays away;
//! F7 Redis takes connections and answers nothing; F8 Postgres crashes and recovers.

use std::time::Duration;

use tokio::time::Instant;

use super::cluster::{Cluster, Setup};
use super::doors::pass;
use super::history::History;
use super::load::{Load, Seen};
use super::settings;
use super::table::{Row, percentile, recoveries, secs};

/// Callers at once.
const CALLERS: usize = 18;
/// Times that Redis is killed and started again, empty.
const REDIS_KILLS: usize = 10;
/// What Redis's own timeout is by default; the harness is more patient.
const REDIS: &str = "[redis]\ntimeout_ms = 25";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "just chaos"]
async fn f06_redis_is_killed_comes_back_empty_and_then_stays_away() {
    let setup = Setup { redis: true, config: REDIS.to_owned(), ..Setup::default() };
    let mut cluster = Cluster::start(setup).await;
    let redis = cluster.redis.clone().expect("a Redis");
    let load = Load::start(&cluster, CALLERS).await;
    assert!(load.gets_on(300).await, "nothing goes on");
    let half = settings::length() / 2;
    for n in 0..REDIS_KILLS {
        cluster.note(&format!("Redis is killed, {n}"), &[]).await;
        redis.kill();
        redis.restart();
        cluster.over();
        pass(half / u32::try_from(REDIS_KILLS).expect("small")).await;
    }
    cluster.note("Redis is away", &[]).await;
    redis.kill();
    pass(half).await;
    redis.restart();
    cluster.over();
    assert!(load.gets_on(300).await, "nothing goes on");
    let (history, seen) = load.end(&mut cluster).await;
    let mut row =
        Row::new("F6", REDIS_KILLS + 1, "Redis killed and empty again; the last time away");
    let away = history.faults.last().map_or((0, 0), |fault| (fault.at_us, fault.until_us));
    let lag = percentile(&lags(&history, away), 1.0);
    row.note(format!("followers at most {:.1} s behind while it is away", secs(lag)));
    row.pass(lag <= Duration::from_millis(2500), format!("{:.1} s behind", secs(lag)));
    compare(&mut row, &seen, &history, 2.0);
    row.answers(&seen, true);
    row.sends_nothing_again(&history);
    row.tell(&history);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "just chaos"]
async fn f07_redis_takes_connections_and_answers_nothing() {
    let setup = Setup { redis: true, config: REDIS.to_owned(), ..Setup::default() };
    let mut cluster = Cluster::start(setup).await;
    let redis = cluster.redis.clone().expect("a Redis");
    let load = Load::start(&cluster, CALLERS).await;
    assert!(load.gets_on(300).await, "nothing goes on");
    cluster.note("Redis is stalled", &[]).await;
    redis.stall();
    pass(settings::length()).await;
    redis.resume();
    cluster.over();
    assert!(load.gets_on(300).await, "nothing goes on");
    let (history, seen) = load.end(&mut cluster).await;
    let mut row = Row::new("F7", 1, "Redis stalled");
    compare(&mut row, &seen, &history, 2.0);
    row.answers(&seen, true);
    row.sends_nothing_again(&history);
    row.tell(&history);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "just chaos"]
async fn f08_postgres_crashes_and_recovers() {
    let mut cluster = Cluster::start(Setup::default()).await;
    let load = Load::start(&cluster, CALLERS).await;
    assert!(load.gets_on(100).await, "nothing goes on");
    let every = Duration::from_secs(20).min(settings::length() / 2);
    let (over, mut crashes) = (Instant::now() + settings::length(), 0);
    while Instant::now() < over {
        let next = Instant::now() + every;
        cluster.note("Postgres crashes", &[0, 1, 2]).await;
        let postgres = cluster.postgres.as_ref().expect("a Postgres");
        postgres.crash();
        postgres.restart();
        cluster.over();
        crashes += 1;
        pass(next.saturating_duration_since(Instant::now())).await;
    }
    let (history, seen) = load.end(&mut cluster).await;
    let mut row = Row::new("F8", crashes, "crash of Postgres, restarted at once");
    row.recoveries = recoveries(&history, "", &history.faults);
    row.note("recovery: from the crash to the run's next event");
    let gone = |replica: &crate::harness::process::Program| {
        replica.logged.all().iter().filter(|line| line.contains("a worker is gone")).count()
    };
    let reaped: usize = cluster.replicas.iter().map(gone).sum();
    row.note(format!("{reaped} workers taken for gone"));
    row.pass(reaped == 0, format!("{reaped} workers taken for gone"));
    row.answers(&seen, false);
    row.tell(&history);
}

/// How far each durable event came behind its commit, of those committed between two moments.
fn lags(history: &History, (from_us, to_us): (i64, i64)) -> Vec<Duration> {
    let mut found = Vec::new();
    for heard in &history.heard {
        let events = history.events.get(&heard.run_id).map_or(&[][..], Vec::as_slice);
        for frame in heard.frames.iter().filter(|frame| frame.n == 0) {
            let event = events.iter().find(|event| event.seq == frame.seq);
            // What was there when the follower came was not late.
            let Some(event) = event.filter(|event| event.seq > 2) else { continue };
            if (from_us..to_us).contains(&event.at_us) {
                let us = u64::try_from(frame.at_us - event.at_us).unwrap_or(0);
                found.push(Duration::from_micros(us));
            }
        }
    }
    found
}

/// Compares how long creations took while faults went on with those before.
fn compare(row: &mut Row, seen: &Seen, history: &History, times: f64) {
    let first = history.faults.first().map_or(i64::MAX, |fault| fault.at_us);
    let last = history.faults.last().map_or(i64::MAX, |fault| fault.until_us);
    // In the first second a breaker may still have to open.
    let during = first.saturating_add(1_000_000)..last;
    let took = |part: &dyn Fn(i64) -> bool| -> Duration {
        let some = seen.took.iter().filter(|(at_us, _)| part(*at_us));
        percentile(&some.map(|(_, took)| *took).collect::<Vec<_>>(), 0.99)
    };
    let (before, during) = (took(&|at_us| at_us < first), took(&|at_us| during.contains(&at_us)));
    let [before, during] = [before, during].map(|took| took.as_millis());
    row.note(format!("creation p99 {during} ms, {before} ms before"));
    let most = (before as f64 * times) as u128 + 200;
    row.pass(during <= most, format!("creation p99 {during} ms > {most} ms"));
}
