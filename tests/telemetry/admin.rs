//! The admin port: metrics and health, and nothing else.

use std::time::Duration;

use reqwest::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::admin;
use crate::harness::process::{Api, Program};

const ADMIN: &str = "[admin]\nlisten = '127.0.0.1:0'\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_admin_port_tells_metrics_and_health_and_nothing_else() {
    let mut program = Program::new(ADMIN);
    let api = program.start().await;
    let admin = Api::new(&admin(&program.logged).await, &api.key);
    for path in ["/livez", "/readyz", "/healthz"] {
        assert_eq!(admin.get(path).await, api.get(path).await, "{path}");
        assert_eq!(admin.get(path).await.0, 200);
    }
    let page = admin.request(Method::GET, "/metrics").send().await.expect("an answer");
    assert_eq!(page.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    let head = admin.request(Method::HEAD, "/metrics").send().await.expect("an answer");
    assert_eq!((head.status().as_u16(), head.text().await.expect("none")), (200, String::new()));
    for (method, path) in [
        (Method::POST, "/metrics"),
        (Method::GET, "/"),
        (Method::GET, "/v1/agents"),
        (Method::GET, "/docs"),
        (Method::GET, "/metrics/"),
    ] {
        let refused = admin.request(method, path).send().await.expect("an answer");
        assert_eq!(refused.status(), 404, "{path}");
    }
    let (status, _) = api.get("/metrics").await;
    assert_eq!(status, 404, "the port of callers tells no metrics");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_says_nothing_is_left_and_the_end_waits_for_none() {
    let mut program = Program::new(ADMIN);
    program.start().await;
    let address = admin(&program.logged).await;
    let address = address.trim_start_matches("http://").to_owned();
    let mut silent = TcpStream::connect(&address).await.expect("a connection");
    silent.write_all(b"GET /metrics HTTP/1.1\r\nHost:").await.expect("half a head");
    let mut answer = Vec::new();
    let left = timeout(Duration::from_secs(20), silent.read_to_end(&mut answer)).await;
    left.expect("it is left").expect("an end");
    let _open = TcpStream::connect(&address).await.expect("a connection");
    program.terminate();
    assert!(timeout(Duration::from_secs(10), program.ended()).await.expect("it ends").success());
}
