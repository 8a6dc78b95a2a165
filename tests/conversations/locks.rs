//! Who creates, interrupts and ends runs of one session at once sees what the others do, and waits
//! for nobody who waits for it.

use std::sync::Arc;
use std::time::Duration;

use runplane::engine::{Engine, NewRun, Prepared, RunLimits};
use runplane::kernel::ids::{self, Kind};
use runplane::kernel::{Environment, Scope};
use runplane::store::sessions::{Session, take_turns_ending};
use runplane::store::tables::project;
use runplane::store::{Store, agents};
use sea_orm::{ConnectionTrait, EntityTrait, Statement};
use serde_json::{Map, json};
use tokio::sync::Notify;
use tokio::time::timeout;

use super::{
    BOTH, CREATE, agent, app, asker, begin, hold, ok, run, run_or, settled, status, teller,
};
use crate::agents::id;
use crate::harness::app::{App, On, Options};
use crate::harness::doors::Door;
use crate::idempotency::log::upkeep;

/// The owner of the app's live data.
async fn scope(app: &App) -> Scope {
    let projects = project::Entity::find().all(app.store.read()).await.expect("projects");
    Scope { project: projects[0].id, environment: Environment::Live }
}

/// A run of an agent in the session `s`, or in none, as another process would write it.
pub async fn prepared(app: &App, agent: &str, session: Option<&str>) -> (Engine, Prepared) {
    let (engine, scope) = (upkeep(app).engine, scope(app).await);
    let agent_id = ids::parse(Kind::Agent, agent).expect("an id");
    let row = agents::get(app.store.read(), scope, agent_id).await.expect("the agent");
    let new = NewRun {
        agent_id,
        agent_version: row.version,
        spec: Arc::new(serde_json::from_str(&row.spec).expect("a spec")),
        input: json!("x"),
        parameters: Map::new(),
        timeout: None,
        metadata: Map::new(),
        session_id: session.map(str::to_owned),
        key_id: None,
        limits: RunLimits::lane(32),
    };
    let prepared = engine.prepare(scope, new).await.expect("prepared");
    (engine, prepared)
}

/// Ends when a transaction waits for a lock.
async fn somebody_waits(store: &Store) {
    let sql = "SELECT 1 FROM pg_stat_activity
        WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let waits = async || {
        let conn = store.read();
        let statement = Statement::from_string(conn.get_database_backend(), sql);
        conn.query_one_raw(statement).await.expect("asked").is_some()
    };
    let waiting = async {
        while !waits().await {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(60), waiting).await.expect("nobody waits");
}

async fn execute(store: &Store, sql: String) {
    let done = store.tx("test.execute", move |tx| {
        let sql = sql.clone();
        Box::pin(async move { Ok(tx.execute_unprepared(&sql).await.map(drop)?) })
    });
    done.await.expect("executed");
}

#[tokio::test]
async fn a_narrow_key_sees_a_run_that_is_created_at_the_same_time() {
    let (app, admin) = app(On::Postgres).await;
    let (theirs, own) = (agent(&admin, asker()).await, agent(&admin, teller()).await);
    let key = json!({"name": "narrow", "scopes": [format!("runs:create:{own}")]});
    let key = ok(&admin, "KeysService/CreateKey", key).await;
    let narrow = app.client(Door::Rest, key["secret"].as_str().expect("a secret"));
    let (_, prepared) = prepared(&app, &theirs, Some("s")).await;
    let parts = Arc::new((prepared, Notify::new(), app.store.clone()));
    let job = Arc::clone(&parts);
    let writes = app.store.tx("test.create", move |tx| {
        let job = Arc::clone(&job);
        Box::pin(async move {
            let (prepared, written, store) = &*job;
            prepared.write(tx).await?;
            written.notify_one();
            somebody_waits(store).await;
            Ok(())
        })
    });
    let joins = async {
        parts.1.notified().await;
        narrow.call(CREATE, run(&own, "b")).await
    };
    let (written, joined) = tokio::join!(writes, joins);
    written.expect("written");
    let refused = joined.expect_err("it would be told what is not its own");
    assert_eq!(refused.code, "insufficient_scope");
    assert!(!refused.message.contains(&theirs), "{}", refused.message);
    app.stop().await;
}

#[tokio::test]
async fn who_interrupts_waits_for_the_first_run_before_it_holds_the_next() {
    let config = "[engine]\npoll_ms = 600000".to_owned();
    let app = App::with(Options { on: On::Postgres, config, ..Options::default() }).await;
    let at = app.door(Door::Rest);
    let (asker, teller) = (agent(&at, asker()).await, agent(&at, teller()).await);
    hold(&at, &asker).await;
    let second = begin(&at, &teller, "b").await;
    // The first is driven and is being cancelled.
    let (worker, now) = (uuid::Uuid::max(), app.clock.now().0);
    let driven = format!(
        "UPDATE run_queue SET state = 1, worker_id = '{worker}', cancel_requested_at = {now}
        WHERE state = 2"
    );
    execute(&app.store, driven).await;
    let session = Session { scope: scope(&app).await, id: "s".to_owned() };
    let parts = Arc::new((session, Notify::new(), app.store.clone()));
    let job = Arc::clone(&parts);
    let ends = app.store.tx("test.end", move |tx| {
        let job = Arc::clone(&job);
        Box::pin(async move {
            let (session, ended, store) = &*job;
            tx.execute_unprepared("DELETE FROM run_queue WHERE state = 1").await?;
            take_turns_ending(tx, session).await?;
            ended.notify_one();
            somebody_waits(store).await;
            let sql = "SELECT run_id FROM run_queue WHERE state = 3 FOR UPDATE SKIP LOCKED";
            let next = Statement::from_string(tx.get_database_backend(), sql);
            Ok(tx.query_one_raw(next).await?.is_some())
        })
    });
    let interrupts = async {
        parts.1.notified().await;
        ok(&at, CREATE, run_or(&teller, "c", "interrupt")).await
    };
    let (free, third) = tokio::join!(ends, interrupts);
    assert!(free.expect("ended"), "whoever ends the first could not make the next ready");
    assert_eq!(status(&at, &second).await, "cancelled");
    assert_eq!(settled(&at, &id(&third)).await["status"], "completed");
    app.stop().await;
}

#[tokio::test]
async fn a_run_that_waits_behind_none_is_found_and_goes() {
    for on in BOTH {
        let (app, at) = app(on).await;
        let (asker, teller) = (agent(&at, asker()).await, agent(&at, teller()).await);
        hold(&at, &asker).await;
        let (second, third) = (begin(&at, &teller, "b").await, begin(&at, &teller, "c").await);
        let engine = upkeep(&app).engine;
        assert_eq!(engine.free_stranded().await.expect("asked"), 0, "the first lives");
        assert_eq!(status(&at, &second).await, "queued");
        // As a process does that knows nothing of sessions.
        execute(&app.store, "DELETE FROM run_queue WHERE state = 2".to_owned()).await;
        engine.free_stranded().await.expect("asked");
        for run in [&second, &third] {
            assert_eq!(settled(&at, run).await["status"], "completed");
        }
        assert_eq!(engine.free_stranded().await.expect("asked"), 0);
        app.stop().await;
    }
}
