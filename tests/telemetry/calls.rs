//! Calls that are not as most are: one whose caller goes away, probes, and what strangers make up.

use std::time::Duration;

use reqwest::Method;
use runplane::proto::runplane::v1::GetRunRequest;
use runplane::proto::runplane::v1::runs_service_client::RunsServiceClient;
use serde_json::{Value, json};
use tonic::transport::Channel;

use super::{SAMPLED, TRACE, admin, page};
use crate::harness::collector::{Came, Collector, tree};
use crate::harness::process::{Api, Program};

/// A caller that waits no longer.
const SHORT: Duration = Duration::from_secs(2);

/// The lines of calls that were broken off.
fn gone(program: &Program) -> Vec<Value> {
    let all = program.logged.all();
    let lines = all.iter().filter(|line| line.contains("the caller has gone"));
    lines.map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// Calls a method over gRPC and goes away, on a connection that goes on.
async fn break_off_over_grpc(api: &Api, run_id: &str) {
    let channel = Channel::from_shared(api.url.clone()).expect("a URL").connect().await;
    let mut runs = RunsServiceClient::new(channel.expect("a connection"));
    let asked = GetRunRequest { id: run_id.to_owned(), wait: Some(60) };
    let mut request = tonic::Request::new(asked);
    let key = format!("Bearer {}", api.key);
    request.metadata_mut().insert("authorization", key.parse().expect("a value"));
    let waited = tokio::time::timeout(SHORT, runs.get_run(request)).await;
    assert!(waited.is_err(), "it waits for the run: {waited:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_whose_caller_goes_away_is_told_of_and_is_no_fault_of_ours() {
    let collector = Collector::start().await;
    let config = format!(
        "{}[admin]\nlisten = '127.0.0.1:0'\n[server]\nrole = 'server'\n",
        collector.config("grpc")
    );
    let mut program = Program::new(&config);
    let api = program.start().await;
    let admin = admin(&program.logged).await;
    let agent = json!({"name": "a", "model": "sim", "sim": {"turns": [{"text": "hi"}]}});
    let agent_id = api.agent(&agent).await;
    // Nobody drives it.
    let run_id = api.start(&agent_id, &json!("hello")).await;
    let waits = api.request(Method::GET, &format!("/v1/runs/{run_id}?wait=60"));
    let broken = waits.header("traceparent", SAMPLED).timeout(SHORT).send().await;
    assert!(broken.expect_err("it waits for the run").is_timeout());
    program.logged.with("the caller has gone", 1).await;
    let line = &gone(&program)[0];
    let (method, level) = (&line["method"], &line["level"]);
    assert_eq!((method, level), (&json!("runplane.v1.RunsService/GetRun"), &json!("INFO")));
    let (dialect, status) = (&line["dialect"], &line["status"]);
    assert_eq!((dialect, status), (&json!("rest"), &json!("499")), "{line}");
    assert!(line["elapsed_ms"].as_f64().is_some_and(|ms| ms > 0.0), "{line}");
    break_off_over_grpc(&api, &run_id).await;
    program.logged.with("the caller has gone", 2).await;
    let line = &gone(&program)[1];
    let (dialect, status) = (&line["dialect"], &line["status"]);
    assert_eq!((dialect, status), (&json!("grpc"), &json!("CANCELLED")), "{line}");

    let (text, found) = page(&admin).await;
    for status in ["status=\"499\"", "status=\"CANCELLED\""] {
        let is_count = |name: &str| {
            name.starts_with("runplane_request_duration_seconds_count") && name.contains(status)
        };
        let count = found.iter().find(|(name, _)| is_count(name)).map(|(_, count)| *count);
        assert_eq!(count, Some(1.0), "{status}\n{text}");
    }
    assert_eq!(found["runplane_requests_active"], 0.0, "{text}");
    let is_told = |span: &Came| {
        let status = span.attributes.get("http.response.status_code");
        span.name == "GET /v1/runs/*" && status.is_some_and(|status| status == "499")
    };
    collector.until(|collector| collector.spans().iter().any(is_told)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn probes_are_not_traced_and_what_strangers_make_up_makes_no_names() {
    let collector = Collector::start().await;
    let mut program = Program::new(&collector.config("grpc"));
    let api = program.start().await;
    for path in ["/livez", "/readyz", "/healthz"] {
        let request = api.request(Method::GET, path).header("traceparent", SAMPLED);
        assert_eq!(request.send().await.expect("an answer").status(), 200);
    }
    let made_up = Method::from_bytes(b"TARANTELLA").expect("a method");
    let path = format!("/v1/{}", "x".repeat(3000));
    api.request(made_up, &path).send().await.expect("an answer");
    program.terminate();
    assert!(program.ended().await.success());
    let (spans, all) = (collector.spans(), tree(&collector.spans()));
    let path_of = |span: &Came| span.attributes.get("url.path").cloned().unwrap_or_default();
    assert!(spans.iter().all(|span| !path_of(span).ends_with('z')), "{all}");
    assert!(spans.iter().all(|span| span.trace != TRACE), "{all}");
    let strange = spans.iter().find(|span| span.name.starts_with("HTTP")).expect("a span");
    assert_eq!(strange.attributes["http.request.method"], "_OTHER");
    assert_eq!(strange.attributes["url.path"], path[..1024]);
    assert!(!collector.has("TARANTELLA"));
}
