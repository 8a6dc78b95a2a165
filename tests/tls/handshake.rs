//! Calls over TLS: every dialect, both versions of HTTP, both versions of TLS; and who speaks
//! neither.

use http::Version;
use hyper_util::rt::TokioIo;
use runplane::proto::runplane::v1::ListAgentsRequest;
use runplane::proto::runplane::v1::agents_service_client::AgentsServiceClient;
use runplane::serve::{self, Server};
use rustls::version::{TLS12, TLS13};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tonic::transport::Endpoint;

use super::{Authority, Files, Pair, address, http, http1, https, shake};
use crate::harness::app::App;
use crate::harness::doors::Door;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rest_is_spoken_over_both_versions_of_tls_and_http() {
    let files = Files::new();
    let app = files.app("").await;
    for tls in [&TLS12, &TLS13] {
        for version in [Version::HTTP_11, Version::HTTP_2] {
            let config = files.authority.caller_of(None, &[tls]);
            let client = if version == Version::HTTP_2 { http(config) } else { http1(config) };
            let client = client.build().unwrap();
            // Twice on one connection.
            for path in ["/v1/agents", "/openapi.json"] {
                let call = client.get(format!("{}{path}", https(&app))).bearer_auth(&app.admin);
                let answer = call.send().await.unwrap();
                assert_eq!((answer.status().as_u16(), answer.version()), (200, version));
                answer.bytes().await.unwrap();
            }
        }
    }
    let stranger = files.authority.http(None).build().unwrap();
    let refused = stranger.get(https(&app) + "/v1/agents").send().await.unwrap();
    assert_eq!(refused.status(), 401);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grpc_is_spoken_over_tls() {
    let files = Files::new();
    let app = files.app("").await;
    assert!(list(&app, &files.authority, None).await.is_ok());
}

/// Lists agents over gRPC, by a certificate or none.
pub async fn list(
    app: &App,
    authority: &Authority,
    shows: Option<&Pair>,
) -> Result<(), Box<dyn std::error::Error>> {
    let (url, config) = (app.url.clone(), authority.caller(shows));
    let connector = tower::service_fn(move |_| {
        let (url, config) = (url.clone(), config.clone());
        async move { shake(&url, config).await.map(TokioIo::new) }
    });
    let endpoint = Endpoint::from_shared(app.url.clone())?;
    let channel = endpoint.connect_with_connector(connector).await?;
    let mut request = tonic::Request::new(ListAgentsRequest::default());
    request.metadata_mut().insert("authorization", format!("Bearer {}", app.admin).parse()?);
    AgentsServiceClient::new(channel).list_agents(request).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_are_streamed_over_tls() {
    let files = Files::new();
    let app = files.app("").await;
    for client in [files.authority.http(None), http1(files.authority.caller(None))] {
        let client = client.build().unwrap();
        let post = |path: &str, body: Value| {
            let call = client.post(format!("{}{path}", https(&app))).bearer_auth(&app.admin);
            call.json(&body).send()
        };
        let agent = json!({"name": "Clerk", "model": "sim", "sim": {"turns": [{"text": "well"}]}});
        let made: Value = post("/v1/agents", agent).await.unwrap().json().await.unwrap();
        let run = json!({"agent_id": made["id"], "input": "x", "stream": true});
        let stream = post("/v1/runs", run).await.unwrap();
        assert_eq!(stream.headers()["content-type"], "text/event-stream");
        let text = stream.text().await.unwrap();
        assert!(text.contains("event: run.completed"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_odd_handshake_ends_its_connection_alone() {
    let files = Files::new();
    let app = files.app("").await;
    // A record that is none, one that lies about its length, and one that breaks off.
    for odd in [&b"\x16\x03\x01\x00\x05hello"[..], b"\x16\x03\x01\xff\xff", b"\x16"] {
        let mut stream = TcpStream::connect(address(&app.url)).await.unwrap();
        stream.write_all(odd).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut rest = Vec::new();
        let _reset = stream.read_to_end(&mut rest).await;
        assert!(!rest.starts_with(b"HTTP"), "{odd:?}");
    }
    let mut strange = files.authority.caller(None);
    strange.alpn_protocols = vec![b"smtp".to_vec()];
    assert!(shake(&app.url, strange).await.is_err());
    let untrusting = Authority::new("another").caller(None);
    assert!(shake(&app.url, untrusting).await.is_err());
    assert!(list(&app, &files.authority, None).await.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_preface_may_come_in_parts() {
    let files = Files::new();
    let app = files.app("").await;
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    for parts in [&[preface.len()][..], &[1, 2, 14, 23, 24, 30]] {
        let mut stream = shake(&app.url, files.authority.caller(None)).await.unwrap();
        let mut begun = 0;
        for end in parts.iter().copied().chain([preface.len()]) {
            stream.write_all(&preface[begun..end]).await.unwrap();
            stream.flush().await.unwrap();
            begun = end;
        }
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.unwrap();
        assert_eq!(head[3], 4, "a frame of settings");
    }
    let mut stream = shake(&app.url, files.authority.caller(None)).await.unwrap();
    for part in [&b"P"[..], b"UT /v1/agents HTTP/1.1\r\nhost: x\r\ncon", b"nection: close\r\n\r\n"]
    {
        stream.write_all(part).await.unwrap();
        stream.flush().await.unwrap();
    }
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.expect("an end that is told");
    assert!(answer.starts_with(b"HTTP/1.1 405 "), "{}", String::from_utf8_lossy(&answer));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_a_port_with_tls_calls_in_the_clear_are_told_so() {
    let files = Files::new();
    let app = files.app("").await;
    for door in Door::ALL {
        for caller in [app.door(door), app.stranger(door)] {
            let failure = caller.call("AgentsService/ListAgents", json!({})).await.unwrap_err();
            assert_eq!(failure.code, "https_required", "{door:?}");
            let telling = caller.with_header("x-forwarded-proto", "https");
            let failure = telling.call("AgentsService/ListAgents", json!({})).await.unwrap_err();
            assert_eq!(failure.code, "https_required", "{door:?}");
        }
    }
    let health = reqwest::get(format!("{}/healthz", app.url)).await.unwrap();
    assert_eq!(health.status(), 200, "probes need no certificate");
}

#[tokio::test]
async fn files_that_cannot_be_used_are_told_before_anything_is_served() {
    let files = Files::new();
    let other = files.authority.issue("other");
    let gone = files.folder.path().join("gone.pem");
    let odd = files.folder.path().join("odd.pem");
    std::fs::write(&odd, "no certificate").unwrap();
    let mixed = files.folder.path().join("mixed.pem");
    std::fs::write(&mixed, &other.certificate).unwrap();
    for (certificate, key, told) in [
        (&gone, files.key(), "gone.pem"),
        (&odd, files.key(), "tls.certificate"),
        (&files.certificate(), odd.clone(), "tls.key"),
        (&mixed, files.key(), "tls.certificate with tls.key"),
    ] {
        let program = crate::harness::process::Program::new(&super::config(certificate, &key));
        for command in ["check", "serve"] {
            let refused = program.command(&[command]).await;
            let why = String::from_utf8_lossy(&refused.stderr).into_owned();
            assert_eq!(refused.status.code(), Some(1), "{command}: {why}");
            assert!(why.contains(told) && !why.contains("BEGIN"), "{command}: {why}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_embedded_tells_too() {
    let files = Files::new();
    std::fs::write(files.key(), "").unwrap();
    let url = format!("sqlite://{}", files.folder.path().join("runplane.db").display());
    let text = files.config("") + &format!("[store]\nurl = {url:?}\n[auth]\npepper = \"x\"\n");
    let config = runplane::kernel::config::Config::with(&text).unwrap();
    let server = Server::build(config).await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let failed = serve::run(server, listener, std::future::pending()).await;
    assert!(failed.is_err());
}
