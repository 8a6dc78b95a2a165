//! gRPC-Web by hand, where each byte can be chosen: media types with parameters, base64 in parts,
//! failures without a body, and the frame that carries the trailers.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::stream;
use reqwest::Response;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::harness::app::App;
use crate::harness::contract::{decode, encode, method};

const BINARY: &str = "application/grpc-web+proto";
const TEXT: &str = "application/grpc-web-text";

/// An answer, read to its end.
#[derive(Debug)]
struct Answer {
    headers: HeaderMap,
    /// As it came.
    body: Vec<u8>,
}

/// A frame with this message.
fn frame(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).expect("a length").to_be_bytes();
    [&[0][..], &length, message].concat()
}

/// A frame with a request of this method.
fn request(name: &str, json: &Value) -> Vec<u8> {
    frame(&encode(&method(name).input(), json))
}

async fn send(app: &App, name: &str, headers: &[(&str, &str)], body: reqwest::Body) -> Response {
    let http = reqwest::Client::builder().no_proxy().build().expect("an HTTP client");
    let mut request = http.post(format!("{}/runplane.v1.{name}", app.url));
    if !headers.iter().any(|(name, _)| *name == "authorization") {
        request = request.bearer_auth(&app.admin);
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(body).send().await.expect("an answer")
}

async fn call(app: &App, name: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Answer {
    let response = send(app, name, headers, body.into()).await;
    assert_eq!(response.status(), 200, "{name} {headers:?}: {response:?}");
    let headers = response.headers().clone();
    Answer { headers, body: response.bytes().await.expect("a whole body").to_vec() }
}

impl Answer {
    fn kind(&self) -> &str {
        self.headers["content-type"].to_str().expect("a text")
    }

    /// The messages, and the trailers, which come last.
    fn frames(&self) -> (Vec<Vec<u8>>, HeaderMap) {
        let (mut messages, mut trailers) = (Vec::new(), None);
        let mut rest = &self.body[..];
        while let Some((head, after)) = rest.split_at_checked(5) {
            assert!(trailers.is_none(), "a frame after the trailers: {self:?}");
            let length = u32::from_be_bytes(head[1..].try_into().expect("four bytes"));
            let (part, after) = after.split_at(length as usize);
            match head[0] {
                0 => messages.push(part.to_vec()),
                0x80 => trailers = Some(lines(part)),
                flag => panic!("flag {flag} in {self:?}"),
            }
            rest = after;
        }
        assert!(rest.is_empty(), "half a frame at the end of {self:?}");
        (messages, trailers.unwrap_or_else(|| panic!("no trailers in {self:?}")))
    }

    /// The same, with the body out of its base64: one or more parts, each padded.
    fn untexted(mut self) -> Self {
        let groups = self.body.chunks(4).map(|group| STANDARD.decode(group).expect("base64"));
        self.body = groups.collect::<Vec<_>>().concat();
        self
    }

    /// The status of a failure that has no body: all of it is in the headers.
    fn status(&self) -> Status {
        assert_eq!(self.body, b"", "{self:?}");
        Status::from_header_map(&self.headers).unwrap_or_else(|| panic!("no status: {self:?}"))
    }

    /// The one agent of a page of agents.
    fn agents(&self) -> Value {
        let (messages, trailers) = self.frames();
        assert_eq!(trailers["grpc-status"], "0", "{trailers:?}");
        let [message] = &messages[..] else { panic!("not one message in {self:?}") };
        decode(&method("AgentsService/ListAgents").output(), message)["data"].clone()
    }
}

fn lines(block: &[u8]) -> HeaderMap {
    let block = std::str::from_utf8(block).expect("a text");
    let block = block.strip_suffix("\r\n").expect("whole lines");
    let lines = block.split("\r\n").map(|line| {
        let (name, value) = line.split_once(':').expect("a name and a value");
        assert_eq!(name, name.to_lowercase(), "names of trailers are lower case");
        (name.parse().expect("a name"), value.parse().expect("a value"))
    });
    lines.collect::<Vec<(http::HeaderName, http::HeaderValue)>>().into_iter().collect()
}

fn reason(status: &Status) -> String {
    status.get_details_error_info().map(|info| info.reason).unwrap_or_default()
}

const LIST: &str = "AgentsService/ListAgents";

#[tokio::test]
async fn a_media_type_may_have_parameters_and_capitals() {
    let app = App::start().await;
    let body = request(LIST, &json!({}));
    let text = STANDARD.encode(&body).into_bytes();
    for kind in [BINARY, "application/grpc-web", "Application/GRPC-Web+Proto; charset=utf-8"] {
        let answer = call(&app, LIST, &[("content-type", kind)], body.clone()).await;
        assert_eq!((answer.kind(), answer.agents()), (BINARY, json!([])), "{kind}");
    }
    for kind in [TEXT, "application/grpc-web-text+proto", "application/grpc-web-text;a=b"] {
        let answer = call(&app, LIST, &[("content-type", kind)], text.clone()).await;
        assert_eq!(answer.kind(), "application/grpc-web-text+proto", "{kind}");
        assert_eq!(answer.untexted().agents(), json!([]), "{kind}");
    }
}

#[tokio::test]
async fn messages_that_are_no_protobuf_are_refused_by_their_media_type() {
    let app = App::start().await;
    for kind in ["application/grpc-web+json", "application/grpc-web-text+thrift"] {
        let answer = call(&app, LIST, &[("content-type", kind)], frame(b"{}")).await;
        let status = answer.status();
        assert_eq!(reason(&status), "UNSUPPORTED_MEDIA_TYPE", "{kind}: {status:?}");
        assert!(status.message().contains(kind), "{status:?}");
    }
}

#[tokio::test]
async fn the_answer_has_the_form_that_is_accepted() {
    let app = App::start().await;
    let body = request(LIST, &json!({}));
    for (accept, text) in
        [("*/*", false), (TEXT, true), ("text/html, Application/grpc-web-text;q=1", true)]
    {
        let headers = [("content-type", BINARY), ("accept", accept)];
        let answer = call(&app, LIST, &headers, body.clone()).await;
        assert_eq!(answer.kind().contains("text"), text, "{accept}");
        let answer = if text { answer.untexted() } else { answer };
        assert_eq!(answer.agents(), json!([]), "{accept}");
    }
}

#[tokio::test]
async fn base64_may_come_in_any_pieces() {
    let app = App::start().await;
    let body = request(LIST, &json!({"limit": 7}));
    assert_eq!(body.len() % 3, 1, "so that there is padding");
    let whole = STANDARD.encode(&body);
    let parts: String = body.chunks(4).map(|part| STANDARD.encode(part)).collect();
    let bare = whole.trim_end_matches('=').to_owned();
    for (text, bytes) in [whole, parts, bare].iter().flat_map(|text| [(text, 1), (text, 99)]) {
        let pieces = text.as_bytes().chunks(bytes);
        let pieces: Vec<_> = pieces.map(|piece| Ok::<_, std::io::Error>(piece.to_vec())).collect();
        let body = reqwest::Body::wrap_stream(stream::iter(pieces));
        let response = send(&app, LIST, &[("content-type", TEXT)], body).await;
        let headers = response.headers().clone();
        let body = response.bytes().await.expect("a whole body").to_vec();
        assert_eq!(Answer { headers, body }.untexted().agents(), json!([]), "{text} by {bytes}");
    }
}

#[tokio::test]
async fn what_is_not_base64_is_the_callers_fault() {
    let app = App::start().await;
    let body = STANDARD.encode(request(LIST, &json!({})));
    let odd = ["!", "AAAA!AAA", "A", "AAAAA", "====", "A===", "\u{e9}", &body.replace('A', "-")];
    for text in odd {
        let headers = [("content-type", TEXT)];
        let status = call(&app, LIST, &headers, text.as_bytes().to_vec()).await.status();
        assert_eq!(status.code(), Code::InvalidArgument, "{text}: {status:?}");
        assert_eq!(reason(&status), "INVALID_FIELD", "{text}: {status:?}");
    }
}

#[tokio::test]
async fn a_failure_without_messages_is_in_the_headers() {
    let app = App::start().await;
    for (kind, answer_kind) in [(BINARY, BINARY), (TEXT, "application/grpc-web-text+proto")] {
        let encoded = |name: &str, json: &Value| match kind {
            TEXT => STANDARD.encode(request(name, json)).into_bytes(),
            _ => request(name, json),
        };
        for (name, headers, code, why) in [
            ("RunsService/GetRun", &[][..], Code::NotFound, "RUN_NOT_FOUND"),
            ("RunsService/WatchRun", &[], Code::NotFound, "RUN_NOT_FOUND"),
            (LIST, &[("authorization", "Bearer x")], Code::Unauthenticated, "INVALID_API_KEY"),
            (LIST, &[("grpc-timeout", "soon")], Code::InvalidArgument, "INVALID_FIELD"),
        ] {
            let headers = [&[("content-type", kind)], headers].concat();
            let answer = call(&app, name, &headers, encoded(name, &json!({}))).await;
            let status = answer.status();
            assert_eq!(status.code(), code, "{name} {headers:?}: {status:?}");
            assert!(reason(&status).contains(why), "{name} {headers:?}: {status:?}");
            assert_eq!(answer.kind(), answer_kind, "{name} {headers:?}");
        }
    }
}

#[tokio::test]
async fn only_post_is_a_call() {
    let app = App::start().await;
    let http = reqwest::Client::builder().no_proxy().build().expect("an HTTP client");
    let url = format!("{}/runplane.v1.{LIST}", app.url);
    for verb in ["GET", "PUT", "DELETE", "OPTIONS"] {
        let request = http.request(verb.parse().expect("a verb"), &url);
        let response = request.header("content-type", BINARY).send().await.expect("an answer");
        assert_eq!(
            (response.status().as_u16(), &response.headers()["allow"]),
            (405, &"POST".parse().expect("a value"))
        );
        let body: Value = response.json().await.expect("JSON");
        assert_eq!(body["error"]["code"], "method_not_allowed", "{verb}: {body}");
    }
}

#[tokio::test]
async fn a_stream_ends_with_the_trailers_in_its_last_frame() {
    let app = App::start().await;
    let rest = app.door(crate::harness::doors::Door::Rest);
    let agent =
        json!({"agent": {"name": "x", "model": "sim", "sim": {"turns": [{"text": "Hi."}]}}});
    let agent = rest.call("AgentsService/CreateAgent", agent).await.expect("an agent");
    for kind in [BINARY, TEXT] {
        let name = "RunsService/StreamRun";
        let body = request(name, &json!({"agent_id": agent["id"], "input": "x"}));
        let body = if kind == TEXT { STANDARD.encode(body).into_bytes() } else { body };
        let answer = call(&app, name, &[("content-type", kind)], body).await;
        assert!(!answer.headers.contains_key("grpc-status"), "{answer:?}");
        let answer = if kind == TEXT { answer.untexted() } else { answer };
        let (messages, trailers) = answer.frames();
        assert_eq!(trailers["grpc-status"], "0", "{kind}");
        let last = decode(&method(name).output(), messages.last().expect("a message"));
        assert_eq!(last["type"], "run.completed", "{kind}");
    }
}
