//! Runs that wait behind another one end like others: cancelled, or when their time is over.

use std::time::Duration;

use runplane::kernel::Clock;
use serde_json::json;

use super::{BOTH, CREATE, agent, app, asker, begin, hold, kinds, ok, run, settled, tell, teller};
use crate::agents::id;
use crate::harness::app::{App, Options};
use crate::harness::databases::START;
use crate::harness::doors::Door;

#[tokio::test]
async fn one_that_waits_behind_is_cancelled_at_once_and_the_others_go_on() {
    for on in BOTH {
        let (_app, at) = app(on).await;
        let (asker, teller) = (agent(&at, asker()).await, agent(&at, teller()).await);
        let first = hold(&at, &asker).await;
        let (second, third) = (begin(&at, &teller, "b").await, begin(&at, &teller, "c").await);
        let gone = ok(&at, "RunsService/CancelRun", json!({"id": second})).await;
        assert_eq!(gone["status"], "cancelled");
        assert_eq!(kinds(&at, &second).await, ["run.created", "run.cancelling", "run.cancelled"]);
        assert_eq!(kinds(&at, &third).await.len(), 1, "it still waits for the first");
        tell(&at, &first, "yes").await;
        assert_eq!(settled(&at, &third).await["status"], "completed");
        assert_eq!(kinds(&at, &second).await.len(), 3, "a cancelled run never starts");
    }
}

#[tokio::test]
async fn the_one_that_goes_is_cancelled_and_the_next_goes() {
    for on in BOTH {
        let (_app, at) = app(on).await;
        let (asker, teller) = (agent(&at, asker()).await, agent(&at, teller()).await);
        let first = hold(&at, &asker).await;
        let second = begin(&at, &teller, "b").await;
        ok(&at, "RunsService/CancelRun", json!({"id": first["id"]})).await;
        let second = settled(&at, &second).await;
        assert_eq!(second["output"]["result"], "b", "nothing of the first was whole: {second}");
    }
}

#[tokio::test]
async fn one_that_waits_behind_ends_when_its_time_is_over() {
    for on in BOTH {
        let (config, clock) = ("[engine]\npoll_ms = 20".to_owned(), Clock::manual(START));
        let app = App::with(Options { on, config, clock, ..Options::default() }).await;
        let at = app.door(Door::Rest);
        let mut hasty = teller();
        hasty["timeout_seconds"] = json!(60);
        let mut patient = asker();
        patient["timeout_seconds"] = json!(86_400);
        let (asker, hasty) = (agent(&at, patient).await, agent(&at, hasty).await);
        let teller = agent(&at, teller()).await;
        let first = hold(&at, &asker).await;
        let (second, third) = (begin(&at, &hasty, "b").await, begin(&at, &teller, "c").await);
        app.advance(Duration::from_secs(59));
        assert_eq!(kinds(&at, &second).await, ["run.created"]);
        app.advance(Duration::from_secs(2));
        let second = settled(&at, &second).await;
        let why = (&second["status"], &second["incomplete_reason"]);
        assert_eq!(why, (&json!("incomplete"), &json!("timeout")), "{second}");
        let types = kinds(&at, &id(&second)).await;
        assert_eq!(types, ["run.created", "run.incomplete"], "it never began");
        tell(&at, &first, "yes").await;
        assert_eq!(settled(&at, &third).await["status"], "completed");
        let after = ok(&at, CREATE, run(&teller, "d")).await;
        assert_eq!(settled(&at, &id(&after)).await["status"], "completed");
    }
}
