//! Runs that ended long ago are removed with all that is kept of them, and no other.

use std::time::Duration;

use runplane::kernel::Clock;
use runplane::store::audit;
use sea_orm::{ConnectionTrait, Statement};
use serde_json::json;

use crate::agents::id;
use crate::conversations::{CREATE, agent, asker, begin, hold, ok, settled, status, tell, teller};
use crate::harness::app::{App, On, Options};
use crate::harness::databases::START;
use crate::harness::doors::Door;
use crate::idempotency::log::upkeep;

const DAY: Duration = Duration::from_secs(86_400);
const CONFIG: &str =
    "[retention]\nlive_days = 10\ntest_days = 0\n[limits]\nidempotency_hours = 8760";

/// Rows of all that is kept of runs.
async fn kept(app: &App) -> Vec<i64> {
    let mut counts = Vec::new();
    for table in ["runs", "run_events", "run_steps", "run_inbox", "run_labels"] {
        let conn = app.store.read();
        let sql = format!("SELECT count(*) FROM {table}");
        let statement = Statement::from_string(conn.get_database_backend(), sql);
        let row = conn.query_one_raw(statement).await.expect("counted").expect("a row");
        counts.push(row.try_get_by_index(0).expect("a number"));
    }
    counts
}

#[tokio::test]
async fn runs_are_removed_while_the_audit_log_is_linked() {
    let (config, clock) = (CONFIG.to_owned(), Clock::manual(START));
    let app = App::with(Options { on: On::Postgres, config, clock, ..Options::default() }).await;
    let at = app.door(Door::Rest);
    let teller = agent(&at, teller()).await;
    settled(&at, &begin(&at, &teller, "a").await).await;
    app.advance(DAY * 11);
    let mut upkeep = upkeep(&app);
    upkeep.retention.live_days = 10;
    let links = app.store.tx("test.link", move |tx| {
        let upkeep = upkeep.clone();
        Box::pin(async move {
            audit::link(tx, &upkeep.pepper).await?;
            upkeep.retain().await
        })
    });
    assert_eq!(links.await.expect("both"), 1);
    app.stop().await;
}

#[tokio::test]
async fn runs_are_removed_when_they_ended_longer_ago_than_they_are_kept() {
    for on in [On::Sqlite, On::Postgres] {
        let (config, clock) = (CONFIG.to_owned(), Clock::manual(START));
        let app = App::with(Options { on, config, clock, ..Options::default() }).await;
        let (at, test) = (app.door(Door::Rest), app.client(Door::Rest, &app.test_admin));
        let mut patient = asker();
        patient["timeout_seconds"] = json!(86_400);
        let (asker, teller) = (agent(&at, patient).await, agent(&at, teller()).await);
        let once = at.clone().with_header("idempotency-key", "once");
        let old = json!({"agent_id": teller, "input": "a", "metadata": {"a": "b", "c": "d"},
            "wait": 30});
        let old = (old.clone(), ok(&once, CREATE, old).await);
        let asked = hold(&at, &asker).await;
        tell(&at, &asked, "yes").await;
        settled(&at, &id(&asked)).await;
        // More than one transaction removes at first.
        for n in 0..12 {
            settled(&at, &begin(&at, &teller, &n.to_string()).await).await;
        }
        let theirs = agent(&test, crate::conversations::teller()).await;
        let theirs = begin(&test, &theirs, "x").await;
        settled(&test, &theirs).await;
        app.advance(DAY * 10 - Duration::from_secs(3600));
        let live = hold(&at, &asker).await;
        let young = begin(&at, &teller, "b").await;
        ok(&at, "RunsService/CancelRun", json!({"id": young})).await;
        let before = kept(&app).await;
        assert_eq!((before[0], before[3], before[4]), (17, 1, 2));

        let app = app.restart().await;
        assert_eq!(kept(&app).await, before, "nothing is old enough");
        app.advance(Duration::from_secs(7200));
        let app = app.restart().await;
        let at = app.door(Door::Rest);
        let gone = async {
            while kept(&app).await[0] > 3 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), gone).await.expect("they are removed");
        let after = kept(&app).await;
        assert_eq!((after[0], after[3], after[4]), (3, 0, 0), "of the others nothing is left");
        let get = json!({"id": old.1["id"]});
        let failure = at.call("RunsService/GetRun", get).await.expect_err("it is gone");
        assert_eq!(failure.code, "run_not_found");
        assert_eq!(status(&at, &young).await, "cancelled", "it ended later");
        assert_eq!(status(&at, &id(&live)).await, "requires_action", "it has not ended");
        let test = app.client(Door::Rest, &app.test_admin);
        assert_eq!(status(&test, &theirs).await, "completed", "test data is kept for ever");
        // A call that is known is answered as the first time, though its run is gone.
        let once = at.clone().with_header("idempotency-key", "once");
        assert_eq!(ok(&once, CREATE, old.0).await["id"], old.1["id"]);
        app.stop().await;
    }
}
