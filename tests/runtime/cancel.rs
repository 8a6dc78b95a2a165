//! Cancelling and running out of time: what is in flight is dropped at once.

use std::time::Duration;

use runplane::engine::attempt::{Outcome, StepStatus};
use serde_json::{Value, json};

use super::ledger::{Bench, Ledger};
use super::tool_server::{Reply, ToolServer};

fn slow(text: &str) -> Value {
    json!({"sim": {"turns": [{"text": text, "delay_ms": 60_000}]}})
}

#[tokio::test(start_paused = true)]
async fn a_cancel_drops_the_model_call() {
    let bench = Bench::new(slow("never"), json!("x"));
    let (cancel, ledger) = (bench.cancel.clone(), Ledger::of(Vec::new(), None));
    let (outcome, ()) = tokio::join!(bench.claim(&ledger), async {
        tokio::task::yield_now().await;
        cancel.cancel();
    });
    assert!(matches!(&outcome, Outcome::Cancelled(calls) if calls.is_empty()), "{outcome:?}");
    assert_eq!(ledger.history()[0].status, StepStatus::Started);
}

#[tokio::test]
async fn a_cancel_drops_the_calls_in_flight_and_names_them() {
    let replies = vec![("/slow", vec![Reply::Silence]), ("/quick", vec![Reply::Json(json!(1))])];
    let server = ToolServer::start(replies).await;
    let agent = json!({
        "tools": [server.tool("slow", "/slow"), server.tool("quick", "/quick")],
        "sim": {"turns": [{"tool_calls": [{"name": "slow"}, {"name": "quick"}]}, {"text": "Done."}]}
    });
    let bench = Bench::new(agent, json!("go"));
    let (cancel, ledger) = (bench.cancel.clone(), Ledger::of(Vec::new(), None));
    let (outcome, ()) = tokio::join!(bench.claim(&ledger), async {
        server.arrivals(2).await;
        while ledger.commits().len() < 3 {
            tokio::task::yield_now().await;
        }
        cancel.cancel();
    });
    let Outcome::Cancelled(dropped) = outcome else { panic!("{outcome:?}") };
    let slow = ledger.events().into_iter().find(|(_, data)| data["tool"] == "slow");
    assert_eq!(json!(dropped), json!([slow.expect("requested").1["id"]]));
    assert_eq!(ledger.event("tool.completed")["tool"], "quick");
}

#[tokio::test(start_paused = true)]
async fn a_run_ends_at_its_deadline() {
    let mut agent = slow("never");
    agent["timeout_seconds"] = json!(10);
    let started = tokio::time::Instant::now();
    let (outcome, _) = Bench::new(agent, json!("x")).drive().await;
    assert!(matches!(outcome, Outcome::Incomplete(_, "timeout", None)), "{outcome:?}");
    assert_eq!(started.elapsed().as_secs(), 10);
}

#[tokio::test(start_paused = true)]
async fn a_model_call_ends_at_its_own_timeout() {
    let mut agent = slow("never");
    agent["model_settings"] = json!({"timeout_seconds": 5});
    let (outcome, _) = Bench::new(agent, json!("x")).drive().await;
    let Outcome::Failed(_, code, message) = outcome else { panic!("{outcome:?}") };
    assert_eq!(
        (code.as_str(), message.as_str()),
        ("model_error", "the model gave no answer in 5 seconds")
    );
}

#[tokio::test(start_paused = true)]
async fn a_scripted_model_keeps_its_rate() {
    let words = "w ".repeat(20);
    let turn = json!({"text": words.trim_end(), "delay_ms": 500});
    let agent = json!({"sim": {"tokens_per_second": 10, "turns": [turn]}});
    let started = tokio::time::Instant::now();
    let (_, ledger) = Bench::new(agent, json!("x")).drive().await;
    assert_eq!(ledger.tokens().len(), 20);
    let took = started.elapsed();
    assert!(took >= Duration::from_millis(2400) && took < Duration::from_millis(2500), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_scripted_model_without_a_rate_takes_no_time() {
    let agent = json!({"sim": {"turns": [{"text": "w ".repeat(5000)}]}});
    let started = tokio::time::Instant::now();
    let (_, ledger) = Bench::new(agent, json!("x")).drive().await;
    assert!(ledger.tokens().len() >= 5000);
    assert_eq!(started.elapsed(), Duration::ZERO);
}
