//! Every method of the runs' service, over gRPC, gRPC-Web and REST, with the same answers and
//! events.

use serde_json::{Value, json};

use crate::agents::{an_echo, id};
use crate::harness::doors::{Door, Event};
use crate::harness::story::{Story, at_each_door, kinds};

/// An agent that asks its caller two things at once and then says both.
async fn a_questioner(at: &mut Story) -> String {
    let agent = json!({
        "name": "questioner", "model": "sim",
        "tools": [{"name": "left", "client": {}}, {"name": "right", "client": {}}],
        "sim": {"turns": [
            {"text": "Let me ask.", "tool_calls": [
                {"name": "left", "arguments": {"about": "{{ input }}"}}, {"name": "right"},
            ]},
            {"when": "true", "text": "{{ tools.left }} and {{ tools.right }}"},
        ]},
    });
    id(&at.ok("AgentsService/CreateAgent", json!({ "agent": agent })).await)
}

/// Starts a run and waits until it asks.
async fn an_asking_run(at: &mut Story) -> Value {
    let agent = a_questioner(at).await;
    let run = json!({"agent_id": agent, "input": "tea", "wait": 10});
    let run = at.ok("RunsService/CreateRun", run).await;
    assert_eq!(run["status"], "requires_action", "{run}");
    run
}

/// The ids of the calls that a run waits for, by the tool.
fn asked(run: &Value, tool: &str) -> String {
    let calls = run["required_action"]["tool_calls"].as_array().expect("calls");
    let call = calls.iter().find(|call| call["name"] == tool).expect("the tool's call");
    id(call)
}

fn output(call: &str, output: &str) -> Value {
    json!({"tool_call_id": call, "output": output})
}

#[tokio::test]
async fn a_run_is_created_at_once_or_after_a_wait() {
    at_each_door(async |at: &mut Story| {
        let (echo, asks) = (an_echo(at).await, a_questioner(at).await);
        let create = "RunsService/CreateRun";
        let waits = json!({"agent_id": asks, "input": "x"});
        at.begins(create, waits.clone()).await;
        let answer = at.caller().answer(create, waits).await.expect("a run");
        assert_eq!(answer.status, if at.door() == Door::Rest { 202 } else { 200 });

        let fields = json!({"agent_id": echo, "input": {"a": [1, null]}, "session_id": "s",
            "metadata": {"k": "v"}});
        let mut waited = fields.clone();
        waited["wait"] = json!(10);
        let run = at.ok(create, waited.clone()).await;
        assert_eq!((&run["object"], &run["status"]), (&json!("run"), &json!("completed")));
        assert_eq!(run["input"], json!({"a": [1, null]}));
        assert_eq!((&run["session_id"], &run["metadata"]), (&json!("s"), &json!({"k": "v"})));
        let answer = at.caller().answer(create, waited).await.expect("a run");
        assert_eq!(answer.status, if at.door() == Door::Rest { 201 } else { 200 });
        at.fails("invalid_field", create, json!({"agent_id": echo, "wait": 601})).await;
        at.fails("missing_field", create, json!({"input": "x"})).await;
        at.with_header("prefer", "wait=10");
        let run = at.ok(create, fields).await;
        assert_eq!(run["status"], "completed", "Prefer: wait=10");
    })
    .await;
}

#[tokio::test]
async fn a_run_is_streamed_and_can_be_watched_again_from_any_event() {
    at_each_door(async |at: &mut Story| {
        let agent = an_echo(at).await;
        let run = json!({"agent_id": agent, "input": "hi"});
        let live = at.stream("RunsService/StreamRun", run).await;
        let id = live[0].data["id"].clone();
        let durable: Vec<Event> =
            live.iter().filter(|event| event.kind != "token").cloned().collect();
        let numbers: Vec<_> = durable.iter().map(|event| event.id.clone()).collect();
        let expected: Vec<_> = (1..=durable.len()).map(|n| n.to_string()).collect();
        assert_eq!(numbers, expected, "no gap");
        for after in 0..durable.len() {
            let watch = json!({"run_id": id, "after": after.to_string()});
            let again = at.caller().stream("RunsService/WatchRun", watch).await.expect("events");
            assert_eq!(again, durable[after..], "after {after}");
        }
        at.with_header("last-event-id", "2");
        let rest = at.stream("RunsService/WatchRun", json!({ "run_id": id })).await;
        assert_eq!(rest, durable[2..], "Last-Event-ID: 2");
        let nobody = json!({"run_id": "run_1"});
        at.stream_fails("run_not_found", "RunsService/WatchRun", nobody).await;
    })
    .await;
}

#[tokio::test]
async fn events_are_listed_by_page() {
    at_each_door(async |at: &mut Story| {
        let agent = an_echo(at).await;
        let run = json!({"agent_id": agent, "input": "hi"});
        let events = at.stream("RunsService/StreamRun", run).await;
        let durable = kinds(&events);
        let (list, id) = ("RunsService/ListRunEvents", events[0].data["id"].clone());
        let first = at.ok(list, json!({"run_id": id, "limit": 2})).await;
        assert_eq!((&first["has_more"], &first["next_cursor"]), (&json!(true), &json!("2")));
        let rest = at.ok(list, json!({"run_id": id, "after": "2"})).await;
        assert_eq!(rest["has_more"], false);
        let types = [&first, &rest].map(|page| page["data"].as_array().expect("data").clone());
        let types = types.concat();
        let types: Vec<_> = types.iter().filter_map(|event| event["type"].as_str()).collect();
        assert_eq!(types, durable);
        at.fails("invalid_field", list, json!({"run_id": id, "after": "x"})).await;
        at.fails("run_not_found", list, json!({"run_id": "run_1"})).await;
    })
    .await;
}

#[tokio::test]
async fn a_run_is_read_and_waited_for() {
    at_each_door(async |at: &mut Story| {
        let agent = an_echo(at).await;
        let run = json!({"agent_id": agent, "input": "hi", "background": true});
        let made = at.caller().call("RunsService/CreateRun", run).await.expect("a run");
        let get = json!({"id": made["id"], "wait": 10});
        let run = at.ok("RunsService/GetRun", get).await;
        assert_eq!(run["status"], "completed");
        let roles: Vec<_> =
            run["messages"].as_array().expect("messages").iter().map(|m| &m["role"]).collect();
        assert_eq!(roles.last(), Some(&&json!("assistant")));
        assert_eq!(run["usage"]["model_calls"], 1);
        assert_eq!(run["key_id"].as_str().map(|id| &id[..4]), Some("key_"));
        for odd in ["run_1", "x", "run_zzzzzzzzzzzzzzzzzzzzzzzzzz"] {
            at.fails("run_not_found", "RunsService/GetRun", json!({ "id": odd })).await;
        }
        let key = at.app.test_admin.clone();
        at.with_key(&key);
        let other = json!({"id": made["id"]});
        at.fails("run_not_found", "RunsService/GetRun", other).await;
    })
    .await;
}

#[tokio::test]
async fn runs_are_listed_by_what_they_are() {
    at_each_door(async |at: &mut Story| {
        let (agent, other) = (an_echo(at).await, an_echo(at).await);
        for (agent, team) in [(&agent, "red"), (&agent, "blue"), (&other, "red")] {
            let run = json!({"agent_id": agent, "input": "x", "wait": 10,
                "metadata": {"team": team}, "session_id": team});
            at.ok("RunsService/CreateRun", run).await;
        }
        let list = "RunsService/ListRuns";
        for (fields, count) in [
            (json!({}), 3),
            (json!({ "agent_id": agent }), 2),
            (json!({"status": ["completed"]}), 3),
            (json!({"status": ["queued", "failed"]}), 0),
            (json!({"metadata": ["team:red"]}), 2),
            (json!({"metadata": ["team:red"], "agent_id": other}), 1),
            (json!({"session_id": "blue"}), 1),
            (json!({"created_after": "2999-01-01T00:00:00Z"}), 0),
            (json!({"created_before": "2999-01-01T00:00:00Z", "limit": 3}), 3),
        ] {
            let page = at.ok(list, fields.clone()).await;
            let runs = page["data"].as_array().expect("data");
            assert_eq!(runs.len(), count, "{fields}");
            assert!(runs.iter().all(|run| run["messages"] == json!([])), "no messages in lists");
        }
        at.fails("invalid_field", list, json!({"metadata": ["nocolon"]})).await;
        at.fails("agent_not_found", list, json!({"agent_id": "agt_1"})).await;
    })
    .await;
}

#[tokio::test]
async fn a_run_is_cancelled_once_and_for_all() {
    at_each_door(async |at: &mut Story| {
        let run = an_asking_run(at).await;
        let cancel = "RunsService/CancelRun";
        let cancelled = at.ok(cancel, json!({"id": run["id"]})).await;
        assert_eq!(cancelled["status"], "cancelled");
        assert_eq!(at.ok(cancel, json!({"id": run["id"]})).await["status"], "cancelled");
        let late =
            json!({"run_id": run["id"], "tool_outputs": [output(&asked(&run, "left"), "x")]});
        at.fails("run_not_waiting", "RunsService/SubmitToolOutputs", late).await;

        let agent = an_echo(at).await;
        let done = json!({"agent_id": agent, "input": "x", "wait": 10});
        let done = at.ok("RunsService/CreateRun", done).await;
        at.fails("run_not_cancellable", cancel, json!({"id": done["id"]})).await;
        at.fails("run_not_found", cancel, json!({"id": "run_1"})).await;
    })
    .await;
}

#[tokio::test]
async fn outputs_are_handed_over_one_by_one() {
    at_each_door(async |at: &mut Story| {
        let run = an_asking_run(at).await;
        let submit = "RunsService/SubmitToolOutputs";
        let (left, right) = (asked(&run, "left"), asked(&run, "right"));
        let one = json!({"run_id": run["id"], "tool_outputs": [output(&left, "milk")]});
        let still = at.ok(submit, one.clone()).await;
        assert_eq!(still["status"], "requires_action");
        let again = at.ok(submit, one).await;
        assert_eq!(again["status"], "requires_action", "the same output again changes nothing");
        let odd = json!({"run_id": run["id"], "tool_outputs": [output("call_1", "x")]});
        at.fails("validation_failed", submit, odd).await;
        let none = json!({"run_id": run["id"], "tool_outputs": []});
        at.fails("missing_field", submit, none).await;
        let rest = json!({"run_id": run["id"], "tool_outputs": [output(&right, "sugar")],
            "wait": 10});
        let done = at.ok(submit, rest).await;
        assert_eq!(done["status"], "completed", "{done}");
        assert_eq!(done["output"]["result"], "milk and sugar");
    })
    .await;
}

#[tokio::test]
async fn outputs_are_handed_over_and_the_rest_is_streamed() {
    at_each_door(async |at: &mut Story| {
        let run = an_asking_run(at).await;
        let outputs = ["left", "right"].map(|tool| output(&asked(&run, tool), tool));
        let fields = json!({"run_id": run["id"], "tool_outputs": outputs});
        let events = at.stream("RunsService/StreamToolOutputs", fields).await;
        let kinds = kinds(&events);
        assert_eq!(kinds.last(), Some(&"run.completed"));
        assert_eq!(kinds.iter().filter(|kind| **kind == "tool.completed").count(), 2);
        let all = json!({"run_id": run["id"], "limit": 100});
        let log = at.ok("RunsService/ListRunEvents", all).await;
        let types: Vec<_> = log["data"].as_array().expect("data").iter().collect();
        assert!(types.iter().any(|event| event["type"] == "run.requires_action"));
        let late = json!({"run_id": run["id"], "tool_outputs": outputs});
        at.stream_fails("run_not_waiting", "RunsService/StreamToolOutputs", late).await;
    })
    .await;
}
