//! Callers that are refused while they still send: they are heard to their end, so that they find
//! the answer and not a broken connection. Those that ask before they send are told not to.

use super::Caller;
use super::floods::Wire;

/// Bytes of a body that no socket takes at once.
const LARGE: usize = 3_000_000;

fn head(line: &str, length: usize, headers: &str) -> Vec<u8> {
    let head = format!("{line} HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n{headers}\r\n");
    head.into_bytes()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn who_is_refused_may_send_to_the_end() {
    let caller = Caller::new().await;
    let key = format!("authorization: Bearer {}\r\n", caller.app.admin);
    for (line, headers, status) in [
        ("POST /v1/agents", String::new(), 401),
        ("POST /v1/agents", "authorization: Bearer x\r\n".to_owned(), 401),
        ("POST /v1/agents", "origin: https://elsewhere.example\r\n".to_owned(), 403),
        ("POST /v1/agents", format!("{key}x-server-timeout: soon\r\n"), 400),
        ("POST /v1/agents", format!("{key}content-encoding: snappy\r\n"), 415),
        ("POST /v1/agents", format!("{key}content-type: application/json\r\n"), 413),
        ("GET /v1/agents", key.clone(), 400),
        ("POST /v1/nothing", key.clone(), 404),
        ("POST /openapi.json", String::new(), 405),
    ] {
        let mut wire = Wire::to(&caller.app).await;
        wire.send(&head(line, LARGE, &headers)).await;
        wire.send(&vec![b' '; LARGE]).await;
        let told = format!("HTTP/1.1 {status} ");
        assert!(wire.until(told.as_bytes()).await, "{line} {headers}: no {status}");
        // The connection goes on.
        wire.send(&head("GET /healthz", 0, "connection: close\r\n")).await;
        assert!(wire.until(b"\"ok\"}").await, "{line} {headers}: the connection ended");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn who_asks_before_it_sends_is_told_not_to() {
    let caller = Caller::new().await;
    let key = format!("authorization: Bearer {}\r\n", caller.app.admin);
    for (line, headers, status) in [
        ("POST /v1/agents", String::new(), 401),
        ("POST /v1/agents", "content-encoding: gzip\r\n".to_owned(), 401),
        ("POST /v1/agents", key.clone(), 413),
        ("POST /v1/agents", format!("{key}content-encoding: snappy\r\n"), 415),
        ("POST /v1/nothing", key.clone(), 404),
    ] {
        let mut wire = Wire::to(&caller.app).await;
        wire.send(&head(line, LARGE, &format!("expect: 100-continue\r\n{headers}"))).await;
        let answer = String::from_utf8_lossy(&wire.rest().await).into_owned();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{line} {headers}: {answer}");
    }
    let agent = br#"{"name":"Clerk","model":"sim","sim":{"turns":[{"text":"done"}]}}"#;
    let json = "content-type: application/json\r\nexpect: 100-continue\r\n";
    let mut wire = Wire::to(&caller.app).await;
    wire.send(&head("POST /v1/agents", agent.len(), &format!("{key}{json}"))).await;
    assert!(wire.until(b"HTTP/1.1 100 Continue\r\n\r\n").await, "what is wanted is asked for");
    wire.send(agent).await;
    assert!(wire.until(b"HTTP/1.1 201 ").await, "an agent");
}
