//! The loop: what it writes, in which order, and how it ends.

use runplane::engine::attempt::{Outcome, StepStatus, Submitted};
use serde_json::{Value, json};

use super::ledger::{Bench, Ledger, START, completed, failed};
use super::tool_server::ToolServer;

fn client_tool(name: &str) -> Value {
    json!({"name": name, "handler": {"kind": "client", "deadline_seconds": 60}})
}

#[tokio::test]
async fn a_run_without_tools_is_one_commit_and_an_end() {
    let agent = json!({
        "instructions": "Speak {{ language }}.",
        "sim": {"turns": [{"text": "Hello {{ input }}, in {{ parameters.language }}"}]}
    });
    let mut bench = Bench::new(agent, json!("Ada"));
    bench.run.parameters.insert("language".into(), json!("French"));
    let (outcome, ledger) = bench.drive().await;
    assert_eq!(completed(&outcome), json!("Hello Ada, in French"));
    assert_eq!(ledger.commits().len(), 2);
    assert_eq!(ledger.types(), ["step system", "step user", "step assistant"]);
    assert_eq!(ledger.contents("system"), ["Speak French."]);
    assert_eq!(ledger.contents("user"), ["Ada"]);
    let usage = ledger.usage();
    assert_eq!((usage.model_calls, usage.tool_calls), (1, 0));
    assert!(usage.input_tokens > 0 && usage.output_tokens == 4, "{usage:?}");
}

#[tokio::test]
async fn the_text_that_streams_is_the_message() {
    let agent = json!({"sim": {"turns": [{"text": "naïve words, one by one"}]}});
    let (_, ledger) = Bench::new(agent, json!("x")).drive().await;
    let (_, message) = ledger.events().pop().expect("a message");
    let tokens = ledger.tokens();
    assert!(tokens.len() > 3);
    let mut text = String::new();
    for (id, offset, delta) in tokens {
        assert_eq!((id.as_str(), offset), (message["id"].as_str().expect("an id"), text.len()));
        text.push_str(&delta);
    }
    assert_eq!(text, message["content"]);
}

#[tokio::test]
async fn tools_are_called_and_the_model_sees_their_answers() {
    let server = ToolServer::start(vec![]).await;
    let agent = json!({
        "tools": [server.tool("sum", "/sum"), server.tool("list", "/list")],
        "sim": {"turns": [
            {"text": "Let me see.", "tool_calls": [
                {"name": "sum", "arguments": {"n": "{{ input.n }}", "text": "n is {{ input.n }}"}},
                {"name": "list"}
            ]},
            {"when": "turn == 1", "text":
                "{{ tools.sum.echo.n + 1 }} {{ tools.sum.echo.text }} {{ tools.list | tojson }}"}
        ]}
    });
    let (outcome, ledger) = Bench::new(agent, json!({"n": 41})).drive().await;
    assert_eq!(completed(&outcome), json!("42 n is 41 {\"echo\": {}}"));
    let types = ledger.types();
    assert_eq!(types[..4], ["step user", "step assistant", "tool.requested", "tool.requested"]);
    let mut middle = types[4..8].to_vec();
    middle.sort();
    assert_eq!(middle, ["step tool", "step tool", "tool.completed", "tool.completed"]);
    assert_eq!(types[8..], ["step assistant"]);
    assert_eq!((ledger.usage().model_calls, ledger.usage().tool_calls), (2, 2));
    // The answer, both requests and both intents are one commit.
    let second = &ledger.commits()[1];
    assert_eq!((second.finished.len(), second.events.len(), second.intents.len()), (1, 3, 2));
}

#[tokio::test]
async fn events_have_the_form_of_the_contract() {
    let server = ToolServer::start(vec![]).await;
    let agent = json!({
        "tools": [server.tool("sum", "/sum")],
        "sim": {"turns": [{"tool_calls": [{"name": "sum", "arguments": {"n": 1}}]}, {"text": "ok"}]}
    });
    let (_, ledger) = Bench::new(agent, json!("go")).drive().await;
    let events = ledger.events();
    let (assistant, call) = (&events[1].1, &events[1].1["tool_calls"][0]);
    let id = call["id"].as_str().expect("an id");
    assert!(id.starts_with("call_") && assistant["id"].as_str().expect("id").starts_with("stp_"));
    assert_eq!(*call, json!({"id": id, "name": "sum", "arguments": {"n": 1}}));
    let requested = json!({
        "id": id, "tool": "sum", "args": {"n": 1}, "kind": "http", "step_id": assistant["id"]
    });
    assert_eq!(ledger.event("tool.requested"), requested);
    let result = json!({"echo": {"n": 1}});
    let done = json!({"id": id, "tool": "sum", "result": result, "latency_ms": 0, "attempts": 1});
    assert_eq!(ledger.event("tool.completed"), done);
    let tool = &events[4].1;
    assert_eq!(tool["iteration_id"], assistant["iteration_id"]);
    assert_eq!((&tool["tool_call_id"], &tool["name"]), (&json!(id), &json!("sum")));
    assert_eq!(tool["content"], r#"{"echo":{"n":1}}"#);
    assert_eq!(tool["created_at"], START.to_string());
    assert_ne!(events[5].1["iteration_id"], tool["iteration_id"]);
}

#[tokio::test]
async fn a_client_tool_parks_the_run_until_its_output_comes() {
    let server = ToolServer::start(vec![]).await;
    let agent = json!({
        "tools": [client_tool("ask"), server.tool("sum", "/sum")],
        "sim": {"turns": [
            {"tool_calls": [
                {"name": "ask", "arguments": {"q": 1}}, {"name": "sum"},
                {"name": "ask", "arguments": {"q": 2}}
            ]},
            {"text": "{{ result | tojson }}"}
        ]}
    });
    let mut bench = Bench::new(agent, json!("go"));
    let (outcome, ledger) = bench.drive().await;
    let Outcome::Park(_, pending) = outcome else { panic!("{outcome:?}") };
    assert_eq!(pending.len(), 2);
    assert_eq!((pending[0].name.as_str(), &pending[0].arguments["q"]), ("ask", &json!(1)));
    assert_eq!(pending[0].deadline.0, START.0 + 60_000_000);
    assert_eq!(server.called().len(), 1);

    let given = |output: Value| Submitted { output, is_error: false };
    bench.inbox.insert(pending[0].id.clone(), given(json!("first")));
    let outcome = bench.claim(&ledger).await;
    let Outcome::Park(_, left) = outcome else { panic!("{outcome:?}") };
    assert_eq!(left.len(), 1);

    bench.inbox.insert(pending[1].id.clone(), given(json!({"second": true})));
    assert_eq!(completed(&bench.claim(&ledger).await), json!(r#"{"second": true}"#));
    assert_eq!(server.called().len(), 1);
}

#[tokio::test]
async fn a_failure_of_the_caller_is_told_to_the_model() {
    let agent = json!({
        "tools": [client_tool("ask")],
        "sim": {"turns": [
            {"tool_calls": [{"name": "ask"}]},
            {"text": "{{ result.error.code }}: {{ result.error.message }}"}
        ]}
    });
    let mut bench = Bench::new(agent, json!("go"));
    let (outcome, ledger) = bench.drive().await;
    let Outcome::Park(_, pending) = outcome else { panic!("{outcome:?}") };
    let output = Submitted { output: json!("no way"), is_error: true };
    bench.inbox.insert(pending[0].id.clone(), output);
    assert_eq!(completed(&bench.claim(&ledger).await), json!("tool_error: no way"));
    assert_eq!(ledger.event("tool.failed")["error"]["message"], "no way");
}

#[tokio::test]
async fn an_unknown_tool_and_bad_arguments_are_told_to_the_model() {
    let server = ToolServer::start(vec![]).await;
    let mut tool = server.tool("sum", "/sum");
    tool["input_schema"] = json!({"type": "object", "required": ["n"]});
    let agent = json!({
        "tools": [tool],
        "sim": {"turns": [
            {"tool_calls": [{"name": "gone"}, {"name": "sum", "arguments": {"m": 1}}]},
            {"text": "{{ tools.gone.error.code }} {{ tools.sum.error.code }}"}
        ]}
    });
    let (outcome, ledger) = Bench::new(agent, json!("go")).drive().await;
    assert_eq!(completed(&outcome), json!("unknown_tool invalid_arguments"));
    assert!(server.called().is_empty());
    let failed = ledger.types().iter().filter(|name| *name == "tool.failed").count();
    assert_eq!(failed, 2);
}

#[tokio::test]
async fn the_last_allowed_step_may_answer_but_not_ask() {
    let server = ToolServer::start(vec![]).await;
    let agent = |max_steps: u32| {
        json!({
            "max_steps": max_steps,
            "tools": [server.tool("sum", "/sum")],
            "sim": {"turns": [
                {"text": "Wait.", "tool_calls": [{"name": "sum"}]},
                {"text": "Done."}
            ]}
        })
    };
    let (outcome, _) = Bench::new(agent(2), json!("go")).drive().await;
    assert_eq!(completed(&outcome), json!("Done."));
    let (outcome, ledger) = Bench::new(agent(1), json!("go")).drive().await;
    let Outcome::Incomplete(_, "max_steps", Some(text)) = outcome else { panic!("{outcome:?}") };
    assert_eq!(text, "Wait.");
    assert_eq!(server.called().len(), 1, "only the first run called the tool");
    assert_eq!(ledger.history()[0].status, StepStatus::Ok);
}

#[tokio::test]
async fn a_scripted_failure_is_retried_as_often_as_it_says() {
    let agent = |failure: Value| json!({"sim": {"turns": [{"text": "ok", "failure": failure}]}});
    let passing = agent(json!({"status": 503, "times": 2}));
    assert_eq!(completed(&Bench::new(passing, json!("x")).drive().await.0), json!("ok"));
    for (failure, tries) in
        [(json!({"status": 500, "message": "boom"}), 4), (json!({"status": 400}), 1)]
    {
        let (outcome, ledger) = Bench::new(agent(failure), json!("x")).drive().await;
        let (code, message) = failed(&outcome);
        assert_eq!(code, "model_error");
        assert_eq!(tries > 1, message.contains(&format!("tried {tries} times")), "{message}");
        assert_eq!(ledger.history()[0].status, StepStatus::Error);
    }
}

#[tokio::test]
async fn a_script_that_cannot_go_on_says_where() {
    for (turns, words) in [
        (json!([]), "no turn of the script holds for model call 0"),
        (json!([{"when": "turn ==", "text": ""}]), "sim.turns[0].when"),
        (json!([{"text": "{{ gone }}"}]), "sim.turns[0]"),
        (json!([{"when": "result.x.y", "text": "a"}]), "sim.turns[0].when"),
    ] {
        let (outcome, _) = Bench::new(json!({"sim": {"turns": turns}}), json!("x")).drive().await;
        let (code, message) = failed(&outcome);
        assert!(code == "model_error" && message.contains(words), "{message}");
    }
}

#[tokio::test]
async fn instructions_that_cannot_be_filled_end_the_run() {
    let agent = json!({"instructions": "{{ gone }}", "sim": {"turns": [{"text": "ok"}]}});
    let (outcome, _) = Bench::new(agent, json!("x")).drive().await;
    assert_eq!(failed(&outcome).0, "invalid_instructions");
}

#[tokio::test]
async fn a_run_without_input_is_given_its_parameters() {
    let agent = json!({"sim": {"turns": [{"text": "ok"}]}});
    let mut bench = Bench::new(agent, Value::Null);
    bench.run.parameters.insert("city".into(), json!("Bern"));
    bench.run.parameters.insert("temperature".into(), json!(0.5));
    let (_, ledger) = bench.drive().await;
    assert_eq!(ledger.contents("user"), [r#"{"city":"Bern"}"#]);
}

#[tokio::test]
async fn a_claim_that_is_no_longer_ours_stops_at_once() {
    let server = ToolServer::start(vec![]).await;
    let agent = json!({
        "tools": [server.tool("sum", "/sum")],
        "sim": {"turns": [{"tool_calls": [{"name": "sum"}]}, {"text": "Done."}]}
    });
    let bench = Bench::new(agent, json!("go"));
    for room in [0, 1] {
        let ledger = Ledger::of(Vec::new(), Some(room));
        let outcome = bench.claim(&ledger).await;
        assert!(matches!(outcome, Outcome::Stopped), "{outcome:?}");
        assert!(server.called().is_empty(), "no effect without its intent");
    }
}

#[tokio::test]
async fn a_run_that_is_over_stays_over() {
    let agent = json!({"sim": {"turns": [{"text": "ok"}]}});
    let bench = Bench::new(agent, json!("x"));
    let (_, ledger) = bench.drive().await;
    let commits = ledger.commits().len();
    assert_eq!(completed(&bench.claim(&ledger).await), json!("ok"));
    let last = ledger.commits().pop().expect("the empty one");
    assert!(last.events.is_empty() && last.finished.is_empty());
    assert_eq!(ledger.commits().len(), commits + 1);
}
