//! Forms of an answer: JSON, server-sent events, lines.

use super::*;

#[tokio::test]
async fn answers_take_the_form_that_is_asked_for() {
    let events = "text/event-stream";
    for (target, accept, status, kind) in [
        ("/v1/things/a", "*/*", 200, "application/json"),
        ("/v1/things/a", "text/html, */*;q=0.1", 200, "application/json"),
        ("/v1/things/a", events, 406, "application/json"),
        ("/v1/things/a", "image/png", 406, "application/json"),
        ("/v1/ask", "*/*", 200, "application/json"),
        ("/v1/ask", "application/json, text/event-stream", 200, "application/json"),
        ("/v1/ask", events, 200, events),
        ("/v1/ask", "application/x-ndjson", 200, "application/x-ndjson"),
        ("/v1/ask?stream=true", "application/json", 200, events),
        ("/v1/watch/a", "*/*", 200, events),
        ("/v1/watch/a", "application/x-ndjson", 200, "application/x-ndjson"),
        ("/v1/watch/a", "application/json", 200, "application/json"),
        ("/v1/watch/a", "image/png", 406, "application/json"),
    ] {
        let reply = send("GET", target, &[("accept", accept)], "").await;
        assert_eq!(
            (reply.status.as_u16(), reply.header("content-type")),
            (status, kind),
            "{target} {accept}"
        );
    }
}

#[tokio::test]
async fn streams_are_server_sent_events() {
    let reply = send("POST", "/v1/ask", &[JSON], r#"{"stream":true,"name":"n"}"#).await;
    assert_eq!(reply.header("cache-control"), "no-cache, no-transform");
    assert_eq!(reply.header("x-accel-buffering"), "no");
    assert_eq!(reply.header("x-answered"), "yes");
    let frames: Vec<_> = reply.text.split_terminator("\n\n").collect();
    assert_eq!(frames.len(), 3, "{}", reply.text);
    let step = "id: 1\nevent: step\ndata: ";
    let data: Value = serde_json::from_str(frames[0].strip_prefix(step).unwrap()).unwrap();
    assert!(holds(&data, &json!({"number": 1})), "{data}");
    let data = frames[2].strip_prefix("event: done\ndata: ").unwrap();
    let data: Value = serde_json::from_str(data).unwrap();
    assert!(holds(&data, &json!({"probe": {"name": "n", "stream": true}})), "the same request");
    let bare = send("GET", "/v1/watch/bare", &[], "").await;
    assert_eq!(bare.text, "data: {}\n\n");
    let plain = send("GET", "/v1/plain", &[], "").await;
    assert!(plain.text.starts_with(r#"data: {"display_name":"a""#), "{}", plain.text);
    assert_eq!(send("GET", "/v1/watch/empty", &[], "").await.text, "");
}

#[tokio::test]
async fn an_event_cannot_forge_another() {
    let reply = send("GET", "/v1/watch/sly", &[], "").await;
    let lines: Vec<_> = reply.text.lines().collect();
    assert_eq!(lines[..2], ["id: 1data: x", "event: aid: 2"]);
    assert_eq!(reply.text.matches("\n\n").count(), 1, "{}", reply.text);
    assert!(!reply.text.contains('\r'));
}

#[tokio::test]
async fn lines_hold_results_and_at_last_an_error() {
    let reply = send("GET", "/v1/watch/late", &[("accept", "application/x-ndjson")], "").await;
    let lines: Vec<Value> =
        reply.text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2, "{}", reply.text);
    assert!(holds(&lines[0], &json!({"result": {"id": "1", "step": {"number": 1}}})));
    assert!(holds(&lines[1], &code("model_error")));
}

#[tokio::test]
async fn an_early_failure_has_its_status_and_a_late_one_its_event() {
    for (target, status, expected) in
        [("/v1/watch/refused", 429, "rate_limited"), ("/v1/watch/early", 409, "name_taken")]
    {
        let reply = send("GET", target, &[], "").await;
        assert_eq!(
            (reply.status.as_u16(), reply.header("content-type")),
            (status, "application/json")
        );
        assert!(holds(&reply.json(), &code(expected)), "{}", reply.text);
    }
    let reply = send("GET", "/v1/watch/late", &[], "").await;
    assert_eq!(reply.status, 200);
    let last = reply.text.split_terminator("\n\n").last().unwrap();
    let data = last.strip_prefix("event: stream-error\ndata: ").unwrap();
    assert!(holds(&serde_json::from_str(data).unwrap(), &code("model_error")), "{data}");
}

#[tokio::test]
async fn a_silent_stream_is_opened_by_a_comment_and_dropped_with_its_body() {
    for (target, first) in [("/v1/watch/silent", ": ping\n\n"), ("/v1/watch/started", "id: 1\n")] {
        let prober = Prober::default();
        let options = TranscoderOptions { first_item_wait_ms: 1, ..TranscoderOptions::default() };
        let transcoder = with(prober.clone(), options);
        let response = transcoder.oneshot(request("GET", target, &[], "")).await.unwrap();
        assert_eq!(response.status(), 200);
        let mut body = response.into_body();
        let frame = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert!(frame.starts_with(first.as_bytes()), "{frame:?}");
        assert!(!prober.dropped.is_cancelled());
        drop(body);
        assert!(prober.dropped.is_cancelled(), "{target}");
    }
}
