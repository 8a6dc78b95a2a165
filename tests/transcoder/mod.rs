//! What the transcoder promises, over the probe: routing, queries, bodies, forms, statuses, streams
//! and errors. Speaks to it as a tower service; opens no socket.

#![expect(clippy::unwrap_used, reason = "tests")]

pub mod behaviours;
mod bodies;
mod deprecated;
mod flows;
mod forms;
mod paths;
mod queries;
mod wire;

use std::sync::Arc;

use axum::body::Body;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body_util::BodyExt;
use proptest::prelude::*;
use runplane::{
    gateway::rest::{Transcoder, TranscoderOptions, alias::Alias},
    kernel::reply::RequestId,
};
use serde_json::{Value, json};
use tonic::Status;
use tower::ServiceExt;

use crate::probe::{
    Prober,
    rest::{METHODS, RULES, Services, method},
};

/// A request, and what of its answer matters: method, target, body, status, members of the JSON.
type Case = (&'static str, &'static str, &'static str, u16, Value);

fn transcoder() -> Transcoder {
    with(Prober::default(), TranscoderOptions::default())
}

fn with(prober: Prober, options: TranscoderOptions) -> Transcoder {
    Transcoder::new(Services { probe: Arc::new(prober) }, options)
}

fn request(method: &str, target: &str, headers: &[(&str, &str)], body: &str) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(target);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut request = request.body(Body::from(body.to_owned())).unwrap();
    request.extensions_mut().insert(RequestId("req_1".to_owned()));
    request
}

async fn send(method: &str, target: &str, headers: &[(&str, &str)], body: &str) -> Reply {
    read(transcoder().oneshot(request(method, target, headers, body)).await.unwrap()).await
}

async fn read(response: Response<Body>) -> Reply {
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    Reply { status: parts.status, headers: parts.headers, text }
}

struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    text: String,
}

impl Reply {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or(Value::Null)
    }
}

/// True when every member of `part` is in `whole`; a null stands for a member that is not there.
fn holds(whole: &Value, part: &Value) -> bool {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => {
            part.iter().all(|(name, part)| holds(whole.get(name).unwrap_or(&Value::Null), part))
        }
        _ => whole == part,
    }
}

async fn check(headers: &[(&str, &str)], cases: Vec<Case>) {
    for (method, target, body, status, expected) in cases {
        let reply = send(method, target, headers, body).await;
        let case = format!("{method} {target} {body}\n{} {}", reply.status, reply.text);
        assert_eq!(reply.status, status, "{case}");
        assert!(holds(&reply.json(), &expected), "{case}\nexpected {expected}");
        let kind = reply.header("content-type");
        assert_eq!(kind, if status == 204 { "" } else { "application/json" }, "{case}");
    }
}

fn error(code: &str, field: &str) -> Value {
    json!({"error": {"code": code, "request_id": "req_1", "details": {"field": field}}})
}

fn code(code: &str) -> Value {
    json!({"error": {"code": code, "request_id": "req_1"}})
}

fn got(method: &str, probe: Value) -> Value {
    json!({"method": method, "probe": probe})
}

const JSON: (&str, &str) = ("content-type", "application/json; charset=utf-8");

#[tokio::test]
async fn statuses_and_bodies_are_those_of_the_options() {
    check(
        &[JSON],
        vec![
            ("POST", "/v1/work", "{}", 202, json!({"at": null})),
            (
                "POST",
                "/v1/work",
                r#"{"at":"2024-01-02T03:04:05Z"}"#,
                201,
                json!({"at": "2024-01-02T03:04:05Z"}),
            ),
            ("GET", "/v1/tags?tags=a&tags=b", "", 200, json!(["a", "b"])),
            ("GET", "/v1/tags", "", 200, json!([])),
            ("GET", "/v1/page_size?page_size=3", "", 200, json!(3)),
            ("GET", "/v1/page_size", "", 200, json!(null)),
        ],
    )
    .await;
    let reply = send("DELETE", "/v1/things/a", &[], "").await;
    assert_eq!((reply.text.as_str(), reply.header("content-type")), ("", ""));
}

#[tokio::test]
async fn failures_keep_their_reason_and_metadata() {
    check(
        &[],
        vec![
            (
                "GET",
                "/v1/fail/name_taken",
                "",
                409,
                json!({"error": {"code": "name_taken", "details": {"asked": "yes"}}}),
            ),
            ("GET", "/v1/fail/missing_api_key", "", 401, code("missing_api_key")),
            ("GET", "/v1/fail/foreign", "", 503, code("unavailable")),
            ("GET", "/v1/fail/request_cancelled", "", 499, code("request_cancelled")),
            ("GET", "/v1/fail/internal_error", "", 500, code("internal_error")),
        ],
    )
    .await;
    let reply = send("GET", "/v1/fail/name_taken", &[], "").await;
    assert_eq!(reply.header("x-answered"), "no");
    assert!(!send("GET", "/v1/fail/internal_error", &[], "").await.text.contains("asked to fail"));
}

#[tokio::test]
async fn headers_are_metadata_and_back_without_what_belongs_to_the_wire() {
    let headers = [
        ("x-mine", "a"),
        ("authorization", "Bearer k"),
        ("x-theirs", "b"),
        ("connection", "close, X-Theirs"),
        ("te", "trailers"),
        ("keep-alive", "1"),
        ("content-length", "0"),
        ("grpc-encoding", "gzip"),
        ("grpc-status", "0"),
        ("grpc-timeout", "1S"),
        ("x-mine-bin", "/+8"),
    ];
    let reply = send("GET", "/v1/things/a", &headers, "").await;
    let metadata = reply.json()["metadata"].clone();
    let expected = json!({
        "x-mine": "a",
        "authorization": "Bearer k",
        "grpc-timeout": "1S",
        "x-mine-bin": "[255, 239]",
    });
    assert_eq!(metadata, expected);
    assert_eq!(reply.header("x-answered"), "yes");
    for name in ["grpc-encoding", "connection", "x-dropped", "x-trace-bin"] {
        assert!(!reply.headers.contains_key(name), "{name}");
    }
}

#[test]
fn every_method_has_the_scope_that_its_option_names() {
    let scope = |path: &str| method(path).map(|method| method.scope);
    assert_eq!(scope("/probe.v1.ProbeService/Get"), Some("read"));
    assert_eq!(scope("/probe.v1.ProbeService/Hidden"), Some("admin"));
    assert_eq!(scope("/probe.v1.ProbeService/Root"), None);
    assert!(METHODS.is_sorted_by_key(|method| method.grpc));
    for rule in runplane::proto::rest::RULES {
        assert!(runplane::proto::rest::method(rule.grpc).is_some(), "{}", rule.grpc);
    }
}

#[test]
fn a_rule_is_known_by_its_place() {
    for rules in [RULES, runplane::proto::rest::RULES] {
        assert!(rules.iter().enumerate().all(|(index, rule)| usize::from(rule.id) == index));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn nothing_that_is_sent_breaks_it(
        method in "GET|POST|PUT|PATCH|DELETE|HEAD|OPTIONS|X",
        path in "/v1/(things|files|kinds|nested|ask|watch|tags)(/[a-z%0-9:*.{}=~-]{0,6}){0,6}",
        query in "[a-z._=&%+0-9\\[\\]-]{0,40}",
        body in "[\\[\\]{}\":,a-z0-9.\\\\ -]{0,40}",
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let target = format!("{path}?{query}");
        if target.parse::<http::Uri>().is_ok() {
            let reply = runtime.block_on(send(&method, &target, &[JSON], &body));
            prop_assert!(reply.status.as_u16() < 500, "{} {}: {}", method, target, reply.text);
        }
    }
}
