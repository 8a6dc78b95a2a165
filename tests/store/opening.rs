//! Opening: from nothing, again, twice at once, and on a schema from the future.

use std::time::Duration;

use runplane::kernel::{Clock, Reason};
use runplane::store::{Store, StoreConfig};
use sea_orm::ConnectionTrait;

use crate::harness::databases::{Database, postgres_place, sqlite_place};
use crate::on_both;

async fn opens_twice(config: StoreConfig) {
    let store = Store::open(&config, Clock::system()).await.expect("opens from nothing");
    assert!(store.is_ready().await);
    store.close().await;
    let again = Store::open(&config, Clock::system()).await.expect("opens again");
    let tables = again.read().execute_unprepared("SELECT run_id, epoch FROM run_queue").await;
    assert!(tables.is_ok());
    again.close().await;
}

#[tokio::test]
async fn an_empty_file_becomes_a_database() {
    let (config, _place) = sqlite_place();
    opens_twice(config).await;
}

#[tokio::test]
async fn an_empty_postgres_becomes_a_database() {
    let (config, _place) = postgres_place(None).await;
    opens_twice(config).await;
}

#[tokio::test]
async fn servers_that_start_at_once_agree_on_the_schema() {
    let (config, _place) = postgres_place(None).await;
    let opened = futures::future::join_all((0..4).map(|_| Store::open(&config, Clock::system())));
    for store in opened.await {
        store.expect("each opens").close().await;
    }
}

#[tokio::test]
async fn a_second_process_is_refused_the_file() {
    let db = Database::sqlite().await;
    let error = Store::open(&db.config, Clock::system()).await.expect_err("the file is taken");
    assert_eq!(error.reason, Reason::Unavailable);
    assert!(error.message.contains("is open in another process"), "{error}");
    db.store.close().await;
    Store::open(&db.config, Clock::system()).await.expect("the file is free").close().await;
}

#[tokio::test]
async fn a_url_of_another_kind_is_refused() {
    for url in ["mysql://localhost/x", "runplane.db", "", "sqlite::memory:"] {
        let config = StoreConfig { url: url.to_owned(), ..StoreConfig::default() };
        let error = Store::open(&config, Clock::system()).await.expect_err(url);
        assert_eq!(error.fact("field"), Some("store.url"), "{url}");
    }
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_told_as_unavailable() {
    let url = "postgres://runplane@localhost/x?host=/nowhere".to_owned();
    let config = StoreConfig { url, acquire_timeout_ms: 100, ..StoreConfig::default() };
    let opening = Store::open(&config, Clock::system());
    let opened = tokio::time::timeout(Duration::from_secs(30), opening).await;
    let error = opened.expect("gives up in time").expect_err("nobody is there");
    assert_eq!(error.reason, Reason::Unavailable);
}

on_both! {
    async fn a_schema_that_needs_a_newer_version_is_refused(db: Database) {
        let change = "INSERT INTO seaql_migrations (version, applied_at) VALUES ('m9999_wings', 0)";
        let needs = "UPDATE schema_needs SET change = 'm9999_wings'";
        db.store
            .tx("pretend", move |tx| Box::pin(async move {
                tx.execute_unprepared(change).await?;
                tx.execute_unprepared(needs).await?;
                Ok(())
            }))
            .await
            .expect("written");
        db.store.close().await;
        let error = Store::open(&db.config, Clock::system()).await.expect_err("too new");
        assert_eq!(error.reason, Reason::Unavailable);
        assert!(error.message.contains("m9999_wings"), "{error}");
    }

    async fn what_was_answered_is_there_after_opening_again(db: Database) {
        let mut db = db;
        let insert = "INSERT INTO lanes (project_id, environment, kind, cap) VALUES ";
        let nil = "'00000000-0000-0000-0000-000000000000'";
        let id = if db.store.is_exclusive() { "x'00'" } else { nil };
        let sql = format!("{insert} ({id}, 'test', 'run', 7)");
        db.store
            .tx("write", move |tx| {
                let sql = sql.clone();
                Box::pin(async move { Ok(tx.execute_unprepared(&sql).await.map(|_| ())?) })
            })
            .await
            .expect("written");
        db.reopen().await;
        let sql = "UPDATE lanes SET cap = 8 WHERE cap = 7";
        let changed = db
            .store
            .tx("count", move |tx| {
                Box::pin(async move { Ok(tx.execute_unprepared(sql).await?.rows_affected()) })
            })
            .await;
        assert_eq!(changed.expect("read"), 1);
    }

    async fn a_closed_store_answers_unavailable(db: Database) {
        db.store.close().await;
        let refused = db.store.tx("late", |_| Box::pin(async { Ok(()) })).await;
        assert_eq!(refused.expect_err("closed").reason, Reason::Unavailable);
    }
}
