//! The ends of a run that are not its own: cancelled in each of its states, out of time, out of
//! steps, or left without the output of its caller.

use serde_json::{Value, json};

use super::drain::holding;
use super::tools::{End, Tools};
use crate::harness::process::{Api, Program};

/// An agent that asks its caller.
fn asking(deadline_seconds: u32) -> Value {
    json!({
        "name": "asker", "model": "sim",
        "tools": [{"name": "ask", "client": {"deadline_seconds": deadline_seconds}}],
        "sim": {"turns": [{"tool_calls": [{"name": "ask"}]}, {"text": "You said {{ result }}."}]}
    })
}

/// An agent whose only answer takes a quarter of an hour.
fn slow() -> Value {
    let turns = json!([{"text": "word ".repeat(1000)}]);
    json!({"name": "slow", "model": "sim", "sim": {"tokens_per_second": 1, "turns": turns}})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_is_cancelled_in_any_state_and_only_once() {
    let (tools, mut program) =
        (Tools::start().await, Program::new("[engine]\nconcurrent_runs = 1"));
    let api = program.start().await;
    let agents = [holding(&tools), asking(600), slow()];
    let [holder, asker, slow] = &agents;
    let asks = api.start(&api.agent(asker).await, &json!("x")).await;
    assert_eq!(api.settled(&asks).await["status"], "requires_action");
    let holder = api.agent(holder).await;
    let holds = api.start(&holder, &json!("x")).await;
    tools.until(|sent| sent.len() == 1).await;
    let queued = api.start(&holder, &json!("x")).await;

    let gone = cancelled(&api, &queued, 200).await;
    assert_eq!(kinds(&gone), ["run.created", "run.cancelling", "run.cancelled"]);
    let gone = cancelled(&api, &asks, 200).await;
    assert_eq!(kinds(&gone)[5..], ["run.requires_action", "run.cancelling", "run.cancelled"]);

    let gone = cancelled(&api, &holds, 202).await;
    tools.until(|sent| sent[0].end == End::Dropped).await;
    let sent = tools.sent();
    assert_eq!(
        gone.last().expect("an end")["run_cancelled"]["cancellation"],
        json!({
            "aborted_calls": [sent[0].call_id]
        })
    );
    assert_eq!(kinds(&gone)[4..], ["tool.requested", "run.cancelling", "run.cancelled"]);

    let speaks = api.start(&api.agent(slow).await, &json!("x")).await;
    until_live(&api, &speaks).await;
    let gone = cancelled(&api, &speaks, 202).await;
    assert_eq!(kinds(&gone)[2..], ["step", "run.cancelling", "run.cancelled"]);
    assert_eq!(tools.sent().len(), 1, "the queued run never started");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_has_ended_cannot_be_cancelled_and_an_unknown_one_is_not_there() {
    let mut program = Program::new("");
    let api = program.start().await;
    let agent = json!({"name": "a", "model": "sim", "sim": {"turns": [{"text": "Done."}]}});
    let run_id = api.start(&api.agent(&agent).await, &json!("x")).await;
    assert_eq!(api.settled(&run_id).await["status"], "completed");
    let before = api.log(&run_id).await;
    let (status, refused) = api.post(&format!("/v1/runs/{run_id}/cancel"), &json!({})).await;
    assert_eq!((status, &refused["error"]["code"]), (409, &json!("run_not_cancellable")));
    assert_eq!(api.log(&run_id).await, before, "nothing is written");
    for id in ["run_00000000000000000000000000", "nonsense"] {
        let (status, refused) = api.post(&format!("/v1/runs/{id}/cancel"), &json!({})).await;
        assert_eq!((status, &refused["error"]["code"]), (404, &json!("run_not_found")));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_ends_by_its_limits() {
    let (tools, mut program) = (Tools::start().await, Program::new("[engine]\npoll_ms = 50"));
    let api = program.start().await;
    let mut late = holding(&tools);
    late["timeout_seconds"] = json!(1);
    let mut short = holding(&tools);
    short["max_steps"] = json!(1);
    let mut patient = asking(600);
    patient["timeout_seconds"] = json!(1);
    for (agent, status, reason) in [
        (late, "incomplete", json!("timeout")),
        (short, "incomplete", json!("max_steps")),
        (patient, "incomplete", json!("timeout")),
        (asking(1), "expired", Value::Null),
    ] {
        let run_id = api.start(&api.agent(&agent).await, &json!("x")).await;
        let mut run = api.settled(&run_id).await;
        if run["status"] == "requires_action" {
            until_over(&api, &run_id).await;
            run = api.settled(&run_id).await;
        }
        assert_eq!((&run["status"], &run["incomplete_reason"]), (&json!(status), &reason), "{run}");
        let log = api.log(&run_id).await;
        assert_eq!(log.last().expect("an end")["type"], format!("run.{status}"));
    }
    tools.until(|sent| sent.iter().all(|sent| sent.end == End::Dropped)).await;
    assert_eq!(tools.sent().len(), 1, "the call beyond the last step is not made");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_output_of_the_caller_survives_a_kill_and_goes_into_the_run() {
    let mut program = Program::new("");
    let api = program.start().await;
    let run_id = api.start(&api.agent(&asking(600)).await, &json!("x")).await;
    let waits = api.settled(&run_id).await;
    assert_eq!(waits["status"], "requires_action", "{waits}");
    program.kill().await;
    let api = program.start().await;
    assert_eq!(api.settled(&run_id).await["required_action"], waits["required_action"]);
    let call_id = &waits["required_action"]["tool_calls"][0]["id"];
    let outputs = json!({"tool_outputs": [{"tool_call_id": call_id, "output": "yes"}]});
    let path = format!("/v1/runs/{run_id}/submit_tool_outputs");
    let (status, run) = api.post(&path, &outputs).await;
    assert_eq!(status, 200, "{run}");
    program.kill().await;
    let api = program.start().await;
    let run = api.settled(&run_id).await;
    assert_eq!(
        (&run["status"], &run["output"]["result"]),
        (&json!("completed"), &json!("You said yes."))
    );
}

/// Cancels a run twice and follows it to its end; its log.
async fn cancelled(api: &Api, run_id: &str, status: u16) -> Vec<Value> {
    let path = format!("/v1/runs/{run_id}/cancel");
    let (first, run) = api.post(&path, &json!({})).await;
    let expected = if status == 200 { "cancelled" } else { "cancelling" };
    // The worker may have confirmed before the answer was read.
    let right = [json!(expected), json!("cancelled")].contains(&run["status"]);
    assert!(right && (first == status || first == 200), "{first}: {run}");
    let run = api.settled(run_id).await;
    assert_eq!(run["status"], "cancelled", "{run}");
    let (second, again) = api.post(&path, &json!({})).await;
    assert_eq!((second, &again), (200, &run), "asking again changes nothing");
    api.log(run_id).await
}

fn kinds(log: &[Value]) -> Vec<&str> {
    log.iter().filter_map(|event| event["type"].as_str()).collect()
}

/// Follows a run until it speaks.
async fn until_live(api: &Api, run_id: &str) {
    let mut response = events(api, run_id).await;
    let mut text = String::new();
    while !text.contains("event: token") {
        let chunk = response.chunk().await.expect("a stream").expect("it speaks");
        text += &String::from_utf8_lossy(&chunk);
    }
}

/// Follows a run to its end.
async fn until_over(api: &Api, run_id: &str) {
    events(api, run_id).await.text().await.expect("it ends");
}

async fn events(api: &Api, run_id: &str) -> reqwest::Response {
    let request = api.request(reqwest::Method::GET, &format!("/v1/runs/{run_id}/events"));
    request.header("accept", "text/event-stream").send().await.expect("a stream")
}
