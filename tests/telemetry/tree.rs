//! A run is one tree: from the call that creates it, through the queue and another process, to the
//! calls of models and tools, which are told where they stand.

use std::collections::BTreeSet;

use runplane::proto::runplane::v1::CreateRunRequest;
use runplane::proto::runplane::v1::runs_service_client::RunsServiceClient;
use serde_json::json;
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;

use super::{CALLER, SAMPLED, TRACE, UNSAMPLED, agent, models, names, one, provider, run};
use crate::harness::collector::{Came, Collector, tree};
use crate::harness::databases::postgres_copy;
use crate::harness::process::{Api, Program};
use crate::harness::tools::Tools;

const SHARED: &str = "[auth]\npepper = 'shared'\n[engine]\npoll_ms = 100\n";

fn program(url: &str, role: &str, more: &str) -> Program {
    Program::on(url, &format!("{SHARED}{more}[server]\nrole = {role:?}\n"))
}

/// True when the call and the attempt have ended, whose spans come after all below them; they may
/// be sent by two processes.
fn is_whole(collector: &Collector) -> bool {
    let spans = of_trace(collector);
    let has = |is: fn(&Came) -> bool| spans.iter().any(is);
    has(|span| span.name.starts_with("invoke_agent")) && has(|span| span.parent == CALLER)
}

fn of_trace(collector: &Collector) -> Vec<Came> {
    collector.spans().into_iter().filter(|span| span.trace == TRACE).collect()
}

/// Checks that every span but the caller's is there, and that one leads to the other.
fn connected(spans: &[Came]) {
    let ids: BTreeSet<&str> = spans.iter().map(|span| span.id.as_str()).collect();
    assert_eq!(ids.len(), spans.len());
    let roots: Vec<_> = spans.iter().filter(|span| !ids.contains(span.parent.as_str())).collect();
    assert_eq!(roots.len(), 1, "one root: {}", tree(spans));
    assert_eq!((roots[0].parent.as_str(), roots[0].kind), (CALLER, 2), "{:?}", roots[0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_is_one_connected_tree_from_the_call_through_queue_and_worker_to_models_and_tools() {
    let (collector, tools, provider) = (Collector::start().await, Tools::start().await, provider());
    let provider = provider.await;
    let (config, _place) = postgres_copy().await;
    let more = collector.config("grpc") + &models(&provider);
    let mut server = program(&config.url, "server", &more);
    let mut worker = program(&config.url, "worker", &more);
    let api = server.start().await;
    worker.start_with(&api.key).await;
    let agent_id = api.agent(&agent(&tools)).await;
    let run_id = run(&api, &agent_id, SAMPLED).await;
    assert_eq!(api.settled(&run_id).await["output"]["result"], "It is 42.");
    collector.until(is_whole).await;
    let spans = of_trace(&collector);
    println!("{}", tree(&spans));
    connected(&spans);
    names::check(&spans);

    assert!(spans.iter().all(|span| span.status == 0), "nothing has failed");
    let call = one(&spans, "POST /v1/runs");
    assert_eq!(call.attributes["rpc.method"], "runplane.v1.RunsService/CreateRun");
    assert_eq!(call.attributes["http.route"], "/v1/runs");
    assert_eq!(call.attributes["http.response.status_code"], "202");
    let attempt = one(&spans, "invoke_agent doubler");
    assert_eq!(attempt.parent, call.id, "the queue is between them");
    assert_ne!(attempt.sender, call.sender, "two processes");
    assert_eq!(attempt.attributes["runplane.run.id"], run_id);
    assert_eq!(attempt.attributes["gen_ai.agent.id"], agent_id);
    assert_eq!(attempt.attributes["gen_ai.conversation.id"], "a-talk");
    assert_eq!(attempt.attributes["runplane.run.status"], "completed");

    let chats: Vec<_> = spans.iter().filter(|span| span.name == "chat gpt-test").collect();
    assert_eq!(chats.len(), 2, "{}", tree(&spans));
    for chat in &chats {
        assert_eq!((chat.parent.as_str(), chat.kind), (attempt.id.as_str(), 3));
        assert_eq!(chat.attributes["gen_ai.provider.name"], "openai");
        assert_eq!(chat.attributes["gen_ai.usage.input_tokens"], "11");
        assert_eq!(chat.attributes["gen_ai.usage.output_tokens"], "7");
    }
    let reasons: BTreeSet<_> =
        chats.iter().map(|chat| &*chat.attributes["gen_ai.response.finish_reasons"]).collect();
    assert_eq!(reasons, BTreeSet::from(["stop", "tool_calls"]));
    let tool = one(&spans, "execute_tool double");
    assert_eq!(tool.parent, attempt.id);
    assert!(tool.attributes["gen_ai.tool.call.id"].starts_with("call_"));
    let post = spans.iter().find(|span| span.parent == tool.id).expect("a request");
    assert_eq!(
        (post.name.as_str(), &*post.attributes["http.response.status_code"]),
        ("POST", "200")
    );
    for name in ["transaction engine.claim", "transaction engine.commit"] {
        let below = |span: &&Came| span.name == name && span.parent == attempt.id;
        let count = spans.iter().filter(below).count();
        assert_eq!(count > 0, name.ends_with("commit"), "{name}: {}", tree(&spans));
    }

    // Whoever is called is told which span calls.
    assert_eq!(tools.sent()[0].traceparent, format!("00-{TRACE}-{}-01", post.id));
    let asked: BTreeSet<String> = provider
        .asked()
        .iter()
        .map(|asked| asked.headers["traceparent"].to_str().expect("text").to_owned())
        .collect();
    assert!(provider.asked().iter().all(|asked| !asked.headers.contains_key("tracestate")));
    let expected = chats.iter().map(|chat| format!("00-{TRACE}-{}-01", chat.id)).collect();
    assert_eq!(asked, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_is_created_over_grpc_is_one_tree_too_and_so_it_is_sent_over_http() {
    let (collector, tools, provider) = (Collector::start().await, Tools::start().await, provider());
    let provider = provider.await;
    let mut program = Program::new(&(collector.config("http") + &models(&provider)));
    let api = program.start().await;
    let agent_id = api.agent(&agent(&tools)).await;
    let run_id = created_over_grpc(&api, &agent_id).await;
    api.settled(&run_id).await;
    collector.until(is_whole).await;
    let spans = of_trace(&collector);
    println!("{}", tree(&spans));
    connected(&spans);
    names::check(&spans);
    let call = one(&spans, "runplane.v1.RunsService/CreateRun");
    assert_eq!(call.attributes["rpc.system.name"], "grpc");
    assert_eq!(call.attributes["rpc.response.status_code"], "OK");
    assert_eq!(one(&spans, "invoke_agent").parent, call.id);
    assert_eq!(tools.sent()[0].traceparent[3..35], *TRACE);
    let sent = collector.headers();
    assert!(sent.iter().all(|headers| headers["x-tenant"] == "a-tenant"), "{sent:?}");
}

async fn created_over_grpc(api: &Api, agent_id: &str) -> String {
    let channel = Channel::from_shared(api.url.clone()).expect("a URL").connect().await;
    let mut runs = RunsServiceClient::new(channel.expect("a connection"));
    let mut request = tonic::Request::new(CreateRunRequest {
        agent_id: agent_id.to_owned(),
        ..CreateRunRequest::default()
    });
    let key = format!("Bearer {}", api.key);
    request.metadata_mut().insert("authorization", key.parse().expect("a value"));
    request.metadata_mut().insert("traceparent", MetadataValue::from_static(SAMPLED));
    runs.create_run(request).await.expect("a run").into_inner().id
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_is_not_sampled_has_nothing_sampled_down_to_the_tool() {
    let (collector, tools, provider) = (Collector::start().await, Tools::start().await, provider());
    let provider = provider.await;
    let mut program = Program::new(&(collector.config("grpc") + &models(&provider)));
    let api = program.start().await;
    let agent_id = api.agent(&agent(&tools)).await;
    let run_id = run(&api, &agent_id, UNSAMPLED).await;
    api.settled(&run_id).await;
    // The end sends what is left.
    program.terminate();
    program.ended().await;
    assert!(!collector.spans().is_empty(), "other calls are traced");
    assert_eq!(of_trace(&collector).len(), 0, "{}", tree(&collector.spans()));
    let told = &tools.sent()[0].traceparent;
    assert!(told.starts_with(&format!("00-{TRACE}-")) && told.ends_with("-00"), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attempt_after_a_wait_is_linked_with_the_one_before() {
    let collector = Collector::start().await;
    let mut program = Program::new(&collector.config("grpc"));
    let api = program.start().await;
    let asks = json!({
        "name": "asking", "model": "sim", "tools": [{"name": "ask", "client": {}}],
        "sim": {"turns": [{"tool_calls": [{"name": "ask"}]}, {"text": "thanks"}]},
    });
    let agent_id = api.agent(&asks).await;
    let run_id = run(&api, &agent_id, SAMPLED).await;
    let waiting = api.settled(&run_id).await;
    let id = &waiting["required_action"]["tool_calls"][0]["id"];
    let outputs = json!({"tool_outputs": [{"tool_call_id": id, "output": "here"}]});
    let path = format!("/v1/runs/{run_id}/submit_tool_outputs");
    assert_eq!(api.post(&path, &outputs).await.0, 200);
    assert_eq!(api.settled(&run_id).await["status"], "completed");
    let attempts = |collector: &Collector| {
        let spans = of_trace(collector).into_iter();
        let mut found: Vec<Came> =
            spans.filter(|span| span.name.starts_with("invoke_agent")).collect();
        found.sort_by_key(|span| span.times);
        found
    };
    collector.until(|collector| attempts(collector).len() == 2).await;
    let [first, second] = &attempts(&collector)[..] else { panic!("two attempts") };
    assert_eq!(first.parent, second.parent, "both are the call's");
    assert_eq!((&first.links[..], &second.links[..]), (&[][..], &[first.id.clone()][..]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_traces_that_begin_here_a_share_is_sent() {
    let collector = Collector::start().await;
    let mut program = Program::new(&(collector.config("grpc") + "traces_ratio = 0.0\n"));
    let api = program.start().await;
    for _ in 0..5 {
        assert_eq!(api.get("/v1/agents").await.0, 200);
    }
    let agent_id = api.agent(&json!({"name": "a", "model": "sim", "sim": {"turns": []}})).await;
    run(&api, &agent_id, SAMPLED).await;
    program.terminate();
    program.ended().await;
    let spans = collector.spans();
    assert!(!spans.is_empty() && spans.iter().all(|span| span.trace == TRACE), "{}", tree(&spans));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_is_not_trusted_decides_nothing_and_is_linked_to() {
    for (traceparent, ratio, is_sent) in [(UNSAMPLED, "1.0", true), (SAMPLED, "0.0", false)] {
        let collector = Collector::start().await;
        let config = format!("traces_trust = false\ntraces_ratio = {ratio}\n");
        let mut program = Program::new(&(collector.config("grpc") + &config));
        let api = program.start().await;
        let echo = json!({"name": "a", "model": "sim", "sim": {"turns": [{"text": "hi"}]}});
        let agent_id = api.agent(&echo).await;
        let run_id = run(&api, &agent_id, traceparent).await;
        api.settled(&run_id).await;
        // The end sends what is left.
        program.terminate();
        program.ended().await;
        let spans = collector.spans();
        assert_eq!(of_trace(&collector).len(), 0, "{}", tree(&spans));
        assert_eq!(spans.is_empty(), !is_sent, "{}", tree(&spans));
        if is_sent {
            let call = one(&spans, "POST /v1/runs");
            assert_eq!((&*call.parent, &call.links[..]), ("", &[CALLER.to_owned()][..]));
            assert_eq!(one(&spans, "invoke_agent").parent, call.id);
        }
    }
}
