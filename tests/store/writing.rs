//! Writing: jobs share commits, and never each other's failures.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use runplane::kernel::{Error, Reason};
use runplane::store::{Tx, is_unique_violation, tables::project};
use sea_orm::{ActiveModelTrait, ConnectionTrait, EntityTrait, PaginatorTrait, Set};
use tokio::sync::Barrier;
use uuid::Uuid;

use crate::harness::databases::Database;
use crate::on_both;

fn row(n: u128) -> project::ActiveModel {
    project::ActiveModel {
        id: Set(Uuid::from_u128(n)),
        name: Set(format!("p{n}")),
        signing_secret: Set("s".to_owned()),
        created_at: Set(0),
        ..Default::default()
    }
}

async fn insert(tx: &Tx, n: u128) -> Result<(), Error> {
    project::Entity::insert(row(n)).exec_without_returning(tx).await?;
    Ok(())
}

async fn names(db: &Database) -> Vec<String> {
    let rows = project::Entity::find().all(db.store.read()).await.expect("read");
    let mut names: Vec<String> = rows.into_iter().map(|row| row.name).collect();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_that_come_together_share_a_commit() {
    let db = Database::sqlite().await;
    let jobs = (0..100).map(|n| {
        let store = db.store.clone();
        tokio::spawn(async move { store.tx("one", move |tx| Box::pin(insert(tx, n))).await })
    });
    let jobs: Vec<_> = jobs.collect();
    for job in jobs {
        job.await.expect("no panic").expect("committed");
    }
    assert_eq!(project::Entity::find().count(db.store.read()).await.expect("read"), 100);
    assert!(db.store.commits() <= 50, "{} commits of 100 jobs", db.store.commits());
}

#[tokio::test]
async fn a_batch_is_never_larger_than_allowed() {
    let mut db = Database::sqlite().await;
    db.config.batch_jobs = 10;
    db.reopen().await;
    let jobs = (0..40).map(|n| db.store.tx("one", move |tx| Box::pin(insert(tx, n))));
    for outcome in futures::future::join_all(jobs).await {
        outcome.expect("committed");
    }
    assert_eq!(db.store.commits(), 4);
}

#[tokio::test]
async fn a_reader_cannot_write_to_the_file() {
    let db = Database::sqlite().await;
    let refused = row(1).insert(db.store.read()).await;
    assert!(refused.expect_err("read only").to_string().contains("readonly"));
}

#[tokio::test]
async fn closing_does_the_jobs_that_wait() {
    let mut db = Database::sqlite().await;
    let waiting: Vec<_> = (0..20)
        .map(|n| {
            let store = db.store.clone();
            tokio::spawn(async move { store.tx("one", move |tx| Box::pin(insert(tx, n))).await })
        })
        .collect();
    tokio::task::yield_now().await;
    db.store.close().await;
    let mut done = 0;
    for job in waiting {
        match job.await.expect("no panic") {
            Ok(()) => done += 1,
            Err(error) => assert_eq!(error.reason, Reason::Unavailable),
        }
    }
    assert!(done > 0, "the jobs had been queued");
    db.reopen().await;
    assert_eq!(names(&db).await.len(), done);
}

on_both! {
    async fn an_answer_is_seen_by_every_later_read(db: Database) {
        for n in 0..20 {
            db.store.tx("one", move |tx| Box::pin(insert(tx, n))).await.expect("committed");
            let found = project::Entity::find_by_id(Uuid::from_u128(n)).one(db.store.read()).await;
            assert!(found.expect("read").is_some(), "row {n}");
        }
    }

    async fn a_failing_job_leaves_its_neighbours_alone(db: Database) {
        let jobs = (0..30).map(|n| {
            db.store.tx("some", move |tx| Box::pin(async move {
                insert(tx, n).await?;
                if n % 3 == 0 { Err(Error::new(Reason::NameTaken, "no")) } else { Ok(n) }
            }))
        });
        for (n, outcome) in futures::future::join_all(jobs).await.into_iter().enumerate() {
            match outcome {
                Ok(_) => assert_ne!(n % 3, 0),
                Err(error) => assert_eq!((n % 3, error.reason), (0, Reason::NameTaken)),
            }
        }
        let expected = (0..30).filter(|n| n % 3 != 0).map(|n| format!("p{n}"));
        let mut expected: Vec<String> = expected.collect();
        expected.sort();
        assert_eq!(names(&db).await, expected);
    }

    async fn a_panicking_job_leaves_its_neighbours_alone(db: Database) {
        let jobs = (0..9).map(|n| {
            db.store.tx("some", move |tx| Box::pin(async move {
                insert(tx, n).await?;
                assert!(n % 3 != 0, "as planned");
                Ok(())
            }))
        });
        let outcomes = futures::future::join_all(jobs).await;
        let failed = outcomes.iter().filter_map(|outcome| outcome.as_ref().err());
        let reasons: Vec<Reason> = failed.map(|error| error.reason).collect();
        assert_eq!(reasons, [Reason::InternalError; 3]);
        assert_eq!(names(&db).await, ["p1", "p2", "p4", "p5", "p7", "p8"]);
    }

    async fn a_job_that_goes_on_after_a_failed_statement_is_undone(db: Database) {
        db.store.tx("one", |tx| Box::pin(insert(tx, 1))).await.expect("committed");
        let on = db.store.tx("on", |tx| Box::pin(async move {
            insert(tx, 2).await?;
            let _ = insert(tx, 1).await;
            Ok(())
        }));
        let after = db.store.tx("after", |tx| Box::pin(insert(tx, 3)));
        let (on, after) = tokio::join!(on, after);
        assert_eq!(on.expect_err("undone").reason, Reason::InternalError);
        after.expect("committed");
        assert_eq!(names(&db).await, ["p1", "p3"]);
    }

    async fn a_statement_that_fails_can_be_told_apart(db: Database) {
        db.store.tx("one", |tx| Box::pin(insert(tx, 1))).await.expect("committed");
        let twice = db.store.tx("two", |tx| Box::pin(async move {
            insert(tx, 2).await?;
            match project::Entity::insert(row(1)).exec_without_returning(tx).await {
                Err(error) if is_unique_violation(&error) => {
                    Err(Error::new(Reason::NameTaken, "taken"))
                }
                other => Ok(other.map(|_| ())?),
            }
        }));
        assert_eq!(twice.await.expect_err("taken").reason, Reason::NameTaken);
        let wrong = db.store.tx("three", |tx| Box::pin(async move {
            tx.execute_unprepared("SELECT nothing FROM nowhere").await?;
            Ok(())
        }));
        assert_eq!(wrong.await.expect_err("wrong").reason, Reason::InternalError);
        assert_eq!(names(&db).await, ["p1"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deadlock_is_done_again_by_itself() {
    let db = Database::postgres().await;
    for n in 1..=2 {
        db.store.tx("one", move |tx| Box::pin(insert(tx, n))).await.expect("committed");
    }
    let (tries, both) = (Arc::new(AtomicU32::new(0)), Arc::new(Barrier::new(2)));
    let lock = |first: u128, second: u128| {
        let (tries, both) = (Arc::clone(&tries), Arc::clone(&both));
        db.store.tx("cross", move |tx| {
            let (tries, both) = (Arc::clone(&tries), Arc::clone(&both));
            Box::pin(async move {
                take(tx, first).await?;
                let tried = tries.fetch_add(1, Ordering::SeqCst);
                wait_when(tried < 2, &both).await;
                take(tx, second).await
            })
        })
    };
    let (one, two) = tokio::join!(lock(1, 2), lock(2, 1));
    one.expect("committed in the end");
    two.expect("committed in the end");
    assert!(tries.load(Ordering::SeqCst) >= 3, "one of them was done again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_the_server_dropped_are_replaced() {
    let db = Database::postgres().await;
    let held = (0..8).map(|n| db.store.tx("one", move |tx| Box::pin(insert(tx, n))));
    futures::future::join_all(held).await.into_iter().for_each(|job| job.expect("committed"));
    let drop_all = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid()";
    db.store.read().execute_unprepared(drop_all).await.expect("dropped");
    for n in 10..20 {
        db.store.tx("one", move |tx| Box::pin(insert(tx, n))).await.expect("committed");
    }
}

async fn wait_when(condition: bool, both: &Barrier) {
    if condition {
        both.wait().await;
    }
}

async fn take(tx: &Tx, n: u128) -> Result<(), Error> {
    let sql = format!("UPDATE projects SET name = name || '+' WHERE id = '{}'", Uuid::from_u128(n));
    tx.execute_unprepared(&sql).await?;
    Ok(())
}
