//! A crash at any commit: the next claim goes on from there and repeats nothing that is journaled.

use runplane::engine::attempt::{Commit, Outcome, StepStatus, Submitted};
use runplane::kernel::ids::{self, Kind};
use serde_json::{Value, json};

use super::ledger::{Bench, Ledger, completed};
use super::tool_server::{Reply, ToolServer};

/// Three rounds with five tool calls, one of them the caller's.
fn agent(server: &ToolServer) -> Value {
    json!({
        "instructions": "Add up.",
        "tools": [
            server.tool("one", "/one"), server.tool("two", "/two"),
            {"name": "ask", "handler": {"kind": "client", "deadline_seconds": 60}}
        ],
        "sim": {"turns": [
            {"text": "First.", "tool_calls": [{"name": "one"}, {"name": "two"}, {"name": "gone"}]},
            {"text": "Then.", "tool_calls": [{"name": "one"}, {"name": "ask"}]},
            {"text": "{{ tools.one.n }} {{ tools.two.n }} {{ tools.ask }} {{ turn }}"}
        ]}
    })
}

async fn server() -> ToolServer {
    let reply = |n: i32| vec![Reply::Json(json!({ "n": n }))];
    ToolServer::start(vec![("/one", reply(1)), ("/two", reply(2))]).await
}

/// Drives to the end, handing over what the run waits for.
async fn to_the_end(bench: &mut Bench, ledger: &std::sync::Arc<Ledger>) -> Value {
    loop {
        match bench.claim(ledger).await {
            Outcome::Park(_, pending) => {
                for call in pending {
                    let output = Submitted { output: json!("me"), is_error: false };
                    bench.inbox.insert(call.id, output);
                }
                bench.number += 1;
            }
            outcome => return completed(&outcome),
        }
    }
}

#[tokio::test]
async fn a_crash_at_any_commit_changes_nothing_but_what_was_in_flight() {
    let first_server = server().await;
    let mut bench = Bench::new(agent(&first_server), json!("go"));
    let whole = Ledger::of(Vec::new(), None);
    let result = to_the_end(&mut bench, &whole).await;
    assert_eq!(result, json!("1 2 me 2"));
    let commits = whole.commits();
    assert!(commits.len() > 5, "{}", commits.len());

    for cut in 0..=commits.len() {
        let told = format!("cut at {cut}");
        goes_on(&bench, commits[..cut].to_vec(), &result, &told).await;
        // A process that stops ends its steps and begins none; what ends nothing is not written.
        if let Some(next) = commits.get(cut).filter(|next| !next.finished.is_empty()) {
            let mut drained = commits[..cut].to_vec();
            drained.push(Commit { intents: Vec::new(), ..next.clone() });
            goes_on(&bench, drained, &result, &format!("drained at {cut}")).await;
        }
    }
}

/// Another claim goes on after these commits, to the same result, and repeats nothing.
async fn goes_on(first: &Bench, commits: Vec<Commit>, result: &Value, told: &str) {
    let server = server().await;
    let mut bench = Bench::new(agent(&server), json!("go"));
    bench.run.run_id = first.run.run_id;
    bench.number = 7;
    bench.inbox = first.inbox.clone();
    let ledger = Ledger::of(commits, None);
    let before = ledger.history();
    assert_eq!(to_the_end(&mut bench, &ledger).await, *result, "{told}");

    // Rows that had ended are as they were; the ledger itself refuses to begin or end one again.
    let after = ledger.history();
    for row in before.iter().filter(|row| row.status != StepStatus::Started) {
        let now = after.iter().find(|other| (other.step, other.call) == (row.step, row.call));
        assert_eq!(now.map(|row| &row.result), Some(&row.result), "{told}");
    }
    // What had ended was not called; what was in flight was called with the same key.
    let run = ids::format(Kind::Run, bench.run.run_id);
    let ended = |step: i32, call: i32| {
        let ended = before.iter().filter(|row| row.status != StepStatus::Started);
        ended.into_iter().any(|row| (row.step, row.call) == (step, call))
    };
    let expected: Vec<String> = [(0, 1), (0, 2), (1, 1)]
        .into_iter()
        .filter(|(step, call)| !ended(*step, *call))
        .map(|(step, call)| format!("{run}/{step}/{call}"))
        .collect();
    let mut keys: Vec<String> =
        server.called().iter().map(|c| c.header("idempotency-key").to_owned()).collect();
    keys.sort();
    assert_eq!(keys, expected, "{told}");
    // Each message and each request is told once.
    let told_once = |start: &str| ledger.types().iter().filter(|n| n.starts_with(start)).count();
    assert_eq!((told_once("step"), told_once("tool.requested")), (10, 5), "{told}");
}

#[tokio::test]
async fn a_call_in_flight_is_sent_again_with_the_same_key() {
    let server =
        ToolServer::start(vec![("/one", vec![Reply::Silence, Reply::Json(json!(1))])]).await;
    let agent = json!({
        "tools": [server.tool("one", "/one")],
        "sim": {"turns": [{"tool_calls": [{"name": "one"}]}, {"text": "{{ result }}"}]}
    });
    let mut bench = Bench::new(agent, json!("go"));
    let ledger = Ledger::of(Vec::new(), None);
    tokio::select! {
        outcome = bench.claim(&ledger) => panic!("{outcome:?}"),
        () = server.arrivals(1) => {} // the worker dies here
    }
    bench.number = 2;
    assert_eq!(completed(&bench.claim(&ledger).await), json!("1"));
    let called = server.called();
    let keys: Vec<&str> = called.iter().map(|call| call.header("idempotency-key")).collect();
    assert!(keys.len() == 2 && keys[0] == keys[1] && keys[0].ends_with("/0/1"), "{keys:?}");
    let attempts: Vec<&str> = called.iter().map(|call| call.header("x-agent-attempt")).collect();
    assert_eq!(attempts, ["1", "2"]);
    assert_eq!(ledger.event("tool.completed")["attempts"], 2);
}

#[tokio::test]
async fn a_call_that_may_be_made_once_is_not_sent_again() {
    let server = ToolServer::start(vec![("/pay", vec![Reply::Silence])]).await;
    let mut tool = server.tool("pay", "/pay");
    tool["handler"]["delivery"] = json!("at_most_once");
    let agent = json!({
        "tools": [tool],
        "sim": {"turns": [{"tool_calls": [{"name": "pay"}]}, {"text": "{{ result.error.code }}"}]}
    });
    let bench = Bench::new(agent, json!("go"));
    let ledger = Ledger::of(Vec::new(), None);
    tokio::select! {
        outcome = bench.claim(&ledger) => panic!("{outcome:?}"),
        () = server.arrivals(1) => {}
    }
    assert_eq!(completed(&bench.claim(&ledger).await), json!("outcome_unknown"));
    assert_eq!(server.called().len(), 1);
    assert_eq!(ledger.history()[1].status, StepStatus::Unknown);
    assert_eq!(ledger.event("tool.failed")["attempts"], 1);
}

#[tokio::test]
async fn a_model_call_in_flight_is_made_again_as_another_message() {
    let agent = json!({"sim": {"turns": [{"text": "Hello there."}]}});
    let bench = Bench::new(agent, json!("go"));
    let (_, whole) = bench.drive().await;
    let ledger = Ledger::of(whole.commits()[..1].to_vec(), None);
    let before = ledger.history().remove(0).request;
    assert_eq!(completed(&bench.claim(&ledger).await), json!("Hello there."));
    let row = ledger.history().remove(0);
    assert_eq!((row.attempt, &row.request["iteration_id"]), (2, &before["iteration_id"]));
    assert_ne!(row.request["message_id"], before["message_id"]);
    assert_eq!(ledger.tokens()[0].0, row.request["message_id"]);
}
