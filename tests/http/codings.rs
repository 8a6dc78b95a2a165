//! Content codings: answers as the caller accepts them, bodies as it has coded them, and bombs.

use async_compression::Level;
use async_compression::tokio::bufread::{
    BrotliDecoder, BrotliEncoder, GzipDecoder, GzipEncoder, ZstdDecoder, ZstdEncoder,
};
use async_compression::zstd::CParameter;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt};
use tonic::codec::CompressionEncoding;
use tonic::transport::Endpoint;
use tonic_types::StatusExt;

use super::Caller;
use crate::harness::contract;
use crate::harness::doors::Door;
use crate::harness::raw::RawCodec;

const CODINGS: [&str; 3] = ["gzip", "br", "zstd"];

async fn read(mut reader: impl AsyncRead + Unpin) -> Vec<u8> {
    let mut all = Vec::new();
    reader.read_to_end(&mut all).await.expect("well coded");
    all
}

async fn decode(coding: &str, body: &[u8]) -> Vec<u8> {
    match coding {
        "gzip" => read(GzipDecoder::new(body)).await,
        "br" => read(BrotliDecoder::new(body)).await,
        _ => read(ZstdDecoder::new(body)).await,
    }
}

async fn encode(coding: &str, body: &[u8]) -> Vec<u8> {
    match coding {
        "gzip" => read(GzipEncoder::new(body)).await,
        "br" => read(BrotliEncoder::with_quality(body, Level::Precise(4))).await,
        _ => read(ZstdEncoder::new(body)).await,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn answers_are_coded_as_the_caller_accepts() {
    let caller = Caller::new().await;
    let agent = caller.agent().await;
    let line = format!("GET /v1/agents/{}", agent["id"].as_str().expect("an id"));
    let plain = caller.ask(&line, &[], b"").await;
    assert_eq!(plain.header("content-encoding"), "");
    let accepts = [("gzip", "gzip"), ("gzip, br;q=0.9, zstd;q=0", "gzip"), ("gzip, br", "br")];
    for (accept, coding) in accepts.into_iter().chain([("gzip, deflate, br, zstd", "zstd")]) {
        let accept = ("accept-encoding", accept);
        let coded = caller.ask(&line, &[accept], b"").await;
        assert_eq!(coded.header("content-encoding"), coding, "{accept:?}");
        assert_eq!(coded.header("vary"), "accept-encoding");
        assert!(coded.body.len() * 4 < plain.body.len(), "{coding}: {}", coded.body.len());
        assert_eq!(decode(coding, &coded.body).await, plain.body, "{coding}");
        let etag = coded.header("etag").to_owned();
        assert_eq!(etag.replace(&format!("-{coding}"), ""), plain.header("etag"));
        assert_ne!(etag, plain.header("etag"));
        let head = caller.ask(&line.replace("GET", "HEAD"), &[accept], b"").await;
        for name in ["etag", "content-encoding", "vary", "content-type"] {
            assert_eq!(head.header(name), coded.header(name), "{coding} {name}");
        }
        let known = caller.ask(&line, &[accept, ("if-none-match", &etag)], b"").await;
        assert_eq!((known.status.as_u16(), known.header("etag")), (304, etag.as_str()));
        let foreign = caller.ask(&line, &[("if-none-match", &etag)], b"").await;
        assert_eq!(foreign.status, 200, "another coding is another representation");
        let change = line.replace("GET", "PATCH");
        let same = caller.ask(&change, &[("if-match", &etag)], br#"{"max_steps":50}"#).await;
        assert_eq!(same.status, 200, "a change is of the resource");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_is_small_or_streams_is_not_coded() {
    let caller = Caller::new().await;
    let agent = caller.agent().await;
    let accept = ("accept-encoding", "gzip, br, zstd");
    for line in ["GET /healthz", "GET /v1/agents/agt_0"] {
        let reply = caller.ask(line, &[accept], b"").await;
        assert_eq!(reply.header("content-encoding"), "", "{line}");
    }
    let run = json!({"agent_id": agent["id"], "input": "x".repeat(5000)}).to_string();
    for kind in ["text/event-stream", "application/x-ndjson"] {
        let headers = [accept, ("accept", kind)];
        let reply = caller.ask("POST /v1/runs", &headers, run.as_bytes()).await;
        assert_eq!((reply.header("content-type"), reply.header("content-encoding")), (kind, ""));
        assert!(reply.body.len() > 2000, "{kind}");
        let late = [headers[0], headers[1], ("x-server-timeout", "30")];
        let reply = caller.ask("POST /v1/runs", &late, run.as_bytes()).await;
        assert_eq!(reply.header("content-encoding"), "", "{kind}");
    }
    let forced = [("accept-encoding", "gzip, identity;q=0")];
    let reply = caller.ask("GET /healthz", &forced, b"").await;
    assert_eq!(decode("gzip", &reply.body).await, br#"{"status":"ok"}"#);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn bodies_are_taken_as_they_are_coded() {
    let caller = Caller::new().await;
    let agent = json!({"name": "Clerk", "model": "sim", "sim": {"turns": [{"text": "done"}]}});
    let agent = agent.to_string();
    for (name, coding) in [
        ("gzip", "gzip"),
        ("X-GZip", "gzip"),
        ("br", "br"),
        ("zstd", "zstd"),
        ("identity, br", "br"),
    ] {
        let body = encode(coding, agent.as_bytes()).await;
        let reply = caller.ask("POST /v1/agents", &[("content-encoding", name)], &body).await;
        assert_eq!(reply.status, 201, "{name}: {reply:?}");
        assert_eq!(reply.json()["name"], "Clerk");
    }
    let plain = [("content-encoding", "identity")];
    assert_eq!(caller.ask("POST /v1/agents", &plain, agent.as_bytes()).await.status, 201);
    assert_eq!(caller.ask("GET /v1/agents", &[("content-encoding", "br")], b"").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn bodies_that_burst_or_break_are_refused() {
    let caller = Caller::new().await;
    let bomb = vec![b' '; 64 << 20];
    let fine = br#"{"name":"Clerk","model":"sim"}"#;
    for coding in CODINGS {
        let encoding = [("content-encoding", coding)];
        let body = encode(coding, &bomb).await;
        // More than a socket takes at once: the answer waits until all is sent.
        let body = if coding == "gzip" { body.repeat(12) } else { body };
        assert!(body.len() < 1 << 20, "{coding} {}", body.len());
        let burst = caller.ask("POST /v1/agents", &encoding, &body).await;
        assert_eq!(burst.fails("payload_too_large")["limit"], "1048576", "{coding}");
        let whole = encode(coding, fine).await;
        for broken in [&fine[..], &whole[..whole.len() / 2], &whole[1..]] {
            let reply = caller.ask("POST /v1/agents", &encoding, broken).await;
            assert_eq!(reply.fails("invalid_field")["field"], "content-encoding", "{coding}");
        }
    }
    let encoding = [("content-encoding", "zstd")];
    let window = [CParameter::window_log(27)];
    let wide = ZstdEncoder::with_quality_and_params(&fine[..], Level::Precise(1), &window);
    let reply = caller.ask("POST /v1/agents", &encoding, &read(wide).await).await;
    assert_eq!(reply.fails("invalid_field")["field"], "content-encoding", "a window of 128 MiB");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn bodies_that_come_to_nothing_are_not_read_for_ever() {
    let caller = Caller::new().await;
    for coding in ["gzip", "zstd"] {
        let nothing = encode(coding, b"").await;
        let body = nothing.repeat((3 << 20) / nothing.len());
        let reply = caller.ask("POST /v1/agents", &[("content-encoding", coding)], &body).await;
        let facts = reply.fails("invalid_field");
        assert_eq!(facts["field"], "content-encoding", "{coding}");
        let body = String::from_utf8_lossy(&reply.body).into_owned();
        assert!(body.contains("come to nothing"), "{coding}: {body}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_unknown_coding_is_told_the_known_ones() {
    let caller = Caller::new().await;
    for name in ["deflate", "compress", "snappy", "gzip, br", "gzip, gzip", "*"] {
        let reply = caller.ask("POST /v1/agents", &[("content-encoding", name)], b"{}").await;
        reply.fails("unsupported_media_type");
        assert_eq!(reply.header("accept-encoding"), "zstd, br, gzip", "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn grpc_compresses_its_own_messages() {
    let caller = Caller::new().await;
    let agent = caller.agent().await;
    let channel = Endpoint::from_shared(caller.app.url.clone()).expect("a URL").connect_lazy();
    let grpc = tonic::client::Grpc::new(channel);
    let mut grpc = grpc
        .send_compressed(CompressionEncoding::Gzip)
        .accept_compressed(CompressionEncoding::Gzip);
    let method = contract::method("AgentsService/GetAgent");
    let path = || "/runplane.v1.AgentsService/GetAgent".parse().expect("a path");
    let request = |id: &str| {
        let mut request =
            tonic::Request::new(contract::encode(&method.input(), &json!({"id": id})));
        let key = format!("Bearer {}", caller.app.admin).parse().expect("a value");
        request.metadata_mut().insert("authorization", key);
        request
    };
    grpc.ready().await.expect("a connection");
    let id = agent["id"].as_str().expect("an id");
    let answer = grpc.unary(request(id), path(), RawCodec).await.expect("an answer");
    assert_eq!(answer.metadata().get("grpc-encoding").expect("a coding"), "gzip");
    let got = contract::decode(&method.output(), answer.get_ref());
    assert_eq!(got["instructions"], agent["instructions"]);
    grpc.ready().await.expect("a connection");
    let bomb = grpc.unary(request(&" ".repeat(32 << 20)), path(), RawCodec).await;
    let status = bomb.expect_err("a bomb");
    let info = status.get_details_error_info().expect("a reason");
    assert_eq!(info.reason, "PAYLOAD_TOO_LARGE", "{status:?}");
    let plain = caller.app.door(Door::GrpcWeb);
    let plain = plain.answer("AgentsService/GetAgent", json!({"id": id})).await.expect("an answer");
    assert_eq!(plain.headers.get("grpc-encoding"), None);
    assert_eq!(plain.body["instructions"], agent["instructions"]);
}
