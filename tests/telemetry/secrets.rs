//! What is never sent, and what only an operator who wants it gets.

use super::{SAMPLED, agent, models, one, provider, run};
use crate::harness::collector::Collector;
use crate::harness::process::Program;
use crate::harness::tools::Tools;

/// What people, models and tools say in these tests.
const SAID: [&str; 5] = ["Methuselah", "Zarathustra", "It is 42.", "\"n\"", "\"n\":42"];

async fn sent(capture: bool) -> (Collector, Vec<String>) {
    let (collector, tools, provider) = (Collector::start().await, Tools::start().await, provider());
    let provider = provider.await;
    let capture = format!("capture_content = {capture}\n");
    let config = collector.config("grpc") + &capture + &models(&provider);
    let mut program = Program::new(&config);
    let api = program.start().await;
    let agent_id = api.agent(&agent(&tools)).await;
    let run_id = run(&api, &agent_id, SAMPLED).await;
    assert_eq!(api.settled(&run_id).await["status"], "completed");
    // A call that fails, with words of its own in path and query.
    assert_eq!(api.get("/v1/agents?limit=tarantella").await.0, 400);
    program.terminate();
    program.ended().await;
    let tool = tools.sent()[0].clone();
    let secret = api.key.rsplit('_').next().expect("a key").to_owned();
    let secrets = vec![secret, "sk-provider-secret".into(), "a-tenant".into(), tool.key];
    (collector, secrets)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_is_sent_and_nothing_that_people_say() {
    let (collector, secrets) = sent(false).await;
    assert!(collector.has("invoke_agent") && collector.has("execute_tool double"));
    for secret in secrets.iter().map(String::as_str).chain(SAID).chain(["tarantella"]) {
        assert!(!collector.has(secret), "{secret} was sent");
    }
    assert!(!collector.has("signature") && !collector.has("whsec_"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_people_say_is_sent_when_the_operator_wants_it_and_secrets_are_not() {
    let (collector, secrets) = sent(true).await;
    let spans = collector.spans();
    let chats: Vec<_> = spans.iter().filter(|span| span.name == "chat gpt-test").collect();
    let last = chats.iter().max_by_key(|span| span.times).expect("a chat");
    let said = |name: &str| -> serde_json::Value {
        serde_json::from_str(&last.attributes[name]).expect(name)
    };
    let system = &said("gen_ai.system_instructions")[0];
    assert_eq!(system["content"], "Be brief, says Zarathustra.");
    let input = said("gen_ai.input.messages");
    assert_eq!(input[0]["parts"][0]["content"], "What is twice Methuselah?");
    assert_eq!(input[1]["parts"][0]["arguments"]["n"], 21, "{input}");
    assert_eq!(input[2]["parts"][0]["response"]["n"], 42, "{input}");
    let output = said("gen_ai.output.messages");
    assert_eq!(output[0]["parts"][0]["content"], "It is 42.");
    assert_eq!(output[0]["finish_reason"], "stop");
    let tool = one(&spans, "execute_tool");
    assert_eq!(tool.attributes["gen_ai.tool.call.arguments"], r#"{"n":21}"#);
    assert_eq!(tool.attributes["gen_ai.tool.call.result"], r#"{"n":42}"#);
    for secret in &secrets {
        assert!(!collector.has(secret), "{secret} was sent");
    }
}
