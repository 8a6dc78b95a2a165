//! Providers, against fake servers that speak like OpenAI and like Anthropic: what is asked, what
//! is made of the answer, and every way in which a provider may misbehave.

use runplane::engine::attempt::Outcome;
use serde_json::{Value, json};

use super::ledger::{Bench, completed, config, failed, table};
use super::tool_server::ToolServer;
use crate::harness::fake_models::{Dialect, FakeModels, Said, Turn, USAGE, say};

const BOTH: [Dialect; 2] = [Dialect::Openai, Dialect::Anthropic];

/// An agent with short patience.
fn agent() -> Value {
    json!({
        "instructions": "Be brief.",
        "model_settings": {
            "temperature": 0.5, "max_tokens": 100, "stop_sequences": ["END"], "timeout_seconds": 1
        }
    })
}

#[tokio::test]
async fn text_streams_as_it_comes_and_usage_is_counted() {
    for dialect in BOTH {
        let models = FakeModels::start(dialect, vec![say(&["Hel", "lo, ", "wörld"])]).await;
        let (outcome, ledger) = Bench::on(&models, dialect, agent()).drive().await;
        assert_eq!(completed(&outcome), json!("Hello, wörld"), "{dialect:?}");
        let tokens = ledger.tokens();
        let deltas: Vec<(usize, &str)> = tokens.iter().map(|(_, o, d)| (*o, d.as_str())).collect();
        assert_eq!(deltas, [(0, "Hel"), (3, "lo, "), (7, "wörld")]);
        let usage = ledger.usage();
        assert_eq!((usage.input_tokens, usage.output_tokens), USAGE);
    }
}

#[tokio::test]
async fn a_provider_is_asked_with_key_model_messages_and_settings() {
    for dialect in BOTH {
        let models = FakeModels::start(dialect, vec![say(&["ok"])]).await;
        let mut bench = Bench::on(&models, dialect, agent());
        bench.run.parameters.insert("temperature".into(), json!(0.25));
        bench.drive().await;
        let asked = models.asked().remove(0);
        let (key, system, messages) = match dialect {
            Dialect::Openai => ("authorization", &asked.body["messages"][0]["content"], 1),
            Dialect::Anthropic => ("x-api-key", &asked.body["system"], 0),
        };
        assert!(asked.headers[key].to_str().expect("a key").ends_with("secret-key"));
        assert_eq!(asked.body["model"], "model-1");
        assert!(system.to_string().contains("Be brief."), "{}", asked.body);
        assert!(asked.body["messages"][messages].to_string().contains("hello"), "{}", asked.body);
        assert_eq!(asked.body["temperature"], 0.25);
        assert_eq!(asked.body["max_tokens"], 100);
        let stops = asked.body.get("stop").or_else(|| asked.body.get("stop_sequences"));
        assert_eq!(stops, Some(&json!(["END"])));
        assert_eq!(asked.body["stream"], true);
    }
}

#[tokio::test]
async fn tools_are_offered_called_and_answered() {
    for dialect in BOTH {
        let server = ToolServer::start(vec![]).await;
        let calls = vec![
            ("id-1", "sum", json!({"n": 1}).to_string()),
            ("id-2", "sum", json!({"n": 2}).to_string()),
        ];
        let both = Turn::Say(Said { pieces: vec!["Wait."], calls, cut_off: false });
        let models = FakeModels::start(dialect, vec![both, say(&["Three."])]).await;
        let mut agent = agent();
        let mut tool = server.tool("sum", "/sum");
        tool["description"] = json!("Adds.");
        tool["input_schema"] = json!({"type": "object", "properties": {"n": {"type": "integer"}}});
        agent["tools"] = json!([tool]);
        let (outcome, ledger) = Bench::on(&models, dialect, agent).drive().await;
        assert_eq!(completed(&outcome), json!("Three."), "{dialect:?}");
        let mut bodies: Vec<Value> = server
            .called()
            .iter()
            .map(|call| serde_json::from_slice(&call.body).expect("JSON"))
            .collect();
        bodies.sort_by_key(|body| body["n"].as_i64());
        assert_eq!(bodies, [json!({"n": 1}), json!({"n": 2})]);
        assert_eq!(ledger.usage().input_tokens, 2 * USAGE.0);
        let asked = models.asked();
        let offered = asked[0].body["tools"][0].to_string();
        assert!(offered.contains("Adds.") && offered.contains("integer"), "{offered}");
        let messages = asked[1].body["messages"].as_array().expect("messages");
        let (answers, from) = match dialect {
            Dialect::Openai => (2, messages.len() - 2),
            Dialect::Anthropic => (1, messages.len() - 1),
        };
        let answers: String = messages[from..from + answers].iter().map(Value::to_string).collect();
        for part in ["id-1", "id-2", "echo"] {
            assert!(answers.contains(part), "{answers}");
        }
        assert!(messages[from - 1].to_string().contains("id-1"), "{messages:?}");
    }
}

#[tokio::test]
async fn arguments_that_are_no_json_are_told_to_the_model() {
    for dialect in BOTH {
        let server = ToolServer::start(vec![]).await;
        let calls = vec![("id-1", "sum", "{\"n\": ".to_owned())];
        let broken = Turn::Say(Said { calls, ..Said::default() });
        let models = FakeModels::start(dialect, vec![broken, say(&["Sorry."])]).await;
        let mut agent = agent();
        agent["tools"] = json!([server.tool("sum", "/sum")]);
        let (outcome, ledger) = Bench::on(&models, dialect, agent).drive().await;
        assert_eq!(completed(&outcome), json!("Sorry."));
        assert_eq!(ledger.event("tool.failed")["error"]["code"], "invalid_arguments");
        assert!(server.called().is_empty());
    }
}

#[tokio::test]
async fn a_limit_of_tokens_ends_the_run_as_incomplete() {
    for dialect in BOTH {
        let said = Said { pieces: vec!["Half a"], cut_off: true, ..Said::default() };
        let models = FakeModels::start(dialect, vec![Turn::Say(said)]).await;
        let (outcome, ledger) = Bench::on(&models, dialect, agent()).drive().await;
        let Outcome::Incomplete(_, "max_tokens", Some(text)) = outcome else {
            panic!("{outcome:?}")
        };
        assert_eq!(text, "Half a");
        assert_eq!(ledger.contents("assistant"), ["Half a"]);
    }
}

#[tokio::test]
async fn load_is_waited_out() {
    for dialect in BOTH {
        for status in [429, 500, 503, 529] {
            let busy = Turn::Status(status, vec![("retry-after", "0")], "{}".to_owned());
            let models = FakeModels::start(dialect, vec![busy.clone(), busy, say(&["ok"])]).await;
            let (outcome, ledger) = Bench::on(&models, dialect, agent()).drive().await;
            assert_eq!(completed(&outcome), json!("ok"), "{dialect:?} {status}");
            assert_eq!(models.asked().len(), 3);
            assert_eq!(ledger.usage().model_calls, 1);
        }
    }
}

#[tokio::test]
async fn what_the_provider_asks_to_wait_is_waited() {
    let busy = Turn::Status(429, vec![("retry-after", "0")], "{}".to_owned());
    let models = FakeModels::start(Dialect::Openai, vec![busy, say(&["ok"])]).await;
    let mut config = config(table(&models, Dialect::Openai));
    config.retry_base_ms = 3_600_000;
    let bench = Bench::with(json!({"model": "fake/m"}), json!("hello"), config);
    assert_eq!(completed(&bench.drive().await.0), json!("ok"));
}

#[tokio::test]
async fn an_error_that_stays_is_a_model_error_in_the_providers_words() {
    for dialect in BOTH {
        let body = json!({"error": {"message": "your key secret-key asks too much"}}).to_string();
        let models = FakeModels::start(dialect, vec![Turn::Status(400, vec![], body)]).await;
        let (outcome, _) = Bench::on(&models, dialect, agent()).drive().await;
        let expected = "the provider fake answered 400: your key *** asks too much";
        assert_eq!(failed(&outcome), ("model_error", expected));
        assert_eq!(models.asked().len(), 1, "not retried");

        let refused = Turn::Status(401, vec![], json!({"error": {"message": "bad"}}).to_string());
        let models = FakeModels::start(dialect, vec![refused]).await;
        let (outcome, _) = Bench::on(&models, dialect, agent()).drive().await;
        assert_eq!(failed(&outcome).1, "the provider fake refused the server's key (401)");
    }
}

#[tokio::test]
async fn an_error_that_does_not_pass_is_a_model_error_after_the_retries() {
    for dialect in BOTH {
        let models = FakeModels::start(dialect, vec![]).await;
        let mut agent = agent();
        agent["model_settings"]["max_retries"] = json!(2);
        let (outcome, _) = Bench::on(&models, dialect, agent).drive().await;
        let expected = "the provider fake answered 500: the script is used up (tried 3 times)";
        assert_eq!(failed(&outcome), ("model_error", expected));
        assert_eq!(models.asked().len(), 3);
    }
}

#[tokio::test]
async fn a_stream_that_breaks_is_asked_again_as_another_message() {
    let overload = json!({"error": {"type": "overloaded_error", "message": "busy"}});
    for dialect in BOTH {
        for broken in [
            Turn::Malformed("Hal"),
            Turn::CutShort("Hal"),
            Turn::Reset("Hal"),
            Turn::ErrorEvent("Hal", overload.clone()),
        ] {
            let told = format!("{dialect:?} {broken:?}");
            let models = FakeModels::start(dialect, vec![broken, say(&["Whole."])]).await;
            let (outcome, ledger) = Bench::on(&models, dialect, agent()).drive().await;
            assert_eq!(completed(&outcome), json!("Whole."), "{told}");
            let tokens = ledger.tokens();
            assert_eq!(tokens.len(), 2, "{told}");
            assert_ne!(tokens[0].0, tokens[1].0, "{told}: the void text has an id of its own");
            assert_eq!((tokens[1].1, tokens[1].2.as_str()), (0, "Whole."));
            let message = ledger.events().pop().expect("a message").1;
            assert_eq!(message["id"], tokens[1].0.as_str());
        }
    }
}

#[tokio::test]
async fn an_error_in_the_stream_that_stays_is_not_asked_again() {
    let wrong = json!({"error": {"type": "invalid_request_error", "message": "no such thing"}});
    for dialect in BOTH {
        let models = FakeModels::start(dialect, vec![Turn::ErrorEvent("", wrong.clone())]).await;
        let (outcome, _) = Bench::on(&models, dialect, agent()).drive().await;
        let (code, message) = failed(&outcome);
        assert!(code == "model_error" && message.contains("no such thing"), "{message}");
        assert_eq!(models.asked().len(), 1);
    }
}

#[tokio::test]
async fn a_provider_that_gives_no_answer_is_given_up_in_time() {
    let silent = async |dialect| {
        let models = FakeModels::start(dialect, vec![Turn::Silence]).await;
        let (outcome, _) = Bench::on(&models, dialect, agent()).drive().await;
        assert_eq!(failed(&outcome), ("model_error", "the model gave no answer in 1 seconds"));
    };
    tokio::join!(silent(Dialect::Openai), silent(Dialect::Anthropic));
}

#[tokio::test]
async fn a_stream_that_falls_silent_is_broken() {
    for dialect in BOTH {
        let turns = vec![Turn::Hang("Hal"), say(&["Whole."])];
        let models = FakeModels::start(dialect, turns).await;
        let mut config = config(table(&models, dialect));
        config.model_idle_ms = 50;
        let bench = Bench::with(json!({"model": "fast"}), json!("hello"), config);
        assert_eq!(completed(&bench.drive().await.0), json!("Whole."), "{dialect:?}");
    }
}

#[tokio::test]
async fn a_provider_that_is_away_is_a_model_error_that_does_not_name_its_address() {
    let models = FakeModels::start(Dialect::Openai, vec![]).await;
    let bench = Bench::on(&models, Dialect::Openai, agent());
    let address = models.base_url.clone();
    drop(models);
    tokio::task::yield_now().await;
    let (outcome, _) = bench.drive().await;
    let (code, message) = failed(&outcome);
    assert_eq!(code, "model_error");
    assert!(message.contains("tried 4 times") && !message.contains(&address), "{message}");
}

#[tokio::test]
async fn a_model_that_nobody_serves_is_a_model_error() {
    let (outcome, _) = Bench::new(json!({"model": "nobody/x"}), json!("x")).drive().await;
    let (code, message) = failed(&outcome);
    assert!(code == "model_error" && message.contains("no provider nobody"), "{message}");
}

#[tokio::test]
async fn too_many_tool_calls_at_once_are_a_model_error() {
    let calls = vec![("id", "t", "{}".to_owned()); 129];
    let many = Turn::Say(Said { calls, ..Said::default() });
    let models = FakeModels::start(Dialect::Openai, vec![many]).await;
    let (outcome, _) = Bench::on(&models, Dialect::Openai, agent()).drive().await;
    assert!(failed(&outcome).1.contains("129 tools"), "{outcome:?}");
}
