//! What a table of requests cannot show: pieces that travel while others are still to come, both
//! ways, and what becomes of a stream when one side goes or fails.

use axum::body::Bytes;
use futures::{StreamExt, channel::mpsc};
use http_body_util::BodyStream;
use tokio::time::{Duration, timeout};

use super::*;

/// An upload that is sent piece by piece.
fn upload(target: &str, kind: &str) -> (mpsc::UnboundedSender<&'static str>, Request<Body>) {
    let (sender, pieces) = mpsc::unbounded();
    let body = Body::from_stream(pieces.map(|piece: &str| Ok::<_, Status>(Bytes::from(piece))));
    let mut request = request("POST", target, &[("content-type", kind)], "");
    *request.body_mut() = body;
    (sender, request)
}

async fn next(body: &mut BodyStream<Body>) -> String {
    let frame = timeout(Duration::from_secs(9), body.next()).await.unwrap().unwrap().unwrap();
    String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap()
}

#[tokio::test]
async fn documents_are_answered_before_the_last_was_sent() {
    let (sender, request) = upload("/v1/chat", "application/x-ndjson");
    sender.unbounded_send("{\"name\":\"a\"}\n{\"na").unwrap();
    let response = transcoder().oneshot(request).await.unwrap();
    assert_eq!(response.status(), 200);
    let mut body = BodyStream::new(response.into_body());
    let first = next(&mut body).await;
    assert!(first.contains("\"name\":\"a\""), "{first}");
    sender.unbounded_send("me\":\"b\"}").unwrap();
    drop(sender);
    let second = next(&mut body).await;
    assert!(second.contains("\"name\":\"b\""), "{second}");
    assert!(body.next().await.is_none());
}

#[tokio::test]
async fn pieces_reach_the_service_as_they_come() {
    let (sender, request) = upload("/v1/blobs/b:stream", "image/png");
    for piece in ["abc", "", "de"] {
        sender.unbounded_send(piece).unwrap();
    }
    drop(sender);
    let reply = read(transcoder().oneshot(request).await.unwrap()).await;
    let expected = json!({"content_type": "image/png", "data": "YWJjZGU=", "messages": 2});
    assert!(holds(&reply.json(), &expected), "{}", reply.text);
}

#[tokio::test]
async fn an_upload_larger_than_any_message_may_be_is_taken_in_pieces() {
    let options = TranscoderOptions { body_bytes_max: 1000, ..TranscoderOptions::default() };
    let body = "x".repeat(10_000);
    let request = request("POST", "/v1/blobs/b:stream", &[("content-type", "a/b")], &body);
    let reply = read(with(Prober::default(), options).oneshot(request).await.unwrap()).await;
    assert_eq!(reply.json()["messages"], 10, "{}", reply.text);
}

#[tokio::test]
async fn an_upload_that_breaks_off_is_told_to_the_service() {
    let (sender, pieces) = mpsc::unbounded();
    let broken = Err(std::io::Error::other("gone"));
    for piece in [Ok(Bytes::from_static(b"{}\n{")), broken] {
        sender.unbounded_send(piece).unwrap();
    }
    let mut request =
        request("POST", "/v1/uploads", &[("content-type", "application/x-ndjson")], "");
    *request.body_mut() = Body::from_stream(pieces);
    let reply = read(transcoder().oneshot(request).await.unwrap()).await;
    assert_eq!(reply.status, 400, "{}", reply.text);
    assert!(holds(&reply.json(), &error("invalid_field", "body")), "{}", reply.text);
}

#[tokio::test]
async fn bytes_that_fail_on_their_way_are_cut() {
    let response = transcoder().oneshot(request("GET", "/v1/raw/late:stream", &[], ""));
    let mut body = BodyStream::new(response.await.unwrap().into_body());
    assert_eq!(next(&mut body).await, "page");
    assert!(body.next().await.unwrap().is_err(), "the transfer does not end as if it were whole");
}

#[tokio::test]
async fn a_stream_that_nobody_hears_is_dropped() {
    for accept in ["text/event-stream", "application/x-ndjson", "application/json"] {
        let prober = Prober::default();
        let asked = request("GET", "/v1/watch/started", &[("accept", accept)], "");
        let transcoder = with(prober.clone(), TranscoderOptions::default());
        let mut body = BodyStream::new(transcoder.oneshot(asked).await.unwrap().into_body());
        next(&mut body).await;
        assert!(!prober.dropped.is_cancelled());
        drop(body);
        assert!(prober.dropped.is_cancelled(), "{accept}");
    }
}
