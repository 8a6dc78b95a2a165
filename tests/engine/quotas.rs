//! Runs and tokens of a month, of an owner and of a key: counted with the creation and the end,
//! never more than the quota.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use runplane::engine::attempt::{Commit, Outcome, Usage};
use runplane::engine::{Created, OnLimit, RunLimits, Status, Until};
use runplane::kernel::plan::Quota;
use runplane::kernel::{Environment, Error, Month, Reason, Result, Scope, Timestamp};
use runplane::store::usage::{self, Owner, Used};
use sea_orm::{ConnectionTrait, Statement};
use tokio::sync::Notify;
use uuid::Uuid;

use super::rig::{LONG, Rig, SCOPE, driver, instant, park};
use crate::on_all;

const KEY: Uuid = Uuid::from_u128(0xa);
const OTHER_KEY: Uuid = Uuid::from_u128(0xb);

fn runs(most: u64) -> Quota {
    Quota { runs: Some(most), tokens: None }
}

fn tokens(most: u64) -> Quota {
    Quota { runs: None, tokens: Some(most) }
}

async fn begin(rig: &Rig, scope: Scope, key_id: Uuid) -> Result<Created> {
    let mut new = rig.new_run();
    new.key_id = Some(key_id);
    rig.engine.create(scope, new).await
}

async fn used(rig: &Rig, owner: Owner, month: Month) -> Used {
    usage::used(rig.db.store.read(), owner, month).await.expect("read")
}

async fn project(rig: &Rig) -> Used {
    used(rig, Owner::Project(SCOPE), Month::of(rig.db.clock.now())).await
}

/// What a refusal says: of whom, of what, how much, how much of it was used, and when to come back.
fn facts(error: &Error) -> [&str; 5] {
    assert_eq!(error.reason, Reason::QuotaExceeded);
    ["of", "quota", "limit", "used", "retry_after_s"].map(|name| error.fact(name).expect(name))
}

/// Rows that creations write.
async fn rows(rig: &Rig) -> i64 {
    let sql = "SELECT (SELECT count(*) FROM runs) + (SELECT count(*) FROM run_queue)
        + (SELECT count(*) FROM run_events) + (SELECT count(*) FROM usage_months)";
    number(rig, sql).await
}

/// Transactions that wait for a lock.
async fn waiting(rig: &Rig) -> i64 {
    let sql = "SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND wait_event_type = 'Lock'";
    number(rig, sql).await
}

async fn number(rig: &Rig, sql: &str) -> i64 {
    let conn = rig.db.store.read();
    let statement = Statement::from_string(conn.get_database_backend(), sql);
    let row = conn.query_one_raw(statement).await.expect("counted").expect("a row");
    row.try_get_by_index(0).expect("a number")
}

/// The clock stands at 2025-06-15T15:06:40Z: so many seconds before July.
const LEFT_S: u64 = 15 * 86_400 + 32_000;

on_all! {
    async fn of_many_at_once_as_many_runs_are_created_as_the_quota_has(db: Database) {
        let mut rig = Rig::new(db).await;
        (rig.limits.quota, rig.limits.key_quota) = (runs(7), runs(5));
        let creations = (0..40).map(|i| {
            begin(&rig, SCOPE, if i % 2 == 0 { KEY } else { OTHER_KEY })
        });
        let (taken, refused): (Vec<_>, Vec<_>) =
            join_all(creations).await.into_iter().partition(Result::is_ok);
        assert_eq!((taken.len(), refused.len()), (7, 33));
        assert_eq!(project(&rig).await, Used { runs: 7, tokens: 0 });
        let month = Month::of(rig.db.clock.now());
        let mut keys = 0;
        for key in [KEY, OTHER_KEY] {
            let used = used(&rig, Owner::Key(key), month).await;
            assert!(used.runs <= 5, "{used:?}");
            keys += used.runs;
        }
        assert_eq!(keys, 7);
        // A run, its place in the queue and its event; and who has used what.
        assert_eq!(rows(&rig).await, 7 * 3 + 3, "the refused left nothing");
        for refused in refused {
            let error = refused.expect_err("refused");
            let left = LEFT_S.to_string();
            let [of, quota, limit, used, retry] = facts(&error);
            assert_eq!((quota, retry), ("runs_per_month", &*left));
            assert!([("project", "7", "7"), ("key", "5", "5")].contains(&(of, limit, used)));
        }
    }

    async fn a_month_later_there_is_a_quota_again(db: Database) {
        let mut rig = Rig::new(db).await;
        rig.limits.quota = runs(1);
        begin(&rig, SCOPE, KEY).await.expect("the first");
        let refused = begin(&rig, SCOPE, KEY).await.expect_err("the second");
        assert_eq!(facts(&refused), ["project", "runs_per_month", "1", "1", &LEFT_S.to_string()]);
        rig.db.clock.advance(Duration::from_secs(LEFT_S) - Duration::from_micros(1));
        let refused = begin(&rig, SCOPE, KEY).await.expect_err("still June");
        assert_eq!(refused.fact("retry_after_s"), Some("1"));
        rig.db.clock.advance(Duration::from_micros(1));
        begin(&rig, SCOPE, KEY).await.expect("July");
        let refused = begin(&rig, SCOPE, KEY).await.expect_err("the second of July");
        assert_eq!(refused.fact("retry_after_s"), Some(&*(31 * 86_400).to_string()));
    }

    async fn tokens_are_counted_when_a_run_ends_and_stop_the_next(db: Database) {
        let mut rig = Rig::new(db).await;
        (rig.limits.quota, rig.limits.key_quota) = (tokens(20), tokens(1000));
        let worker = rig.work(instant());
        let first = begin(&rig, SCOPE, KEY).await.expect("created").run_id;
        assert_eq!(rig.ended(first).await, Status::Completed);
        assert_eq!(project(&rig).await, Used { runs: 1, tokens: 15 });
        worker.stop().await;
        // Both begin while there is something left; both may end.
        let both = [begin(&rig, SCOPE, KEY).await, begin(&rig, SCOPE, KEY).await];
        let worker = rig.work(instant());
        for run in both {
            assert_eq!(rig.ended(run.expect("created").run_id).await, Status::Completed);
        }
        let left = LEFT_S.to_string();
        let refused = begin(&rig, SCOPE, KEY).await.expect_err("used up");
        assert_eq!(facts(&refused), ["project", "tokens_per_month", "20", "45", &left]);
        let month = Month::of(rig.db.clock.now());
        let key = used(&rig, Owner::Key(KEY), month).await;
        assert_eq!(key, Used { runs: 3, tokens: 45 });
        rig.limits.quota = Quota::default();
        rig.limits.key_quota = tokens(45);
        let refused = begin(&rig, SCOPE, KEY).await.expect_err("the key's are used up");
        assert_eq!(facts(&refused), ["key", "tokens_per_month", "45", "45", &left]);
        begin(&rig, SCOPE, OTHER_KEY).await.expect("another key");
        worker.stop().await;
    }

    async fn tokens_count_in_the_month_that_the_run_was_created_in(db: Database) {
        let mut rig = Rig::new(db).await;
        rig.limits.quota = tokens(100);
        let june = Month::of(rig.db.clock.now());
        rig.db.clock.advance(Duration::from_secs(LEFT_S - 1));
        let run = begin(&rig, SCOPE, KEY).await.expect("created").run_id;
        rig.db.clock.advance(Duration::from_secs(1));
        let worker = rig.work(instant());
        assert_eq!(rig.ended(run).await, Status::Completed);
        assert_eq!(project(&rig).await, Used::default());
        let in_june = used(&rig, Owner::Project(SCOPE), june).await;
        assert_eq!(in_june, Used { runs: 1, tokens: 15 });
        worker.stop().await;
    }

    async fn tokens_count_however_the_run_ends(db: Database) {
        let mut rig = Rig::new(db).await;
        rig.limits.quota = tokens(1_000_000);
        let spent = |input_tokens| Commit {
            usage: Usage { input_tokens, output_tokens: 1, model_calls: 1, tool_calls: 0 },
            ..Commit::default()
        };
        let worker = rig.work(driver(move |attempt| async move {
            attempt.journal.commit(spent(9)).await.expect("committed");
            match attempt.run.parameters.get("end").and_then(|end| end.as_str()) {
                Some("failed") => Outcome::Failed(spent(9), "c".to_owned(), "m".to_owned()),
                Some("incomplete") => Outcome::Incomplete(spent(9), "max_steps", None),
                _ => park(&attempt, &["call_1"]),
            }
        }));
        let mut all = Vec::new();
        for end in ["failed", "incomplete", "cancelled", "expired"] {
            let mut new = rig.new_run();
            new.parameters.insert("end".to_owned(), end.into());
            all.push(rig.engine.create(SCOPE, new).await.expect("created").run_id);
        }
        assert_eq!(rig.ended(all[0]).await, Status::Failed);
        assert_eq!(rig.ended(all[1]).await, Status::Incomplete);
        rig.wait_for(all[2..].iter().copied(), Status::RequiresAction).await;
        assert_eq!(project(&rig).await, Used { runs: 4, tokens: 40 });
        rig.engine.cancel(SCOPE, all[2]).await.expect("cancelled");
        assert_eq!(project(&rig).await, Used { runs: 4, tokens: 50 });
        rig.db.clock.advance(Duration::from_secs(61));
        assert_eq!(rig.ended(all[3]).await, Status::Expired);
        assert_eq!(project(&rig).await, Used { runs: 4, tokens: 60 });
        worker.stop().await;
    }

    async fn what_has_no_quota_is_not_counted(db: Database) {
        let mut rig = Rig::new(db).await;
        let worker = rig.work(instant());
        let run = begin(&rig, SCOPE, KEY).await.expect("created").run_id;
        rig.ended(run).await;
        assert_eq!(project(&rig).await, Used::default());
        // Another environment of the project has its own; the key's quota counts for the key alone.
        rig.limits.key_quota = runs(10);
        let live = Scope { environment: Environment::Live, ..SCOPE };
        begin(&rig, live, KEY).await.expect("created");
        rig.limits.quota = runs(10);
        begin(&rig, live, KEY).await.expect("created");
        assert_eq!(project(&rig).await, Used::default());
        let month = Month::of(rig.db.clock.now());
        assert_eq!(used(&rig, Owner::Project(live), month).await.runs, 1);
        assert_eq!(used(&rig, Owner::Key(KEY), month).await.runs, 2);
        worker.stop().await;
    }

    async fn a_quota_of_nothing_lets_nothing_begin(db: Database) {
        let mut rig = Rig::new(db).await;
        for quota in [runs(0), tokens(0)] {
            rig.limits.quota = quota;
            let refused = begin(&rig, SCOPE, KEY).await.expect_err("nothing");
            assert_eq!(facts(&refused)[2..4], ["0", "0"]);
        }
        assert_eq!(rows(&rig).await, 0);
        rig.limits.quota = Quota { runs: Some(u64::MAX), tokens: Some(u64::MAX) };
        begin(&rig, SCOPE, KEY).await.expect("anything");
    }

    async fn a_project_is_counted_before_its_key_when_a_run_begins_and_when_it_ends(db: Database) {
        if db.store.is_exclusive() {
            return;
        }
        let mut rig = Rig::new(db).await;
        (rig.limits.quota, rig.limits.key_quota) = (runs(10), runs(10));
        begin(&rig, SCOPE, KEY).await.expect("the rows are there");
        let (held, asked) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (tell, go) = (Arc::clone(&held), Arc::clone(&asked));
        let holding = rig.db.store.tx("test.hold", move |tx| {
            let (tell, go) = (Arc::clone(&tell), Arc::clone(&go));
            Box::pin(async move {
                let hold = "UPDATE usage_months SET runs = runs WHERE environment <> ''";
                tx.execute_unprepared(hold).await?;
                tell.notify_one();
                go.notified().await;
                // Who waits for the project holds the key as little as anything else.
                let key = "SELECT 1 FROM usage_months WHERE environment = '' FOR UPDATE NOWAIT";
                tx.execute_unprepared(key).await?;
                Ok(())
            })
        });
        let others = async {
            held.notified().await;
            let worker = rig.work(instant());
            let counting = async { begin(&rig, SCOPE, KEY).await.expect("created").run_id };
            let (run, ()) = tokio::join!(counting, async {
                while waiting(&rig).await < 2 {
                    tokio::task::yield_now().await;
                }
                asked.notify_one();
            });
            assert_eq!(rig.ended(run).await, Status::Completed);
            worker.stop().await;
        };
        let both = async { tokio::join!(holding, others) };
        let (free, ()) = tokio::time::timeout(LONG, both).await.expect("nobody waits for ever");
        free.expect("the key is free");
    }

    async fn creations_and_ends_that_count_never_block_each_other(db: Database) {
        let mut rig = Rig::new(db).await;
        rig.limits = RunLimits {
            lane_runs: 500,
            key_runs: Some(300),
            quota: Quota { runs: Some(1000), tokens: Some(1_000_000) },
            key_quota: Quota { runs: Some(1000), tokens: Some(1_000_000) },
            on_limit: OnLimit::Reject,
            ..RunLimits::lane(500)
        };
        let worker = rig.work(instant());
        // Two keys in two lanes each, as organisations' keys may be.
        let lanes = [SCOPE, Scope { project: Uuid::from_u128(2), ..SCOPE }];
        let creations = (0..200).map(|i| {
            let key = if i / 2 % 2 == 0 { KEY } else { OTHER_KEY };
            let scope = lanes[i % 2];
            let created = begin(&rig, scope, key);
            async move { (scope, created.await.expect("created").run_id) }
        });
        for (scope, run) in join_all(creations).await {
            let status = rig.engine.wait(scope, run, LONG, Until::Terminal).await.expect("waited");
            assert_eq!(status, Status::Completed);
        }
        let month = Month::of(rig.db.clock.now());
        for owner in [Owner::Project(lanes[0]), Owner::Project(lanes[1]), Owner::Key(KEY)] {
            assert_eq!(used(&rig, owner, month).await, Used { runs: 100, tokens: 1500 });
        }
        worker.stop().await;
    }
}

#[test]
fn the_clock_of_the_tests_stands_in_june() {
    let month = Month::of(crate::harness::databases::START);
    assert_eq!(month.to_string(), "2025-06");
    let end = Timestamp(crate::harness::databases::START.0 + LEFT_S as i64 * 1_000_000);
    assert_eq!(month.end(), end);
}
