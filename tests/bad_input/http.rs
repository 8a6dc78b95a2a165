//! What is wrong around the body: routes, methods, media types, and the headers that say how to
//! answer.

use super::{Ask, Site};

fn ask(line: &str, headers: &[(&'static str, &str)], body: &str) -> Ask {
    let headers = headers.iter().map(|(name, value)| (*name, value.as_bytes().to_vec())).collect();
    Ask { line: line.to_owned(), headers, body: body.into() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_unknown_route_is_404_in_the_envelope() {
    let site = Site::new().await;
    let lines = [
        "GET /",
        "GET /v1",
        "GET /v1/",
        "GET /v1/nothing",
        "GET /v1/agents/",
        "GET /v1/agents//versions",
        "GET /v3/agents",
        "GET /V1/agents",
        "GET /v1/Agents",
        "POST /v1/agents/AGENT/nothing",
        "GET /v1/agents/AGENT/versions/1/x",
        "GET /api/v2/agents",
        "GET /v1/agents:publish",
        "GET /healthzz",
        "POST /runplane.v1.AgentsService/ListAgents",
        "GET /%00",
        "GET /v1/%2e%2e/agents",
    ];
    site.refuses_all(&lines.map(|line| (ask(line, &[], ""), "route_not_found", ""))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_wrong_method_is_405_and_told_the_right_ones() {
    let site = Site::new().await;
    for (line, allow) in [
        ("PUT /v1/agents", "GET, HEAD, POST"),
        ("DELETE /v1/agents", "GET, HEAD, POST"),
        ("POST /v1/agents/AGENT", "DELETE, GET, HEAD, PATCH"),
        ("GET /v1/agents/AGENT/publish", "POST"),
        ("PATCH /v1/runs/RUN", "DELETE, GET, HEAD"),
        ("TRACE /v1/runs", "GET, HEAD, POST"),
        ("PROPFIND /v1/runs", "GET, HEAD, POST"),
    ] {
        let answer = site.ask(&ask(line, &[], "")).await;
        answer.is("method_not_allowed", "").unwrap_or_else(|why| panic!("{line}: {why}"));
        let mut told: Vec<_> = answer.headers["allow"].split(", ").collect();
        told.sort_unstable();
        assert_eq!(told.join(", "), allow, "{line}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_form_that_cannot_be_made_is_406() {
    let site = Site::new().await;
    let asks = [
        ("GET /v1/agents", "image/png"),
        ("GET /v1/agents", "text/event-stream"),
        ("POST /v1/agents", "text/html"),
        ("GET /v1/runs/RUN/events", "application/xml"),
        ("GET /v1/agents/AGENT/stream", "application/json"),
        ("GET /v1/agents", "application/json;q=0"),
    ];
    let asks =
        asks.map(|(line, accept)| (ask(line, &[("accept", accept)], ""), "not_acceptable", ""));
    site.refuses_all(&asks).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_content_type_that_is_not_json_is_415() {
    let site = Site::new().await;
    let types = [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "json",
        "application/json; charset=utf-16",
        "application/xml",
        "",
    ];
    let mut asks = Vec::new();
    for kind in types {
        for (line, body) in [("POST /v1/agents", r#"{"name":"x"}"#), ("POST /v1/runs", "{}")] {
            asks.push((ask(line, &[("content-type", kind)], body), "unsupported_media_type", ""));
        }
    }
    site.refuses_all(&asks).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_body_or_a_query_where_none_belongs_is_refused() {
    let site = Site::new().await;
    let asks = [
        (ask("GET /v1/agents", &[], "{}"), "invalid_field", "body"),
        (ask("GET /v1/runs/RUN", &[], "x"), "invalid_field", "body"),
        (ask("DELETE /v1/agents/AGENT", &[], "{}"), "invalid_field", "body"),
        (ask("POST /v1/runs?agent_id=x", &[], "{}"), "unknown_field", "agent_id"),
        (ask("POST /v1/agents/AGENT/publish?x=1", &[], ""), "unknown_field", "x"),
        (ask("POST /v1/agents?name=x", &[], r#"{"model":"sim"}"#), "unknown_field", "name"),
    ];
    site.refuses_all(&asks).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_query_that_cannot_be_read_is_refused() {
    let site = Site::new().await;
    let long = format!("GET /v1/agents?cursor={}", "x".repeat(16_360));
    let many = format!("GET /v1/agents?{}", "metadata=a:b&".repeat(200));
    for line in [
        "GET /v1/agents?limit=%zz",
        "GET /v1/agents?cursor=%ff",
        "GET /v1/agents?limit=%",
        &long,
        &many,
    ] {
        let answer = site.ask(&ask(line, &[], "")).await;
        assert_eq!(answer.status, 400, "{line}: {answer:?}");
        assert!(answer.headers["x-request-id"].starts_with("req_"));
    }
    let paths = ["GET /v1/agents/%ff", "GET /v1/runs/%zz"];
    for line in paths {
        let answer = site.ask(&ask(line, &[], "")).await;
        assert!([400, 404].contains(&answer.status), "{line}: {answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_header_that_says_nothing_is_refused_by_name() {
    let site = Site::new().await;
    let run = site.named(r#"{"agent_id":"AGENT"}"#);
    let mut asks = Vec::new();
    for value in ["wait=soon", "wait=-1", "wait=", "wait=1.5", "respond-async, wait=x"] {
        asks.push((ask("POST /v1/runs", &[("prefer", value)], &run), "invalid_field", "prefer"));
        asks.push((ask("GET /v1/runs/RUN", &[("prefer", value)], ""), "invalid_field", "prefer"));
    }
    for value in ["soon", "-1", "NaN", "1e999", "", "5s"] {
        let headers = [("x-server-timeout", value)];
        asks.push((ask("POST /v1/runs", &headers, &run), "invalid_field", "x-server-timeout"));
        asks.push((ask("GET /v1/agents", &headers, ""), "invalid_field", "x-server-timeout"));
    }
    for value in ["x", "-1", "1.x", "1.2.3", "99999999999999999999"] {
        let headers = [("last-event-id", value), ("accept", "text/event-stream")];
        asks.push((ask("GET /v1/runs/RUN/events", &headers, ""), "invalid_field", "last-event-id"));
        let headers = [("last-event-id", value)];
        asks.push((ask("GET /v1/runs/RUN/events", &headers, ""), "invalid_field", "last-event-id"));
    }
    site.refuses_all(&asks).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn headers_that_are_no_text_break_nothing() {
    let site = Site::new().await;
    let names = [
        "accept",
        "prefer",
        "x-server-timeout",
        "last-event-id",
        "content-type",
        "authorization",
        "x-odd",
    ];
    for name in names {
        for line in ["GET /v1/agents", "GET /v1/runs/RUN/events", "POST /v1/runs"] {
            let body = if line.starts_with("POST") { b"{}".to_vec() } else { Vec::new() };
            let headers = vec![(name, vec![0xff, 0xfe])];
            let asked = Ask { line: line.to_owned(), headers, body };
            let answer = site.ask(&asked).await;
            assert!(answer.status < 500, "{name} {line}: {answer:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_key_in_the_wrong_form_is_401() {
    let site = Site::new().await;
    let key = &site.app.admin;
    let wrong = [
        key.clone(),
        format!("Basic {key}"),
        format!("Bearer{key}"),
        "Bearer ".to_owned(),
        format!("Bearer {key}x"),
        format!("Bearer {}", key.to_uppercase()),
        "Token".to_owned(),
        format!("Bearer {}", "x".repeat(8000)),
    ];
    let asks: Vec<_> = wrong
        .iter()
        .map(|value| {
            (
                ask("POST /v1/keys", &[("authorization", value)], r#"{"name":"x"}"#),
                "invalid_api_key",
                "",
            )
        })
        .collect();
    site.refuses_all(&asks).await;
}
