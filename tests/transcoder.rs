//! What the transcoder promises, over the probe: routing, queries, bodies, forms, statuses, streams and errors. Speaks to it
//! as a tower service; opens no socket.

use std::sync::{Arc, atomic::Ordering};

use axum::body::Body;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body_util::BodyExt;
use proptest::prelude::*;
use runplane::{
    gateway::rest::{Transcoder, TranscoderOptions, alias::Alias},
    kernel::reply::RequestId,
};
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::probe::{
    Prober,
    rest::{RULES, SCOPES, Services, required_scope},
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

#[tokio::test]
async fn paths_lead_to_methods_and_variables_are_decoded_once() {
    check(&[], vec![
        ("GET", "/", "", 200, got("root", json!({}))),
        ("GET", "/v1/things/abc", "", 200, got("get", json!({"name": "abc"}))),
        ("GET", "/v1/others/a/of/b", "", 200, got("get", json!({"name": "a", "parent": "b"}))),
        ("GET", "/v1/things/fixed", "", 200, got("get_fixed", json!({"name": ""}))),
        ("GET", "/v1/things/%66ixed", "", 200, got("get", json!({"name": "fixed"}))),
        ("GET", "/v1/things/a%2Fb", "", 200, got("get", json!({"name": "a/b"}))),
        ("GET", "/v1/things/%2525", "", 200, got("get", json!({"name": "%25"}))),
        ("GET", "/v1/things/a+b", "", 200, got("get", json!({"name": "a+b"}))),
        ("GET", "/v1/things/%E2%82%AC", "", 200, got("get", json!({"name": "€"}))),
        ("GET", "/v1/things/..", "", 200, got("get", json!({"name": ".."}))),
        ("GET", "/v1/things/a:b", "", 200, got("get", json!({"name": "a:b"}))),
        ("GET", "/v1/things/a%3Aarchive", "", 200, got("get", json!({"name": "a:archive"}))),
        ("POST", "/v1/things/a:archive", "", 200, got("archive", json!({"name": "a"}))),
        ("POST", "/v1/things/a:b:archive", "", 200, got("archive", json!({"name": "a:b"}))),
        ("GET", "/v1/files", "", 200, got("get_file", json!({"path": ""}))),
        ("GET", "/v1/files/a", "", 200, got("get_file", json!({"path": "a"}))),
        ("GET", "/v1/files/a//b", "", 200, got("get_file", json!({"path": "a//b"}))),
        ("GET", "/v1/files/a%2Fb/%3A%41", "", 200, got("get_file", json!({"path": "a%2Fb/:A"}))),
        ("GET", "/v1/files/a/b/meta", "", 200, got("get_file_meta", json!({"path": "a/b"}))),
        ("GET", "/v1/files/meta", "", 200, got("get_file_meta", json!({"path": ""}))),
        ("GET", "/v1/files/a/b:dump", "", 200, got("dump_file", json!({"path": "a/b"}))),
        ("GET", "/v1/files:dump", "", 200, got("dump_file", json!({"path": ""}))),
        ("GET", "/v1/shelves/1/books/2%2F", "", 200,
            got("get_book", json!({"parent": "shelves/1/books/2%2F"}))),
        ("GET", "/v1/nested/x?nested.number=3", "", 200,
            got("get_nested", json!({"nested": {"display_name": "x", "number": 3}}))),
        ("GET", "/v1/kinds/-7/2024-01-02T03:04:05Z/dark_green/_-8/w", "", 200,
            got("get_kinds", json!({
                "count": -7, "at": "2024-01-02T03:04:05Z", "color": "dark_green", "data": "/+8=", "word": "w",
            }))),
        ("GET", "/v1/kinds/0/2024-01-02T03:04:05Z/COLOR_RED//", "", 404, code("route_not_found")),
        ("DELETE", "/v1/things/a", "", 204, json!(null)),
        ("LOCK", "/v1/anything", "", 200, got("anything", json!({}))),
        ("PURGE", "/v1/things/a", "", 200, got("anything", json!({"name": "a"}))),
    ])
    .await;
}

#[tokio::test]
async fn paths_that_lead_nowhere_or_hold_nonsense_say_so() {
    check(&[], vec![
        ("GET", "/v1/nothing", "", 404, code("route_not_found")),
        ("GET", "/v1/things/", "", 404, code("route_not_found")),
        ("GET", "/v1/things/abc/", "", 404, code("route_not_found")),
        ("GET", "/v1//things/abc", "", 404, code("route_not_found")),
        ("GET", "/v1/files/", "", 404, code("route_not_found")),
        ("GET", "/V1/things/abc", "", 404, code("route_not_found")),
        ("GET", "/v1/things/%zz", "", 400, error("invalid_field", "name")),
        ("GET", "/v1/things/%4", "", 400, error("invalid_field", "name")),
        ("GET", "/v1/things/%ff", "", 400, error("invalid_field", "name")),
        ("GET", "/v1/files/a/%ff", "", 400, error("invalid_field", "path")),
        ("GET", "/v1/kinds/x/2024-01-02T03:04:05Z/red/AA/w", "", 400, error("invalid_field", "count")),
        ("GET", "/v1/kinds/1/yesterday/red/AA/w", "", 400, error("invalid_field", "at")),
        ("GET", "/v1/kinds/1/2024-01-02T03:04:05Z/pink/AA/w", "", 400, error("invalid_field", "color")),
        ("GET", "/v1/kinds/1/2024-01-02T03:04:05Z/red/!/w", "", 400, error("invalid_field", "data")),
        ("PUT", "/v1/things/abc", "", 405,
            json!({"error": {"code": "method_not_allowed", "details": {"allow": "GET, HEAD, DELETE, PATCH, PURGE"}}})),
        ("GET", "/v1/things/a:archive", "", 405, json!({"error": {"details": {"allow": "POST"}}})),
        ("HEAD", "/v1/watch/a", "", 405, json!(null)),
    ])
    .await;
    let reply = send("PUT", "/v1/things/abc", &[], "").await;
    assert_eq!(reply.header("allow"), "GET, HEAD, DELETE, PATCH, PURGE");
}

#[tokio::test]
async fn queries_set_the_fields_that_they_name() {
    let get = |probe| got("get", probe);
    check(
        &[],
        vec![
            (
                "GET",
                "/v1/things/a?count=3&flag=true&ratio=1.5&big=-9",
                "",
                200,
                get(json!({"count": 3, "flag": true, "ratio": 1.5, "big": "-9"})),
            ),
            ("GET", "/v1/things/a?page_size=1", "", 200, get(json!({"page_size": 1}))),
            ("GET", "/v1/things/a?pageSize=1", "", 200, get(json!({"page_size": 1}))),
            ("GET", "/v1/things/a?type=x", "", 200, get(json!({"type": "x"}))),
            (
                "GET",
                "/v1/things/a?tags=x&tags=y,z&tags=",
                "",
                200,
                get(json!({"tags": ["x", "y,z", ""]})),
            ),
            ("GET", "/v1/things/a?numbers=1&numbers=2", "", 200, get(json!({"numbers": [1, 2]}))),
            (
                "GET",
                "/v1/things/a?colors=red&colors=COLOR_DARK_GREEN&colors=1&colors=99",
                "",
                200,
                get(json!({"colors": ["red", "dark_green", "red", 99]})),
            ),
            (
                "GET",
                "/v1/things/a?parent=x+y%2Bz%20%26",
                "",
                200,
                get(json!({"parent": "x y+z &"})),
            ),
            ("GET", "/v1/things/a?p%61rent=x", "", 200, get(json!({"parent": "x"}))),
            ("GET", "/v1/things/a?parent", "", 200, get(json!({"parent": ""}))),
            ("GET", "/v1/things/a?&&parent=a=b&", "", 200, get(json!({"parent": "a=b"}))),
            (
                "GET",
                "/v1/things/a?nested.inner.displayName=x&nested.inner.tags=1&nested.number=2",
                "",
                200,
                get(
                    json!({"nested": {"number": 2, "inner": {"display_name": "x", "tags": ["1"]}}}),
                ),
            ),
            (
                "GET",
                "/v1/things/a?at=2024-01-02T03:04:05.5%2B02:00",
                "",
                200,
                get(json!({"at": "2024-01-02T01:04:05.500Z"})),
            ),
            (
                "GET",
                "/v1/things/a?span=1.5s&limit=7&data=_-8",
                "",
                200,
                get(json!({"span": "1.500s", "limit": 7, "data": "/+8="})),
            ),
            (
                "GET",
                "/v1/things/a?mask=displayName,nested.inner",
                "",
                200,
                get(json!({"mask": "display_name,nested.inner"})),
            ),
            (
                "GET",
                "/v1/things/a?branch.number=1&branch.tags=x",
                "",
                200,
                get(json!({"branch": {"number": 1, "tags": ["x"]}})),
            ),
            ("GET", "/v1/things/a?number=4", "", 200, get(json!({"number": 4}))),
        ],
    )
    .await;
}

#[tokio::test]
async fn queries_that_are_wrong_are_refused_by_name() {
    let unknown = |field| error("unknown_field", field);
    let invalid = |field| error("invalid_field", field);
    check(
        &[JSON],
        vec![
            ("GET", "/v1/things/a?nope=1", "", 400, unknown("nope")),
            ("GET", "/v1/things/a?=1", "", 400, unknown("")),
            ("GET", "/v1/things/a?name=evil", "", 400, unknown("name")),
            (
                "GET",
                "/v1/nested/a?nested.display_name=evil",
                "",
                400,
                unknown("nested.display_name"),
            ),
            ("GET", "/v1/nested/a?nested.displayName=evil", "", 400, unknown("nested.displayName")),
            (
                "GET",
                "/v1/kinds/1/2024-01-02T03:04:05Z/red/AA/w?number=1",
                "",
                400,
                unknown("number"),
            ),
            ("GET", "/v1/things/a?labels%5Bk%5D=v", "", 400, unknown("labels[k]")),
            ("GET", "/v1/things/a?labels.k=v", "", 400, unknown("labels.k")),
            ("GET", "/v1/things/a?nests.number=1", "", 400, unknown("nests.number")),
            ("GET", "/v1/things/a?object=%7B%7D", "", 400, unknown("object")),
            ("GET", "/v1/things/a?nested=x", "", 400, unknown("nested")),
            ("GET", "/v1/things/a?nested.=x", "", 400, unknown("nested.")),
            ("GET", "/v1/things/a?count.x=1", "", 400, unknown("count.x")),
            ("GET", "/v1/things/a?count=1&count=1", "", 400, invalid("count")),
            ("GET", "/v1/things/a?page_size=1&pageSize=2", "", 400, invalid("pageSize")),
            (
                "GET",
                "/v1/things/a?nested.number=1&nested.number=1",
                "",
                400,
                invalid("nested.number"),
            ),
            ("GET", "/v1/things/a?word=x&number=1", "", 400, invalid("number")),
            ("GET", "/v1/things/a?word=x&branch.number=1", "", 400, invalid("branch.number")),
            ("GET", "/v1/things/a?count=x", "", 400, invalid("count")),
            ("GET", "/v1/things/a?count=99999999999", "", 400, invalid("count")),
            ("GET", "/v1/things/a?big=null", "", 400, invalid("big")),
            ("GET", "/v1/things/a?flag=1", "", 400, invalid("flag")),
            ("GET", "/v1/things/a?flag=True", "", 400, invalid("flag")),
            ("GET", "/v1/things/a?color=Red", "", 400, invalid("color")),
            ("GET", "/v1/things/a?span=1h", "", 400, invalid("span")),
            ("GET", "/v1/things/a?at=now", "", 400, invalid("at")),
            ("GET", "/v1/things/a?parent=%zz", "", 400, invalid("parent")),
            ("GET", "/v1/things/a?parent=%ff", "", 400, invalid("parent")),
            ("POST", "/v1/things?count=1", "{}", 400, unknown("count")),
            ("POST", "/v1/touch?x=1", "", 400, unknown("x")),
        ],
    )
    .await;
    let deep = format!("/v1/things/a?nested.{}number=1", "inner.".repeat(5_000));
    let many = format!("/v1/things/a?{}", "tags=x&".repeat(129));
    let long = format!("/v1/things/a?parent={}", "x".repeat(16 * 1024));
    for target in [deep, many, long] {
        let reply = send("GET", &target, &[], "").await;
        assert_eq!(reply.status, 400, "{}", reply.text);
        assert!(reply.text.len() < 100_000, "the answer is not amplified");
    }
}

const JSON: (&str, &str) = ("content-type", "application/json; charset=utf-8");

#[tokio::test]
async fn bodies_become_the_request_or_one_of_its_fields() {
    check(
        &[JSON],
        vec![
            (
                "POST",
                "/v1/things",
                r#"{"name":"a","pageSize":2}"#,
                201,
                got("create", json!({"name": "a", "page_size": 2})),
            ),
            ("POST", "/v1/things", "", 201, got("create", json!({"name": ""}))),
            ("POST", "/v1/things", "{}", 201, got("create", json!({"name": ""}))),
            (
                "POST",
                "/v1/things",
                r#"{"count":1e3,"big":"5","name":null}"#,
                201,
                got("create", json!({"count": 1000, "big": "5"})),
            ),
            (
                "POST",
                "/v1/things/a:archive",
                r#"{"name":"evil","count":1}"#,
                200,
                got("archive", json!({"name": "a", "count": 1})),
            ),
            (
                "POST",
                "/v1/nested?count=1",
                r#"{"display_name":"x"}"#,
                200,
                got("create_nested", json!({"count": 1, "nested": {"display_name": "x"}})),
            ),
            ("POST", "/v1/nested", "", 200, got("create_nested", json!({"nested": null}))),
            (
                "PUT",
                "/v1/tags",
                r#"["x","y"]"#,
                200,
                got("create_tags", json!({"tags": ["x", "y"]})),
            ),
            (
                "PUT",
                "/v1/branch",
                r#"{"number":1}"#,
                200,
                got("create_branch", json!({"branch": {"number": 1}})),
            ),
            ("POST", "/v1/touch", "", 200, json!({})),
            ("POST", "/v1/touch", "{}", 200, json!({})),
            (
                "PATCH",
                "/v1/things/a",
                r#"{"display_name":"x","inner":{"number":1}}"#,
                200,
                got("update", json!({"name": "a", "mask": "display_name,inner.number"})),
            ),
            (
                "PATCH",
                "/v1/things/a?mask=number",
                r#"{"display_name":"x"}"#,
                200,
                got("update", json!({"mask": "number"})),
            ),
        ],
    )
    .await;
}

#[tokio::test]
async fn bodies_that_are_wrong_are_refused_with_the_place() {
    let invalid = |field| error("invalid_field", field);
    check(
        &[JSON],
        vec![
            ("POST", "/v1/things", "{", 400, code("malformed_json")),
            ("POST", "/v1/things", "{} x", 400, code("malformed_json")),
            ("POST", "/v1/things", "{'name':1}", 400, code("malformed_json")),
            ("POST", "/v1/things", "[]", 400, code("invalid_field")),
            ("POST", "/v1/things", r#"{"nope":1}"#, 400, error("unknown_field", "nope")),
            (
                "POST",
                "/v1/things",
                r#"{"nests":[{},{"inner":{"nope":1}}]}"#,
                400,
                error("unknown_field", "nests[1].inner.nope"),
            ),
            ("POST", "/v1/things", r#"{"count":"x"}"#, 400, invalid("count")),
            ("POST", "/v1/things", r#"{"count":1,"count":2}"#, 400, invalid("count")),
            ("POST", "/v1/things", r#"{"color":"pink"}"#, 400, invalid("color")),
            ("POST", "/v1/things", r#"{"word":"x","number":1}"#, 400, invalid("number")),
            ("POST", "/v1/nested", r#"{"number":true}"#, 400, invalid("number")),
            (
                "POST",
                "/v1/nested?nested.number=1",
                "{}",
                400,
                error("unknown_field", "nested.number"),
            ),
            ("PUT", "/v1/branch?word=x", "{}", 400, error("unknown_field", "word")),
            ("PUT", "/v1/tags", r#"["x"],"count":1"#, 400, code("malformed_json")),
            ("PUT", "/v1/tags", r#"{"tags":[]}"#, 400, invalid("tags")),
            ("PUT", "/v1/tags", "[1]", 400, invalid("tags[0]")),
            ("GET", "/v1/things/a", "{}", 400, invalid("body")),
            ("DELETE", "/v1/things/a", "{}", 400, invalid("body")),
        ],
    )
    .await;
    let deep = format!("{}{}", r#"{"nested":"#.repeat(150), "1".to_owned() + &"}".repeat(150));
    let reply = send("POST", "/v1/things", &[JSON], &deep).await;
    assert_eq!(reply.status, 400, "{}", reply.text);
}

#[tokio::test]
async fn only_json_is_read_and_only_so_much_of_it() {
    for (kind, status) in [
        ("application/json", 201),
        ("application/vnd.probe+json", 201),
        ("text/plain", 415),
        ("application/x-www-form-urlencoded", 415),
        ("application/json; charset=utf-16", 415),
    ] {
        let reply = send("POST", "/v1/things", &[("content-type", kind)], "{}").await;
        assert_eq!(reply.status, status, "{kind}");
    }
    let reply = send("POST", "/v1/things", &[], "{}").await;
    assert!(holds(&reply.json(), &code("unsupported_media_type")), "{}", reply.text);
    let reply = send("POST", "/v1/things", &[("content-type", "text/plain")], "").await;
    assert_eq!(reply.status, 201, "an empty body has no type");
    let large = format!(r#"{{"name":"{}"}}"#, "x".repeat(1024 * 1024));
    let reply = send("POST", "/v1/things", &[JSON], &large).await;
    assert!(holds(&reply.json(), &code("payload_too_large")), "{}", reply.text);
    let announced = [JSON, ("content-length", "1048577")];
    let reply = send("POST", "/v1/things", &announced, "{}").await;
    assert_eq!(reply.status, 413, "refused by what it announces");
    let chunk = || Ok::<_, std::io::Error>(axum::body::Bytes::from(vec![b' '; 64 * 1024]));
    let endless = Body::from_stream(futures::stream::repeat_with(chunk));
    let mut endless = request("POST", "/v1/things", &[JSON], "").map(|_| endless);
    endless.headers_mut().remove("content-length");
    let reply = read(transcoder().oneshot(endless).await.unwrap()).await;
    assert_eq!(reply.status, 413, "refused while it is read");
}

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
    check(&[], vec![
        ("GET", "/v1/fail/name_taken", "", 409,
            json!({"error": {"code": "name_taken", "request_id": "req_1", "details": {"asked": "yes"}}})),
        ("GET", "/v1/fail/missing_api_key", "", 401, code("missing_api_key")),
        ("GET", "/v1/fail/foreign", "", 503, code("unavailable")),
        ("GET", "/v1/fail/request_cancelled", "", 499, code("request_cancelled")),
        ("GET", "/v1/fail/internal_error", "", 500, code("internal_error")),
    ])
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
        ("connection", "x-mine"),
        ("te", "trailers"),
        ("keep-alive", "1"),
        ("content-length", "0"),
    ];
    let reply = send("GET", "/v1/things/a", &headers, "").await;
    let metadata = reply.json()["metadata"].clone();
    assert_eq!(metadata, json!({"x-mine": "a", "authorization": "Bearer k"}));
    assert_eq!(reply.header("x-answered"), "yes");
    for name in ["grpc-encoding", "connection", "x-trace-bin"] {
        assert!(!reply.headers.contains_key(name), "{name}");
    }
}

#[tokio::test]
async fn head_is_get_without_a_body_and_options_tells_the_methods() {
    let get = send("GET", "/v1/things/a", &[], "").await;
    let head = send("HEAD", "/v1/things/a", &[("accept", "text/event-stream")], "").await;
    assert_eq!((head.status, head.text.as_str()), (StatusCode::OK, ""));
    assert_eq!(head.header("content-type"), "application/json");
    assert!(head.header("content-length").parse::<usize>().unwrap() >= get.text.len());
    let head = send("HEAD", "/v1/nothing", &[], "").await;
    assert_eq!((head.status.as_u16(), head.text.as_str()), (404, ""));
    let options = send("OPTIONS", "/v1/files/a", &[], "").await;
    assert_eq!(options.status, 204);
    assert_eq!(options.header("allow"), "GET, HEAD, OPTIONS");
    assert_eq!(send("OPTIONS", "/v1/nothing", &[], "").await.status, 404);
}

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
        ("/v1/watch/a", "application/json", 406, "application/json"),
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
    let prober = Prober::default();
    let options = TranscoderOptions { first_item_wait_ms: 1, ..TranscoderOptions::default() };
    let transcoder = with(prober.clone(), options);
    for (target, first) in [("/v1/watch/silent", ": ping\n\n"), ("/v1/watch/started", "id: 1\n")] {
        prober.dropped.store(false, Ordering::SeqCst);
        let response = transcoder.clone().oneshot(request("GET", target, &[], "")).await.unwrap();
        assert_eq!(response.status(), 200);
        let mut body = response.into_body();
        let frame = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert!(frame.starts_with(first.as_bytes()), "{frame:?}");
        assert!(!prober.dropped.load(Ordering::SeqCst));
        drop(body);
        assert!(prober.dropped.load(Ordering::SeqCst), "{target}");
    }
}

#[tokio::test]
async fn aliases_are_other_prefixes_with_headers_of_their_own() {
    let prefer = (HeaderName::from_static("prefer"), HeaderValue::from_static("wait=30"));
    let alias =
        |prefix: &str, headers| Alias { prefix: prefix.to_owned(), to: "/v1".to_owned(), headers };
    let aliases = vec![alias("/api/v1", Vec::new()), alias("/v2", vec![prefer])];
    let options = TranscoderOptions { aliases, ..TranscoderOptions::default() };
    let transcoder = with(Prober::default(), options);
    for (target, sent, prefer) in [
        ("/api/v1/things/a%2Fb", &[][..], Value::Null),
        ("/v2/things/a%2Fb", &[], json!("wait=30")),
        ("/v2/things/a%2Fb", &[("prefer", "respond-async")], json!("respond-async")),
    ] {
        let response = transcoder.clone().oneshot(request("GET", target, sent, "")).await.unwrap();
        let reply = read(response).await;
        assert_eq!(reply.json()["probe"]["name"], "a/b", "{target}");
        assert_eq!(reply.json()["metadata"]["prefer"], prefer, "{target}");
    }
    let get = http::Method::GET;
    let path = "/probe.v1.ProbeService/Get";
    assert_eq!(transcoder.resolve(&get, "/v2/things/a"), Some(path));
    assert_eq!(transcoder.resolve(&get, "/v20/things/a"), None);
}

#[test]
fn every_method_has_the_scope_that_its_option_names() {
    assert_eq!(required_scope("/probe.v1.ProbeService/Get"), Some("read"));
    assert_eq!(required_scope("/probe.v1.ProbeService/Hidden"), Some("admin"));
    assert_eq!(required_scope("/probe.v1.ProbeService/Root"), None);
    assert!(SCOPES.is_sorted());
    for rule in runplane::proto::rest::RULES {
        assert!(runplane::proto::rest::required_scope(rule.grpc).is_some(), "{}", rule.grpc);
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
        path in "/v1/(things|files|kinds|nested|shelves|ask|watch|tags)(/[a-z%0-9:*.{}=~-]{0,6}){0,6}",
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
