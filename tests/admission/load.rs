//! A store that has more to do than it can takes no new runs, and is read all the same.

use std::sync::Arc;
use std::time::Duration;

use runplane::store::Store;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use crate::agents::id;
use crate::conversations::{CREATE, agent, ok, teller};
use crate::harness::app::{App, On, Options};
use crate::harness::doors::{Client, Door, Failure};

const LONG: Duration = Duration::from_secs(60);

/// Jobs that hold the store until the gate is opened.
fn held(store: &Store, gate: &Arc<Semaphore>, count: usize) -> Vec<JoinHandle<()>> {
    let hold = |_| {
        let (store, gate) = (store.clone(), Arc::clone(gate));
        tokio::spawn(async move {
            let job = store.tx("test.hold", move |_| {
                let gate = Arc::clone(&gate);
                Box::pin(async move {
                    gate.acquire().await.expect("open").forget();
                    Ok(())
                })
            });
            // Postgres ends one that holds it for long.
            let _ended = job.await;
        })
    };
    (0..count).map(hold).collect()
}

async fn refused(at: &Client, agent: &str) -> Failure {
    let run = json!({"agent_id": agent, "input": "x", "background": true});
    let is_shed = |failure: &Failure| failure.message.contains("more to do than it can");
    let until = async {
        loop {
            match at.call(CREATE, run.clone()).await {
                Err(failure) if is_shed(&failure) => return failure,
                _ => tokio::task::yield_now().await,
            }
        }
    };
    tokio::time::timeout(LONG, until).await.expect("it is refused")
}

/// The run, as soon as it is taken.
async fn taken(at: &Client, agent: &str) -> Value {
    let run = json!({"agent_id": agent, "input": "x"});
    let until = async {
        loop {
            match at.call(CREATE, run.clone()).await {
                Ok(run) => return run,
                Err(_) => tokio::task::yield_now().await,
            }
        }
    };
    tokio::time::timeout(LONG, until).await.expect("it is taken")
}

#[tokio::test]
async fn a_full_queue_takes_no_runs_but_is_read() {
    let config = "[store]\nqueue_jobs = 8\nshed_queue_percent = 50".to_owned();
    let app = App::with(Options { config, ..Options::default() }).await;
    let at = app.door(Door::Rest);
    let teller = agent(&at, teller()).await;
    // So short a queue may be full of what a single run writes.
    let run = id(&taken(&at, &teller).await);
    ok(&at, "RunsService/GetRun", json!({"id": run, "wait": 30})).await;
    let gate = Arc::new(Semaphore::new(0));
    let mut jobs = held(&app.store, &gate, 8);
    let failure = refused(&at, &teller).await;
    assert_eq!((&*failure.code, &*failure.headers["retry-after"]), ("unavailable", "1"));
    let stream = json!({"agent_id": teller, "input": "x"});
    let streamed = at.stream("RunsService/StreamRun", stream).await.expect_err("refused too");
    assert_eq!(streamed.code, "unavailable");
    assert_eq!(ok(&at, "RunsService/GetRun", json!({"id": run})).await["status"], "completed");
    ok(&at, "RunsService/ListRuns", json!({})).await;
    jobs.extend(held(&app.store, &gate, 32));
    let until = async {
        while at.call("RunsService/GetRun", json!({"id": run})).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LONG, until).await.expect("far above, nothing is taken");
    gate.add_permits(jobs.len());
    for job in jobs {
        job.await.expect("no panic");
    }
    taken(&at, &teller).await;
}

#[tokio::test]
async fn a_pool_that_is_waited_for_takes_no_runs() {
    let app = App::with(Options { on: On::Postgres, ..Options::default() }).await;
    let at = app.door(Door::Rest);
    let teller = agent(&at, teller()).await;
    taken(&at, &teller).await;
    let gate = Arc::new(Semaphore::new(0));
    let jobs = held(&app.store, &gate, 8);
    refused(&at, &teller).await;
    gate.add_permits(jobs.len());
    for job in jobs {
        job.await.expect("no panic");
    }
    taken(&at, &teller).await;
    app.stop().await;
}
