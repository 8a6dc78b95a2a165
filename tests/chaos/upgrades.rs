//! F19: every replica is replaced by one of a newer version, one after the other, under load, and
//! then by the version before again. Nobody tells the callers: a balancer finds out by `/readyz`,
//! as it would in front of any cluster.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use reqwest::Method;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::cluster::{Cluster, REPLICAS, Setup};
use super::doors::{Doors, pass};
use super::load::Load;
use super::table::Row;

/// Callers that start and follow runs.
const CALLERS: usize = 12;
/// Between two looks of the balancer, and two readings of one reader.
const LOOK: Duration = Duration::from_millis(100);
const READ: Duration = Duration::from_millis(20);

/// What readers were answered, by status; 0: nothing.
type Answers = Arc<Mutex<BTreeMap<u16, usize>>>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "just chaos"]
async fn f19_every_replica_is_replaced_by_a_newer_version_and_back() {
    let config = "[server]\ndrain_seconds = 25\ndrain_notice_seconds = 2".to_owned();
    let mut cluster = Cluster::start(Setup { redis: true, config, ..Setup::default() }).await;
    let load = Load::start(&cluster, CALLERS).await;
    let (mut tasks, answers) = (JoinSet::new(), Answers::default());
    for place in 0..REPLICAS {
        let url = cluster.replicas[place].url.subscribe();
        tasks.spawn(balance(cluster.doors.clone(), place, url));
        tasks.spawn(read(cluster.doors.clone(), place, Arc::clone(&answers)));
    }
    let mut replaced = 0;
    for faults in ["with:newer", ""] {
        for place in 0..REPLICAS {
            assert!(load.gets_on(50).await, "nothing goes on");
            faults.clone_into(&mut cluster.replicas[place].faults);
            replace(&mut cluster, place).await;
            replaced += 1;
        }
    }
    assert!(load.gets_on(50).await, "nothing goes on");
    tasks.shutdown().await;
    let (history, seen) = load.end(&mut cluster).await;
    let mut row = Row::new("F19", replaced, "replica replaced by a newer version, and back");
    row.sends_nothing_again(&history);
    row.answers(&seen, true);
    let failed: usize = seen.answers.iter().filter(|(code, _)| **code != 202).map(|a| a.1).sum();
    row.must(failed == 0, format!("{failed} creations failed: {:?}", seen.answers));
    let answers = answers.lock().expect("answers").clone();
    let read: usize = answers.values().sum();
    row.note(format!("{read} requests that read"));
    row.must(answers.keys().eq([&200]), format!("answers to who reads {answers:?}"));
    row.tell(&history);
}

/// Asks a replica to end, and starts it again, without a word to its callers.
async fn replace(cluster: &mut Cluster, place: usize) {
    cluster.note(&format!("replica {place} is replaced"), &[place]).await;
    cluster.replicas[place].terminate();
    let status = cluster.replicas[place].ended().await;
    assert_eq!(status.code(), Some(0), "{}", cluster.replicas[place].logged);
    cluster.over();
    cluster.forget(place);
    cluster.revive(place).await;
}

/// Sends callers to a replica as long as it says that it is ready.
async fn balance(doors: Doors, place: usize, mut url: watch::Receiver<Option<String>>) {
    let http = doors.http();
    loop {
        let now = url.borrow_and_update().clone();
        let ready = match &now {
            Some(url) => http.get(format!("{url}/readyz")).timeout(LOOK * 5).send().await.ok(),
            None => None,
        };
        let ready = ready.is_some_and(|answer| answer.status().is_success());
        doors.set(place, now.filter(|_| ready));
        pass(LOOK).await;
    }
}

/// Reads again and again, through the door that is first at this place.
async fn read(doors: Doors, place: usize, answers: Answers) {
    for path in ["/v1/runs?limit=5", "/v1/agents", "/v1/me"].into_iter().cycle() {
        let request = doors.request(place, Method::GET, path).await;
        let status = request.send().await.map_or(0, |answer| answer.status().as_u16());
        *answers.lock().expect("answers").entry(status).or_default() += 1;
        pass(READ).await;
    }
}
