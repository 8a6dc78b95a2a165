//! Two versions on one database, one after the other: what a newer version has added does not stop
//! the one before it, what it has taken away does. `with:newer` and `with:newest` make the program
//! take itself for a version to come. Both at once, under load: `chaos/upgrades.rs`.

use std::time::{Duration, Instant};

use runplane::store;
use sea_orm::{ConnectionTrait, Database, TransactionTrait};
use serde_json::json;

use crate::harness::databases::{Place, postgres_place, sqlite_place};
use crate::harness::process::Program;
use runplane::store::StoreConfig;

/// An empty database of each kind.
async fn places() -> Vec<(StoreConfig, Place)> {
    vec![sqlite_place(), postgres_place(None).await]
}

fn program(config: &StoreConfig, faults: &str) -> Program {
    let mut program = Program::on(&config.url, "[auth]\npepper = 'shared'\n");
    faults.clone_into(&mut program.faults);
    program
}

async fn end(mut program: Program) {
    program.terminate();
    assert!(program.ended().await.success(), "{}", program.logged);
}

/// What a program says that does not start.
async fn refusal(program: &Program) -> String {
    let output = program.command(&["serve"]).await;
    assert!(!output.status.success());
    String::from_utf8(output.stderr).expect("UTF-8")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_version_before_comes_back_to_what_a_newer_one_has_added() {
    for (config, _place) in places().await {
        let mut newer = program(&config, "with:newer");
        let api = newer.start().await;
        let agent =
            json!({"name": "echo", "model": "sim", "sim": {"turns": [{"text": "{{ input }}"}]}});
        let agent_id = api.agent(&agent).await;
        end(newer).await;
        let mut before = program(&config, "");
        let api = before.start_with(&api.key).await;
        let run_id = api.start(&agent_id, &json!("hello")).await;
        assert_eq!(api.settled(&run_id).await["output"]["result"], "hello");
        before.logged.with("a newer version has changed the database", 1).await;
        end(before).await;
        // And the newer one goes on, with nothing left to change.
        let mut newer = program(&config, "with:newer");
        let api = newer.start_with(&api.key).await;
        assert_eq!(api.settled(&run_id).await["status"], "completed");
        end(newer).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_that_a_newer_one_has_left_behind_does_not_start() {
    for (config, _place) in places().await {
        let mut newest = program(&config, "with:newest");
        newest.start().await;
        end(newest).await;
        let told = refusal(&program(&config, "")).await;
        assert!(told.contains("the database has the change newer"), "{told}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_may_not_migrate_waits_for_who_may() {
    for (config, _place) in places().await {
        let mut waits = Program::on(&config.url, "[store]\nmigrate = false\n[auth]\npepper = 'x'");
        let told = refusal(&waits).await;
        assert!(told.contains("m0001_projects_and_keys"), "{told}");
        assert!(told.contains("run `runplane migrate`"), "{told}");
        let pending = store::pending(&config).await.expect("an answer");
        assert_eq!(store::migrate(&config).await.expect("it is changed"), pending);
        assert!(pending.len() > 5, "{pending:?}");
        assert!(store::pending(&config).await.expect("an answer").is_empty());
        assert!(store::migrate(&config).await.expect("nothing to do").is_empty());
        waits.start().await;
        // Asked beside a process that is at work.
        assert!(store::pending(&config).await.expect("an answer").is_empty());
        end(waits).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_waits_for_a_long_reader_and_nobody_waits_behind_it() {
    let (config, _place) = postgres_place(None).await;
    store::migrate(&config).await.expect("the schema");
    let database = Database::connect(&config.url).await.expect("a connection");
    let reader = database.begin().await.expect("a transaction");
    reader.execute_unprepared("SELECT count(*) FROM runs").await.expect("an answer");
    let mut newer = program(&config, "with:newer");
    let logged = newer.logged_from_the_start();
    let other = async {
        logged.with("the tables are in use", 2).await;
        // It wants the table for itself, and has given way.
        let mut slowest = Duration::ZERO;
        for _ in 0..20 {
            let begun = Instant::now();
            database.execute_unprepared("SELECT count(*) FROM runs").await.expect("an answer");
            slowest = slowest.max(begun.elapsed());
        }
        assert!(slowest < Duration::from_secs(2), "{slowest:?}");
        reader.commit().await.expect("it ends");
    };
    let (api, ()) = tokio::join!(newer.start(), other);
    assert_eq!(api.get("/readyz").await.0, 200);
    end(newer).await;
}
