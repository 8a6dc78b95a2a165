//! Every method of the agents' service, over gRPC, gRPC-Web and REST, with the same answers.

use serde_json::{Value, json};

use crate::harness::doors::Door;
use crate::harness::story::{Story, at_each_door, kinds};

/// An agent that says what it was told.
pub fn echo() -> Value {
    json!({
        "name": "echo", "description": "Says it again.", "model": "sim",
        "sim": {"turns": [{"when": "true", "text": "You said: {{ input }}"}]},
        "metadata": {"team": "blue"},
    })
}

/// Creates the echo, and gives back its id.
pub async fn an_echo(at: &mut Story) -> String {
    let agent = at.ok("AgentsService/CreateAgent", json!({ "agent": echo() })).await;
    id(&agent)
}

/// The id of what was answered.
pub fn id(value: &Value) -> String {
    value["id"].as_str().expect("an id").to_owned()
}

#[tokio::test]
async fn an_agent_is_created_and_read_back() {
    at_each_door(async |at: &mut Story| {
        let made = at.ok("AgentsService/CreateAgent", json!({ "agent": echo() })).await;
        assert_eq!((&made["object"], &made["version"]), (&json!("agent"), &json!(1)));
        assert_eq!((&made["published"], &made["environment"]), (&json!(false), &json!("live")));
        let read = at.ok("AgentsService/GetAgent", json!({"id": made["id"]})).await;
        assert_eq!(read, made);
        let answer = at.caller().answer("AgentsService/CreateAgent", json!({ "agent": echo() }));
        let status = answer.await.expect("an agent").status;
        assert_eq!(status, if at.door() == Door::Rest { 201 } else { 200 });
    })
    .await;
}

#[tokio::test]
async fn a_wrong_agent_is_refused_with_its_field() {
    at_each_door(async |at: &mut Story| {
        let create = "AgentsService/CreateAgent";
        let nameless = at.fails("missing_field", create, json!({"agent": {"model": "sim"}})).await;
        assert_eq!(nameless.details["field"], "name");
        for (name, value) in [
            ("max_steps", json!(0)),
            ("timeout_seconds", json!(86_401)),
            ("name", json!("x".repeat(121))),
            ("model", json!("nobody/knows")),
            ("instructions", json!("{{ unclosed")),
            ("parameters", json!([{"name": "1st", "type": "string"}])),
            ("tools", json!([{"name": "t"}])),
            ("metadata", json!({"": "x"})),
        ] {
            let mut agent = echo();
            agent[name] = value;
            let code = if name == "tools" { "missing_field" } else { "invalid_field" };
            let failure = at.fails(code, create, json!({ "agent": agent })).await;
            assert!(failure.details["field"].contains(name), "{failure:?}");
        }
        let list = at.ok("AgentsService/ListAgents", json!({})).await;
        assert_eq!(list["data"], json!([]), "nothing was written");
    })
    .await;
}

#[tokio::test]
async fn agents_are_listed_by_cursor_and_by_page() {
    at_each_door(async |at: &mut Story| {
        let mut made = Vec::new();
        for _ in 0..5 {
            made.push(an_echo(at).await);
        }
        let list = "AgentsService/ListAgents";
        let mut seen = Vec::new();
        let mut fields = json!({"limit": 2, "order": "asc"});
        loop {
            let page = at.ok(list, fields.clone()).await;
            seen.extend(page["data"].as_array().expect("data").iter().map(id));
            if page["has_more"] == false {
                assert_eq!(page.get("next_cursor"), None);
                break;
            }
            fields["cursor"] = page["next_cursor"].clone();
        }
        assert_eq!(seen, made);
        let newest = at.ok(list, json!({"limit": 1})).await;
        assert_eq!(id(&newest["data"][0]), made[4]);
        let page = at.ok(list, json!({"page": 2, "limit": 2})).await;
        let figures = json!({"page": 2, "limit": 2, "total": 5, "pages": 3});
        assert_eq!(page["pagination"], figures);
        let blue = at.ok(list, json!({"metadata": ["team:blue"], "published": false})).await;
        assert_eq!(blue["data"].as_array().map(Vec::len), Some(5));
        let red = at.ok(list, json!({"metadata": ["team:red"]})).await;
        assert_eq!(red["data"], json!([]));
        at.fails("invalid_field", list, json!({"limit": 101})).await;
        at.fails("invalid_cursor", list, json!({"cursor": "nonsense"})).await;
    })
    .await;
}

#[tokio::test]
async fn a_change_makes_a_version_that_stays() {
    at_each_door(async |at: &mut Story| {
        let id = an_echo(at).await;
        let update = "AgentsService/UpdateAgent";
        let change = json!({
            "id": id, "agent": {"description": "New.", "name": "ignored"},
            "update_mask": "description", "if_version": 1,
        });
        let changed = at.ok(update, change.clone()).await;
        assert_eq!((&changed["version"], &changed["name"]), (&json!(2), &json!("echo")));
        assert_eq!(changed["description"], "New.");
        at.fails("version_conflict", update, change).await;
        let same = json!({"id": id, "agent": {"description": "New."}});
        assert_eq!(at.ok(update, same).await["version"], 2, "no change, no version");
        let odd = json!({"id": id, "agent": {}, "update_mask": "colour"});
        at.fails("invalid_field", update, odd).await;

        let versions = at.ok("AgentsService/ListAgentVersions", json!({"agent_id": id})).await;
        let numbers: Vec<_> = versions["data"].as_array().expect("data").iter().collect();
        assert_eq!(numbers.len(), 2);
        assert_eq!(numbers[0]["version"], 2);
        let version = json!({"agent_id": id, "version": 1});
        let first = at.ok("AgentsService/GetAgentVersion", version).await;
        assert_eq!(first["agent"]["description"], "Says it again.");
    })
    .await;
}

#[tokio::test]
async fn a_deleted_agent_is_gone() {
    at_each_door(async |at: &mut Story| {
        let id = an_echo(at).await;
        let answer = at.caller().answer("AgentsService/DeleteAgent", json!({ "id": id })).await;
        let status = answer.expect("deleted").status;
        assert_eq!(status, if at.door() == Door::Rest { 204 } else { 200 });
        at.fails("agent_not_found", "AgentsService/GetAgent", json!({ "id": id })).await;
        at.fails("agent_not_found", "AgentsService/DeleteAgent", json!({ "id": id })).await;
        let run = json!({"agent_id": id, "input": "x"});
        at.fails("agent_not_found", "AgentsService/InvokeAgent", run).await;
    })
    .await;
}

#[tokio::test]
async fn only_a_published_agent_is_there_for_a_run_key() {
    at_each_door(async |at: &mut Story| {
        let id = an_echo(at).await;
        let (admin, runner) = (at.app.admin.clone(), at.app.runner.clone());
        let run = json!({"agent_id": id, "input": "x"});

        at.with_key(&runner);
        at.fails("agent_not_found", "AgentsService/GetAgent", json!({ "id": id })).await;
        at.fails("agent_not_found", "AgentsService/InvokeAgent", run.clone()).await;
        assert_eq!(at.ok("AgentsService/ListAgents", json!({})).await["data"], json!([]));
        let publish = "AgentsService/PublishAgent";
        at.fails("insufficient_scope", publish, json!({ "id": id })).await;

        at.with_key(&admin);
        assert_eq!(at.ok(publish, json!({ "id": id })).await["published"], true);
        assert_eq!(at.ok(publish, json!({ "id": id })).await["published"], true);

        at.with_key(&runner);
        assert_eq!(at.ok("AgentsService/ListAgents", json!({})).await["data"][0]["id"], id);
        let run = at.ok("AgentsService/InvokeAgent", run).await;
        assert_eq!(run["status"], "completed");

        at.with_key(&admin);
        let unpublish = "AgentsService/UnpublishAgent";
        assert_eq!(at.ok(unpublish, json!({ "id": id })).await["published"], false);
        at.with_key(&runner);
        at.fails("agent_not_found", "AgentsService/GetAgent", json!({ "id": id })).await;
    })
    .await;
}

#[tokio::test]
async fn invoking_waits_for_the_finished_run() {
    at_each_door(async |at: &mut Story| {
        let id = an_echo(at).await;
        let invoke = "AgentsService/InvokeAgent";
        let run = at.ok(invoke, json!({"agent_id": id, "input": "hello"})).await;
        assert_eq!(run["status"], "completed");
        assert_eq!(run["output"]["result"], "You said: hello");
        assert_eq!(run["agent_version"], 1);
        assert!(run["tokens_used"].is_number() && run["latency_ms"].is_number());
        let query = at.ok(invoke, json!({"agent_id": id, "query": "hello"})).await;
        assert_eq!(query["output"]["result"], "You said: hello");
        let both = json!({"agent_id": id, "query": "a", "input": "b"});
        at.fails("invalid_field", invoke, both).await;
        at.fails("agent_not_found", invoke, json!({"agent_id": "agt_1", "input": "b"})).await;
    })
    .await;
}

#[tokio::test]
async fn running_answers_at_once() {
    at_each_door(async |at: &mut Story| {
        let agent = json!({
            "name": "asks", "model": "sim", "tools": [{"name": "ask", "client": {}}],
            "sim": {"turns": [{"tool_calls": [{"name": "ask"}]}]},
        });
        let agent = at.ok("AgentsService/CreateAgent", json!({ "agent": agent })).await;
        let run = json!({"agent_id": id(&agent), "input": "x"});
        let answer = at.caller().answer("AgentsService/RunAgent", run.clone()).await;
        let answer = answer.expect("a run");
        assert_eq!(answer.status, if at.door() == Door::Rest { 202 } else { 200 });
        assert_eq!(answer.body["object"], "run");
        at.begins("AgentsService/RunAgent", run).await;
        let background = json!({"agent_id": id(&agent), "input": "x", "background": true});
        at.begins("AgentsService/InvokeAgent", background).await;
    })
    .await;
}

#[tokio::test]
async fn a_run_of_an_agent_is_streamed_from_its_first_event_to_its_last() {
    at_each_door(async |at: &mut Story| {
        let mut agent = echo();
        // Live text is for those who listen: the model lets the caller begin to.
        agent["sim"]["turns"][0]["delay_ms"] = json!(500);
        let id = id(&at.ok("AgentsService/CreateAgent", json!({ "agent": agent })).await);
        let run = json!({"agent_id": id, "input": "hello"});
        let events = at.stream("AgentsService/StreamAgent", run).await;
        let kinds = kinds(&events);
        assert_eq!(kinds.first(), Some(&"run.created"));
        assert_eq!(kinds.last(), Some(&"run.completed"));
        let step = events.iter().rfind(|event| event.kind == "step").expect("a step");
        assert_eq!(step.data["content"], "You said: hello");
        assert_eq!(crate::harness::story::live_text(&events), "You said: hello");
        let nobody = json!({"agent_id": "agt_1", "input": "x"});
        at.stream_fails("agent_not_found", "AgentsService/StreamAgent", nobody).await;
    })
    .await;
}

#[tokio::test]
async fn parameters_are_checked_against_their_declaration() {
    at_each_door(async |at: &mut Story| {
        let agent = json!({
            "name": "greeter", "model": "sim", "instructions": "Answer in {{ language }}.",
            "parameters": [
                {"name": "language", "type": "enum", "required": true, "options": ["de", "fr"]},
                {"name": "count", "type": "integer", "default": 2},
                {"name": "loud", "type": "boolean"},
            ],
            "sim": {"turns": [{"text": "{{ parameters.language }} {{ parameters.count }}"}]},
        });
        let agent = at.ok("AgentsService/CreateAgent", json!({ "agent": agent })).await;
        let run = |parameters: Value| json!({"agent_id": agent["id"], "parameters": parameters});
        let invoke = "AgentsService/InvokeAgent";
        let good = at.ok(invoke, run(json!({"language": "fr"}))).await;
        assert_eq!(good["output"]["result"], "fr 2");
        assert_eq!(good["parameters"], json!({"language": "fr", "count": 2, "loud": null}));
        let missing = at.fails("missing_field", invoke, run(json!({}))).await;
        assert!(missing.details["field"].contains("language"), "{missing:?}");
        let unknown = json!({"language": "fr", "colour": 1});
        at.fails("unknown_parameter", invoke, run(unknown)).await;
        for (name, value) in
            [("language", json!("en")), ("count", json!(1.5)), ("loud", json!("yes"))]
        {
            let mut parameters = json!({"language": "de"});
            parameters[name] = value;
            let failure = at.fails("invalid_parameter_value", invoke, run(parameters)).await;
            assert!(failure.details["field"].contains(name), "{failure:?}");
        }
    })
    .await;
}
