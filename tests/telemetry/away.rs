//! A collector that is away, or that hangs: no call waits for it, and neither does the end.

use std::time::Duration;

use serde_json::json;
use tokio::net::TcpSocket;
use tokio::time::Instant;

use crate::harness::collector::Collector;
use crate::harness::process::Program;

/// What the end of a server takes at most on a busy machine, with all that its collector makes it
/// wait. Less than an answer of the collector is waited for, which is ten seconds.
const STOP: Duration = Duration::from_secs(8);
/// What the calls take at most: a fraction of what they would if one in ten waited for an answer.
const CALLS: Duration = Duration::from_secs(60);

/// Calls a server whose spans and metrics go there, and stops it.
async fn calls(config: &str) -> Program {
    let mut program = Program::new(config);
    let api = program.start().await;
    let begun = Instant::now();
    for _ in 0..200 {
        assert_eq!(api.get("/v1/agents").await.0, 200);
    }
    let agent = json!({"name": "a", "model": "sim", "sim": {"turns": [{"text": "hi"}]}});
    let agent_id = api.agent(&agent).await;
    let run_id = api.start(&agent_id, &json!("hello")).await;
    assert_eq!(api.settled(&run_id).await["status"], "completed");
    assert!(begun.elapsed() < CALLS, "{:?}", begun.elapsed());
    let stopping = Instant::now();
    program.terminate();
    assert!(program.ended().await.success());
    let took = stopping.elapsed();
    println!("202 calls and a run in {:?}, the end in {took:?}", stopping - begun);
    assert!(took < STOP, "{took:?}");
    program
}

/// How many lines say so, once the log has come to its end.
async fn told(program: &Program, part: &str) -> usize {
    // The last that is said of spans, after all that is said of metrics.
    program.logged.with("spans did not reach the collector", 1).await;
    program.logged.all().iter().filter(|line| line.contains(part)).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_hangs_delays_no_call_and_the_end_by_two_seconds_at_most() {
    for protocol in ["grpc", "http"] {
        let collector = Collector::hanging().await;
        let program = calls(&collector.config(protocol)).await;
        assert!(collector.len() > 0, "it was sent something");
        let late = told(&program, "could not be sent in time").await;
        assert_eq!(late, 2, "of spans and of metrics: {}", program.logged);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_is_away_is_told_of_once() {
    // A port that is taken, and where nobody listens.
    let taken = TcpSocket::new_v4().expect("a socket");
    taken.bind("127.0.0.1:0".parse().expect("an address")).expect("a free port");
    let url = format!("http://{}", taken.local_addr().expect("an address"));
    for protocol in ["grpc", "http"] {
        let config = format!(
            "[telemetry]\notlp_endpoint = {url:?}\notlp_protocol = {protocol:?}\n\
             metrics_seconds = 1\n"
        );
        let program = calls(&config).await;
        for (part, most) in [
            ("the collector takes no spans", 1),
            ("spans did not reach the collector", 1),
            ("the collector takes no metrics", 1),
        ] {
            assert!(told(&program, part).await <= most, "{part}: {}", program.logged);
        }
    }
}

#[tokio::test]
async fn a_configuration_that_cannot_send_is_told_of_by_check() {
    let config = "[admin]\nlisten = 'here'\n[telemetry]\notlp_endpoint = 'collector:4317'\n\
        otlp_headers = 'hunter2'\n[log]\nfilter = 'a=b=c'\n";
    let refused = Program::new(config).command(&["check"]).await;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success());
    for key in ["admin.listen", "telemetry.otlp_endpoint", "telemetry.otlp_headers", "log.filter"] {
        assert!(said.contains(key), "{key}: {said}");
    }
    assert!(!said.contains("hunter2"), "{said}");
}
