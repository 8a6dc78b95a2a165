//! A run says so much and no more, and its model asks for so much and no more.

use serde_json::json;

use crate::agents::id;
use crate::conversations::{CREATE, agent, ok, settled, tell};
use crate::harness::app::{App, On, Options};
use crate::harness::doors::Door;
use crate::harness::fake_models::{Dialect, FakeModels, Said, Turn, say};

#[tokio::test]
async fn a_run_with_more_than_its_bytes_ends_and_keeps_what_there_is() {
    for on in [On::Sqlite, On::Postgres] {
        let config = "[engine]\nrun_bytes_max = 65536".to_owned();
        let app = App::with(Options { on, config, ..Options::default() }).await;
        let at = app.door(Door::Rest);
        let insatiable = json!({"name": "insatiable", "model": "sim",
        "tools": [{"name": "ask", "client": {}}],
        "sim": {"turns": [
            {"when": "true", "text": "More.", "tool_calls": [{"name": "ask"}]}
        ]}});
        let agent = agent(&at, insatiable).await;
        let run = ok(&at, CREATE, json!({"agent_id": agent, "input": "x", "wait": 30})).await;
        tell(&at, &run, &"a".repeat(40_000)).await;
        let run = settled(&at, &id(&run)).await;
        assert_eq!(run["status"], "requires_action", "{run}");
        tell(&at, &run, &"b".repeat(30_000)).await;
        let run = settled(&at, &id(&run)).await;
        let why = (&run["status"], &run["incomplete_reason"]);
        assert_eq!(why, (&json!("incomplete"), &json!("max_bytes")));
        assert_eq!(run["output"]["result"], "More.");
        let last = run["messages"].as_array().and_then(|thread| thread.last()).expect("a thread");
        assert_eq!(last["content"], "b".repeat(30_000), "what was too much is kept");
    }
}

#[tokio::test]
async fn all_results_that_have_come_are_kept_when_the_first_is_too_much() {
    let config = "[engine]\nrun_bytes_max = 65536".to_owned();
    let app = App::with(Options { config, ..Options::default() }).await;
    let at = app.door(Door::Rest);
    let asks = json!({"name": "ask"});
    let curious = json!({"name": "curious", "model": "sim",
        "tools": [{"name": "ask", "client": {}}],
        "sim": {"turns": [{"when": "true", "text": "Two.", "tool_calls": [asks, asks]}]}});
    let agent = agent(&at, curious).await;
    let run = ok(&at, CREATE, json!({"agent_id": agent, "input": "x", "wait": 30})).await;
    let calls = run["required_action"]["tool_calls"].as_array().expect("calls").clone();
    let outputs = ["a".repeat(70_000), "b".to_owned()];
    let told: Vec<_> = calls.iter().zip(&outputs).collect();
    let told: Vec<_> = told
        .iter()
        .map(|(call, output)| json!({"tool_call_id": call["id"], "output": output}))
        .collect();
    let submit = json!({"run_id": run["id"], "tool_outputs": told});
    ok(&at, "RunsService/SubmitToolOutputs", submit).await;
    let run = settled(&at, &id(&run)).await;
    let why = (&run["status"], &run["incomplete_reason"]);
    assert_eq!(why, (&json!("incomplete"), &json!("max_bytes")));
    let thread = run["messages"].as_array().expect("a thread");
    let kept: Vec<_> = thread.iter().filter(|said| said["role"] == "tool").collect();
    assert_eq!(kept.len(), 2, "both have come");
    assert_eq!(kept[1]["content"], "b");
}

#[tokio::test]
async fn a_model_that_asks_with_too_many_bytes_is_told_so() {
    let long = json!({"text": "x".repeat(64 << 10)}).to_string();
    let asks = Said { calls: vec![("id-1", "ask", long)], ..Said::default() };
    let models = FakeModels::start(Dialect::Openai, vec![Turn::Say(asks), say(&["Well."])]).await;
    let config = format!("[providers.fake]\nkind = \"openai\"\nbase_url = {:?}", models.base_url);
    let app = App::with(Options { config, ..Options::default() }).await;
    let at = app.door(Door::Rest);
    let talker = json!({"name": "talker", "model": "fake/model-1",
        "tools": [{"name": "ask", "client": {}}]});
    let talker = agent(&at, talker).await;
    let run = ok(&at, CREATE, json!({"agent_id": talker, "input": "x", "wait": 30})).await;
    assert_eq!(run["output"]["result"], "Well.", "{run}");
    let watch = json!({"run_id": run["id"]});
    let events = at.stream("RunsService/WatchRun", watch).await.expect("events");
    let failed = events.iter().find(|event| event.kind == "tool.failed").expect("a failure");
    assert_eq!(failed.data["error"]["code"], "invalid_arguments");
}
