//! The audit log: what was changed and who was refused stands in it, signed and chained, without a
//! secret; what is changed in it afterwards is found.

use runplane::cache::Bus;
use runplane::engine::{Engine, EngineConfig};
use runplane::kernel::Pepper;
use runplane::kernel::config::RetentionConfig;
use runplane::store::Store;
use runplane::upkeep::Upkeep;
use sea_orm::{ConnectionTrait, Statement};
use secrecy::SecretString;
use serde_json::{Value, json};

use crate::harness::app::{App, On, Options};
use crate::harness::doors::Door;
use crate::harness::process::Program;

/// The lines, oldest first.
pub async fn entries(app: &App) -> Vec<Value> {
    let read = app.store.read();
    let sql = "SELECT entry FROM audit_log ORDER BY at, id";
    let statement = Statement::from_string(read.get_database_backend(), sql);
    let rows = read.query_all_raw(statement).await.expect("the log");
    let entry = |row: &sea_orm::QueryResult| row.try_get_by_index::<String>(0).expect("an entry");
    let lines = rows.iter().map(|row| serde_json::from_str(&entry(row)).expect("JSON"));
    lines.filter(|line: &Value| line["action"] != "runplane/keys create").collect()
}

/// How many lines tell of keys made from the command line, as the app's own are.
async fn app_keys(app: &App) -> u64 {
    let read = app.store.read();
    let sql = "SELECT count(*) FROM audit_log WHERE entry LIKE '%runplane/keys create%'";
    let statement = Statement::from_string(read.get_database_backend(), sql);
    let row = read.query_one_raw(statement).await.expect("the log").expect("a count");
    row.try_get_by_index::<i64>(0).expect("a count").unsigned_abs()
}

/// The upkeep of another process on the same data.
pub fn upkeep(app: &App) -> Upkeep {
    let pepper = Pepper::new(SecretString::from("a pepper for tests, of no worth"));
    let (store, clock) = (app.store.clone(), app.clock.clone());
    let engine = Engine::new(store.clone(), Bus::memory(), clock.clone(), EngineConfig::default());
    Upkeep { store, pepper, clock, engine, retention: RetentionConfig::default() }
}

async fn execute(store: &Store, sql: &'static str) {
    let tampered = store.tx("tamper", move |tx| {
        Box::pin(async move {
            tx.execute_raw(Statement::from_string(tx.get_database_backend(), sql)).await?;
            Ok(())
        })
    });
    tampered.await.expect(sql);
}

async fn some_lines(on: On) -> App {
    let app = App::with(Options { on, ..Options::default() }).await;
    let admin = app.door(Door::Rest);
    for name in ["a", "b", "c"] {
        admin.call("KeysService/CreateKey", json!({ "name": name })).await.expect("a key");
    }
    upkeep(&app).link().await.expect("linked");
    app
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_says_who_what_and_from_where_and_no_secret() {
    let app = App::start().await;
    let admin = app.door(Door::Rest);
    let made = admin.answer("KeysService/CreateKey", json!({"name": "k"})).await.expect("a key");
    let id = made.body["id"].clone();
    let change = json!({"id": id, "key": {"name": "l"}, "update_mask": "name"});
    admin.call("KeysService/UpdateKey", change).await.expect("a change");
    let lines = entries(&app).await;
    let [first, second] = lines.as_slice() else { panic!("{lines:?}") };
    assert_eq!(first["action"], "KeysService/CreateKey");
    assert_eq!((&first["target"], &first["outcome"]), (&id, &json!("ok")));
    assert_eq!(first["scope"], "keys:write");
    assert_eq!(first["address"], "127.0.0.1");
    assert_eq!(first["request_id"].as_str(), made.headers.get("x-request-id").map(|id| &**id));
    assert!(first["key_id"].as_str().is_some_and(|id| id.starts_with("key_")), "{first}");
    assert_ne!(first["after"], second["after"]);
    assert!(first["before"].is_null() && second["before"] == first["after"], "{second}");
    let secret = made.body["secret"].as_str().expect("a secret");
    let text = format!("{lines:?}");
    assert!(!text.contains(&secret[8..]) && !text.contains(&app.admin[8..]), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_refused_is_written_down() {
    let app = App::start().await;
    let wrong = format!("{}x", &app.admin[..app.admin.len() - 1]);
    let list = async |key: &str, action: &str| {
        app.client(Door::Rest, key).call(action, json!({})).await.expect_err("refused").code
    };
    assert_eq!(list(&wrong, "AgentsService/ListAgents").await, "invalid_api_key");
    assert_eq!(list(&app.runner, "KeysService/ListKeys").await, "insufficient_scope");
    let lines = loop {
        let lines = entries(&app).await;
        if lines.len() == 2 {
            break lines;
        }
        tokio::task::yield_now().await;
    };
    let outcomes: Vec<_> = lines.iter().map(|line| (&line["outcome"], &line["action"])).collect();
    assert!(outcomes.contains(&(&json!("invalid_api_key"), &json!("AgentsService/ListAgents"))));
    assert!(outcomes.contains(&(&json!("insufficient_scope"), &json!("KeysService/ListKeys"))));
}

async fn found(on: On, tamper: &'static str, fault: &str) {
    let app = some_lines(on).await;
    let clean = upkeep(&app).verify().await.expect("checked");
    let (made, written) = (app_keys(&app).await, 3);
    assert_eq!((clean.lines, clean.faults.as_slice()), (made + written, &[][..]), "{clean:?}");
    assert!(upkeep(&app).has(&clean.head).await.expect("asked"));
    execute(&app.store, tamper).await;
    let checked = upkeep(&app).verify().await.expect("checked");
    let kept = upkeep(&app).has(&clean.head).await.expect("asked");
    let told = checked.faults.iter().any(|told| told.contains(fault));
    assert!(told || (fault == "cut" && !kept), "{tamper}: {checked:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_changed_in_the_log_is_found() {
    for on in [On::Sqlite, On::Postgres] {
        let changed = "UPDATE audit_log SET entry = REPLACE(entry, 'ok', 'no') WHERE seq = 2";
        found(on, changed, "not what was written").await;
        found(on, "DELETE FROM audit_log WHERE seq = 2", "1 lines are gone").await;
        let cut = "DELETE FROM audit_log WHERE seq = (SELECT max(seq) FROM audit_log)";
        found(on, cut, "cut").await;
        let moved = "UPDATE audit_log SET environment = 'test' WHERE seq = 7";
        found(on, moved, "not what was written").await;
        let swapped = "UPDATE audit_log SET mac = (SELECT mac FROM audit_log WHERE seq = 1),
            entry = (SELECT entry FROM audit_log WHERE seq = 1) WHERE seq = 3";
        found(on, swapped, "the chain is broken").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_of_many_writers_become_one_chain() {
    let app = App::with(Options { on: On::Postgres, ..Options::default() }).await;
    let linking = async {
        let (one, two) = (upkeep(&app), upkeep(&app));
        for _ in 0..20 {
            let (a, b) = tokio::join!(one.link(), two.link());
            a.and(b).expect("linked");
        }
    };
    let admin = app.door(Door::Rest);
    let writing =
        futures::future::join_all(
            (0..80).map(|n| {
                let admin = admin.clone();
                async move {
                    admin.call("KeysService/CreateKey", json!({"name": format!("k{n}")})).await
                }
            }),
        );
    let ((), made) = tokio::join!(linking, writing);
    assert!(made.iter().all(Result::is_ok));
    upkeep(&app).link().await.expect("linked");
    let checked = upkeep(&app).verify().await.expect("checked");
    let lines = 80 + app_keys(&app).await;
    assert_eq!((checked.lines, checked.faults.as_slice()), (lines, &[][..]), "{checked:?}");
    assert!(checked.head.starts_with(&format!("{lines}:")), "{}", checked.head);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_checks_the_log_and_a_head_that_was_kept() {
    let mut program = Program::new("");
    let api = program.start().await;
    let (status, key) = api.post("/v1/keys", &json!({"name": "k"})).await;
    assert_eq!(status, 201, "{key}");
    program.terminate();
    assert!(program.ended().await.success());
    let verify = async |more: &[&str]| {
        let output = program.command(&[&["audit", "verify"], more].concat()).await;
        (output.status.success(), String::from_utf8(output.stdout).expect("UTF-8"))
    };
    let (right, told) = verify(&[]).await;
    let head = told.trim().rsplit_once(' ').expect("a head").1;
    // The first key, and the one that it made.
    assert!(right && told.starts_with("2 lines; ") && head.starts_with("2:"), "{told}");
    assert!(verify(&["--head", head]).await.0, "the head is still part of the log");
    for other in [&head[..head.len() - 1], "3:00", "x"] {
        assert!(!verify(&["--head", other]).await.0, "{other}");
    }
}
