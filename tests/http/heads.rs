//! Heads of requests that are too large: refused with a reason as far as we read them, and without
//! one beyond that.

use super::{Caller, Reply};
use crate::harness::app::{App, Options};
use crate::harness::doors::Door;
use crate::http::floods::Wire;
use serde_json::json;

/// The answer over HTTP/2 without a negotiation.
async fn h2(caller: &Caller, target: &str, headers: &[(String, String)]) -> Reply {
    let http = reqwest::Client::builder().no_proxy().http2_prior_knowledge().build();
    let request = http.expect("an HTTP client").get(format!("{}{target}", caller.app.url));
    let mut request = request.bearer_auth(&caller.app.admin);
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let response = request.send().await.expect("an answer");
    let (status, headers) = (response.status(), response.headers().clone());
    let body = response.bytes().await.expect("a whole body").to_vec();
    Reply { status, headers, body }
}

fn many(count: usize, length: usize) -> Vec<(String, String)> {
    (0..count).map(|i| (format!("x-many-{i}"), "v".repeat(length))).collect()
}

fn borrowed(headers: &[(String, String)]) -> Vec<(&str, &str)> {
    headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_head_that_is_too_large_is_431_with_a_reason() {
    let caller = Caller::new().await;
    assert_eq!(caller.ask("GET /v1/agents", &borrowed(&many(70, 100)), b"").await.status, 200);
    for headers in [many(85, 1), many(1, 17_000), many(40, 500)] {
        let facts = caller.ask("GET /v1/agents", &borrowed(&headers), b"").await;
        facts.fails("request_header_fields_too_large");
        let over_h2 = h2(&caller, "/v1/agents", &headers).await;
        over_h2.fails("request_header_fields_too_large");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_head_that_nobody_reads_is_431_without_one() {
    let caller = Caller::new().await;
    for headers in [many(120, 1), many(1, 70_000)] {
        let mut head = String::from("GET /v1/agents HTTP/1.1\r\nhost: x\r\n");
        for (name, value) in &headers {
            head += &format!("{name}: {value}\r\n");
        }
        let mut wire = Wire::to(&caller.app).await;
        wire.send(format!("{head}\r\n").as_bytes()).await;
        let answer = String::from_utf8_lossy(&wire.rest().await).into_owned();
        assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    }
    let over_h2 = h2(&caller, "/v1/agents", &many(1, 40_000)).await;
    assert_eq!(over_h2.status, 431);
    assert_eq!(caller.ask("GET /healthz", &[], b"").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_target_that_is_too_long_is_414() {
    let caller = Caller::new().await;
    for target in [
        format!("/v1/agents?cursor={}", "x".repeat(17_000)),
        format!("/v1/agents/{}", "x".repeat(17_000)),
    ] {
        let reply = caller.ask(&format!("GET {target}"), &[], b"").await;
        assert_eq!(reply.fails("uri_too_long")["limit"], "16384");
        h2(&caller, &target, &[]).await.fails("uri_too_long");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn grpc_is_told_too() {
    let caller = Caller::new().await;
    for door in [Door::Grpc, Door::GrpcWeb] {
        let client = caller.app.door(door).with_header("x-long", &"v".repeat(17_000));
        let failure = client.call("AgentsService/ListAgents", json!({})).await;
        assert_eq!(failure.expect_err("refused").code, "request_header_fields_too_large");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn there_are_as_many_connections_as_may_be() {
    let config = "[server]\nconnections_max = 2\n".to_owned();
    let app = App::with(Options { config, ..Options::default() }).await;
    let request = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n";
    let mut first = Wire::to(&app).await;
    let mut second = Wire::to(&app).await;
    for wire in [&mut first, &mut second] {
        wire.send(request).await;
        assert!(wire.until(b"\"ok\"}").await);
    }
    let mut third = Wire::to(&app).await;
    third.send(request).await;
    // As long as two are there it is not heard, however often the second is.
    for _ in 0..100 {
        second.send(request).await;
        assert!(second.until(b"\"ok\"}").await);
    }
    assert!(!third.has_answer());
    drop(first);
    assert!(third.until(b"\"ok\"}").await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_request_names_one_host() {
    let caller = Caller::new().await;
    for (hosts, right) in [
        ("host: a.example:80\r\n", true),
        ("host:\r\n", true),
        ("", false),
        ("host: a.example\r\nhost: a.example\r\n", false),
        ("host: a b\r\n", false),
    ] {
        let mut wire = Wire::to(&caller.app).await;
        let head = format!("GET /healthz HTTP/1.1\r\n{hosts}connection: close\r\n\r\n");
        wire.send(head.as_bytes()).await;
        let answer = String::from_utf8_lossy(&wire.rest().await).into_owned();
        let status = if right { "HTTP/1.1 200 " } else { "HTTP/1.1 400 " };
        assert!(answer.starts_with(status), "{hosts:?}: {answer}");
        assert_eq!(answer.contains("\"field\":\"host\""), !right, "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_call_that_is_cut_off_is_no_fault_of_ours() {
    let caller = Caller::new().await;
    let mut wire = Wire::to(&caller.app).await;
    let head = format!(
        "POST /runplane.v1.AgentsService/ListAgents HTTP/1.1\r\nhost: x\r\n\
         authorization: Bearer {}\r\ncontent-type: application/grpc-web+proto\r\n\
         content-length: 50\r\n\r\n\0\0",
        caller.app.admin
    );
    wire.send(head.as_bytes()).await;
    wire.end().await;
    let answer = String::from_utf8_lossy(&wire.rest().await).into_owned();
    assert!(answer.contains("grpc-status: 1\r\n"), "cancelled, not internal: {answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_is_not_one_for_all_is_not_kept() {
    let caller = Caller::new().await;
    let agent = caller.agent().await;
    let agent = format!("GET /v1/agents/{}", agent["id"].as_str().expect("an id"));
    for (line, kept) in [
        ("GET /v1/agents", "no-store"),
        ("GET /v1/agents/agt_0", "no-store"),
        (&agent, "private, no-cache"),
    ] {
        let reply = caller.ask(line, &[], b"").await;
        assert_eq!(reply.headers["cache-control"], kept, "{line}");
    }
}
