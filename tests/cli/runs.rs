//! `runplane runs`, but for following one.

use serde_json::json;

use super::{Shell, asker, speaker};
use crate::harness::app::App;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_is_started_shown_and_listed() {
    let app = App::start().await;
    let shell = Shell::of(&app);
    let mut definition = speaker("Echo", "{{ parameters.word }}: {{ input }}", 0);
    definition["parameters"] = json!([{"name": "word", "type": "string"}]);
    let agent = shell.agent(&definition).await;
    let input = ["runs", "create", &agent, "-", "-p", "word=said", "--metadata", "team=a"];
    let done = shell.fed(&input, "two\nlines").await;
    assert_eq!(done.code, 0, "{done:?}");
    let id = done.out.trim().to_owned();
    assert!(id.starts_with("run_") && id.len() == 30, "{id}");

    let run = shell.json(&["runs", "get", &id, "--wait", "30"]).await;
    let rest = shell.api().get(&format!("/v1/runs/{id}")).await.1;
    assert_eq!(run[0], rest);
    assert_eq!(run[0]["output"]["result"], "said: two\nlines");
    let listed = shell.json(&["runs", "list", "--metadata", "team=a"]).await;
    let rest = shell.api().get("/v1/runs").await.1;
    assert_eq!(json!(listed), rest["data"]);
    for (filter, count) in [("--status=completed", 1), ("--status=queued", 0)] {
        assert_eq!(shell.json(&["runs", "list", filter]).await.len(), count, "{filter}");
    }
    let events = shell.json(&["runs", "events", &id]).await;
    assert_eq!(events, shell.api().log(&id).await);
    let table = shell.ok(&["runs", "events", &id]).await;
    assert!(table.contains("run.completed") && table.contains("\"status\":\"queued\""), "{table}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_idempotency_key_starts_one_run() {
    let app = App::start().await;
    let shell = Shell::of(&app);
    let agent = shell.agent(&speaker("Once", "x", 0)).await;
    let create = ["runs", "create", &agent, "x", "--idempotency-key", "job-7"];
    let first = shell.ok(&create).await;
    assert_eq!(shell.ok(&create).await, first);
    assert_ne!(shell.ok(&create[..4]).await, first);
    assert_eq!(shell.json(&["runs", "list"]).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tool_of_the_callers_is_fulfilled_by_submit() {
    let app = App::start().await;
    let shell = Shell::of(&app);
    let agent = shell.agent(&asker()).await;
    let waiting = shell.run(&["agents", "invoke", &agent, "?"]).await;
    assert_eq!(waiting.code, 6, "{waiting:?}");
    assert!(waiting.err.contains("has not ended, it is requires_action"), "{}", waiting.err);
    let id = shell.json(&["runs", "list"]).await[0]["id"].as_str().expect("an id").to_owned();
    let run = shell.json(&["runs", "get", &id]).await;
    let call = run[0]["required_action"]["tool_calls"][0]["id"].as_str().expect("an id");
    let output = format!("{call}={}", json!({"sky": "blue"}));
    shell.ok(&["runs", "submit", &id, "--output", &output]).await;
    let run = shell.json(&["runs", "get", &id, "--wait", "30"]).await;
    assert_eq!(run[0]["output"]["result"], "It is blue.");
    let late = shell.run(&["runs", "submit", &id, "--output", &output, "--json"]).await;
    assert_eq!((late.code, &late.failure()["code"]), (3, &json!("run_not_waiting")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_did_not_complete_ends_the_command_with_six() {
    let app = App::start().await;
    let shell = Shell::of(&app);
    let failure = json!({"turns": [{"failure": {"status": 400, "message": "no"}}]});
    let failing = json!({"name": "Failing", "model": "sim", "sim": failure});
    let agent = shell.agent(&failing).await;
    let failed = shell.run(&["agents", "invoke", &agent, "x", "--json"]).await;
    assert_eq!((failed.code, &failed.failure()["code"]), (6, &json!("run_not_completed")));
    let followed = shell.run(&["runs", "create", &agent, "x", "--follow"]).await;
    assert_eq!(followed.code, 6, "{followed:?}");
    assert!(followed.err.contains("ended as failed: model_error"), "{}", followed.err);

    let slow = shell.agent(&speaker("Slow", &"word ".repeat(500), 5)).await;
    let id = shell.ok(&["runs", "create", &slow, "x"]).await.trim().to_owned();
    shell.ok(&["runs", "cancel", &id]).await;
    let cancelled = shell.run(&["runs", "follow", &id]).await;
    assert_eq!(cancelled.code, 6, "{cancelled:?}");
    assert!(cancelled.err.contains("ended as cancelled"), "{}", cancelled.err);
    let again = shell.run(&["runs", "cancel", &id]).await;
    assert_eq!(again.code, 0, "cancelling twice changes nothing: {again:?}");
}
