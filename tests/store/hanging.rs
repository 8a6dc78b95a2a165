//! A process that hangs in the middle of a transaction: the rows that it holds come free, whether
//! its connection does or not.

use std::sync::Arc;
use std::time::Duration;

use runplane::kernel::Reason;
use sea_orm::ConnectionTrait;
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::harness::databases::Database;

const WRITE: &str = "UPDATE lanes SET last_served_at = last_served_at + 1";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_a_hanging_transaction_holds_come_free() {
    let db = Database::postgres().await;
    let make = db.store.tx("test.make", |tx| {
        Box::pin(async move {
            let sql = "INSERT INTO lanes (project_id, environment, kind, cap)
                VALUES ('00000000-0000-0000-0000-000000000001', 'live', 'run', 1)";
            Ok(tx.execute_unprepared(sql).await.map(drop)?)
        })
    });
    make.await.expect("a lane");
    let (held, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (store, tells, waits) = (db.store.clone(), Arc::clone(&held), Arc::clone(&go));
    let hanging = tokio::spawn(async move {
        let hang = store.tx("test.hang", move |tx| {
            let (held, go) = (Arc::clone(&tells), Arc::clone(&waits));
            Box::pin(async move {
                tx.execute_unprepared(WRITE).await?;
                held.notify_one();
                go.notified().await;
                Ok(tx.execute_unprepared(WRITE).await.map(drop)?)
            })
        });
        hang.await
    });
    held.notified().await;
    let other = db.store.tx("test.other", |tx| {
        Box::pin(async move { Ok(tx.execute_unprepared(WRITE).await.map(drop)?) })
    });
    let done = timeout(Duration::from_secs(30), other).await.expect("the row comes free");
    done.expect("written");
    go.notify_one();
    let error = hanging.await.expect("no panic").expect_err("it was given up");
    assert_eq!(error.reason, Reason::Unavailable, "{error:?}");
}
