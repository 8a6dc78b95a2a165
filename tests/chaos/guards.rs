//! Histories that only one guard of the engine keeps right. With the guard in place they are well;
//! `tests/chaos/run --mutants` takes it out, and the checker must find what is broken then. Here a
//! worker that lives is taken for gone, as by a replica that could not see its beat.

use std::time::Duration;

use runplane::store::{queue, workers};
use serde_json::json;
use tokio::time::timeout;
use uuid::Uuid;

use super::cluster::{Cluster, Setup};
use super::doors::pass;
use super::history::Acknowledged;
use super::load::{Load, create};
use super::rows;
use super::table::Row;

/// Between two looks.
const LOOK: Duration = Duration::from_millis(20);
/// Longest wait for something to happen.
const WAIT: Duration = Duration::from_secs(30);
/// Runs that a replica drives at once, where it must have no place for another.
const SLOTS: usize = 4;
/// How long what is under way may take at the end.
const GRACE: Duration = Duration::from_secs(25);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "just chaos"]
async fn guard_epoch_a_worker_that_was_taken_for_gone_writes_nothing_any_more() {
    // Whoever has no free slot does not ask for runs, and so is not told that it is gone.
    let config =
        format!("[engine]\nheartbeat_ms = 8000\nlease_ms = 25000\nconcurrent_runs = {SLOTS}");
    let mut cluster = Cluster::start(Setup { config, ..Setup::default() }).await;
    let mut load = Load::none();
    load.grace = GRACE;
    let call = |name: &str| json!({"name": name, "arguments": {"n": 1, "pause_ms": 3500}});
    let agent = json!({
        "name": "twice", "model": "sim",
        "tools": [cluster.tools.tool("first"), cluster.tools.tool("second")],
        "sim": {"turns": [
            {"tool_calls": [call("first")]}, {"tool_calls": [call("second")]}, {"text": "Done."}
        ]}
    });
    let agent_id = cluster.doors.at(0).await.agent(&agent).await;
    beats(&cluster, 0).await;
    let seen = std::sync::Mutex::default();
    let mut count = 0;
    while count < SLOTS || (cluster.driven(0).await < SLOTS && count < 2 * SLOTS) {
        let key = format!("guarded-{count}");
        let body = json!({"agent_id": agent_id, "input": count, "metadata": {rows::LABEL: key}});
        let run_id = create(&cluster.doors, 0, (&key, &body), &seen).await;
        load.add_follower(load.follow(&cluster, count), &run_id);
        load.acknowledge(Acknowledged { run_id, key, result: String::new() });
        count += 1;
    }
    cluster.tools.until(|sent| sent.len() >= count).await;
    let full = cluster.driven(0).await == SLOTS;
    reap(&mut cluster, 0).await;
    let (history, _) = load.end(&mut cluster).await;
    let mut row = Row::new("guard epoch", 1, "a live worker taken for gone while its calls go on");
    let again = history.calls.len() > 2 * count;
    row.must(full && again, format!("nobody took the runs over: {} calls", history.calls.len()));
    row.tell(&history);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "just chaos"]
async fn guard_key_share_a_worker_that_was_taken_for_gone_takes_nothing_any_more() {
    let config = "[engine]\nheartbeat_ms = 3000\nlease_ms = 7000\nconcurrent_runs = 3".to_owned();
    let mut cluster = Cluster::start(Setup { config, ..Setup::default() }).await;
    let mut load = Load::start(&cluster, 24).await;
    load.grace = GRACE;
    assert!(load.gets_on(100).await, "nothing goes on");
    beats(&cluster, 0).await;
    let before = cluster.all_workers().await;
    let gone = reap(&mut cluster, 0).await;
    // It takes runs again, as nobody or as another.
    let taken = async {
        loop {
            let held = cluster.query("SELECT worker_id FROM run_queue WHERE state = 1", []).await;
            let mut ids = held.iter().filter_map(|row| row.try_get_by_index::<Uuid>(0).ok());
            if ids.any(|id| id == gone || !before.contains(&id)) {
                return;
            }
            pass(LOOK).await;
        }
    };
    timeout(WAIT, taken).await.expect("it takes runs");
    cluster.forget(0);
    cluster.kill(0).await;
    cluster.revive(0).await;
    let (history, _) = load.end(&mut cluster).await;
    let what = "a live worker taken for gone, which takes runs and is killed";
    Row::new("guard key_share", 1, what).tell(&history);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "just chaos"]
async fn guard_idle_poll_a_follower_elsewhere_hears_without_being_told() {
    let mut cluster = Cluster::start(Setup::default()).await;
    let mut load = Load::start_with(&cluster, 6, |_| 1).await;
    load.grace = GRACE;
    pass(Duration::from_secs(5)).await;
    let (history, _) = load.end(&mut cluster).await;
    Row::new("guard idle_poll", 1, "followers at other replicas, no Redis").tell(&history);
}

/// Waits for a heartbeat of the replica's worker.
async fn beats(cluster: &Cluster, place: usize) {
    let worker = cluster.worker(place).expect("a worker");
    let beat = async || {
        let sql = "SELECT beat FROM workers WHERE id = $1";
        let rows = cluster.query(sql, [worker.into()]).await;
        rows.first().and_then(|row| row.try_get_by_index::<i64>(0).ok())
    };
    let before = beat().await;
    let next = async {
        while beat().await == before {
            pass(LOOK).await;
        }
    };
    timeout(WAIT, next).await.expect("it beats");
}

/// Does to a live worker what another would that takes it for gone.
async fn reap(cluster: &mut Cluster, place: usize) -> Uuid {
    cluster.note(&format!("replica {place} is taken for gone"), &[place]).await;
    let worker = cluster.worker(place).expect("a worker");
    let now = cluster.clock.now();
    let store = cluster.store.as_ref().expect("a store");
    let reap = store.tx("test.reap", move |tx| {
        Box::pin(async move {
            let all = workers::list(tx).await?;
            let beat = all.iter().find(|row| row.id == worker).map_or(-1, |row| row.beat);
            assert!(workers::remove(tx, worker, beat).await?, "it is there");
            queue::release_all(tx, Some(worker), now).await
        })
    });
    reap.await.expect("it is reaped");
    worker
}
