//! Each guard is missed when it is gone: the same test is run again, in a process without it, and
//! must see the difference.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use runplane::cache::Bus;
use runplane::engine::{Engine, EngineConfig};
use runplane::store::workers;
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::harness::databases::Database;

const MODEL: &str = "model::steps::the_store_does_what_the_model_does";

#[test]
fn the_model_misses_the_fence_of_epochs() {
    missed("epoch", MODEL);
}

#[test]
fn the_model_misses_the_guard_of_ended_steps() {
    missed("status", MODEL);
}

#[test]
fn the_model_misses_the_hold_on_the_worker_that_claims() {
    missed("key_share", MODEL);
    missed("key_share", "model::guards::a_worker_is_not_reaped_while_it_claims");
}

/// Else its claim would be committed after the reaper has looked, and be held by nobody for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_is_not_reaped_while_it_claims() {
    let db = Database::postgres().await;
    let (store, clock) = (db.store.clone(), db.clock.clone());
    let engine = Engine::new(store.clone(), Bus::memory(), clock, EngineConfig::default());
    let id = engine.by_hand().await.expect("a worker").id();
    let (claims, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (tell, wait) = (Arc::clone(&claims), Arc::clone(&go));
    let claim = tokio::spawn(async move {
        let job = store.tx("test.claim", move |tx| {
            let (tell, wait) = (Arc::clone(&tell), Arc::clone(&wait));
            Box::pin(async move {
                let held = workers::hold(tx, id).await?;
                tell.notify_one();
                wait.notified().await;
                Ok(held)
            })
        });
        job.await
    });
    claims.notified().await;
    let mut reap = tokio::spawn(async move { engine.reap_by_hand(id, 0).await });
    let early = timeout(Duration::from_millis(500), &mut reap).await;
    assert!(early.is_err(), "reaped while it claims: {early:?}");
    go.notify_one();
    assert!(claim.await.expect("no panic").expect("an answer"), "it was on the list");
    assert!(reap.await.expect("no panic").expect("an answer"), "reaped when it has claimed");
}

/// Runs the test without the guard: it must fail.
fn missed(guard: &str, test: &str) {
    let mut child = Command::new(std::env::current_exe().expect("this program"));
    child.args(["--exact", test, "--nocapture"]);
    child.env("RUNPLANE_FAULTS", format!("without:{guard}"));
    child.env("PROPTEST_MAX_SHRINK_ITERS", "0");
    let output = child.output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout);
    let failed = said.contains("running 1 test") && said.contains("test result: FAILED");
    assert!(!output.status.success() && failed, "nobody misses {guard}: {said}");
}
