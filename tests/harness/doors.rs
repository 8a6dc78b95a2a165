//! One method, three doors: calls it with the same JSON over gRPC, gRPC-Web or REST and gives back
//! the same JSON, failure or events, so that one test runs through all three. Checks on the way
//! what must hold of every answer.

use std::collections::BTreeMap;
use std::sync::Once;
use std::time::Duration;

use prost_reflect::{MessageDescriptor, MethodDescriptor};
use runplane::kernel::error::Reason;
use serde_json::Value;
use tonic::transport::{Channel, Endpoint};
use tonic_types::StatusExt;

use super::browser::Page;
use super::contract::{decode, encode, method, normal};
use super::raw::{RawCodec, metadata, texts};
use super::rest::{Call, Frames};
use super::web::{self, WebAnswer, WebCall, WebError, WebPart};
use crate::openapi::described;

/// Longest wait for one answer or event; a test that reaches it has failed.
const WAIT: Duration = Duration::from_secs(60);

/// How a call comes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// gRPC over HTTP/2.
    Grpc,
    /// gRPC-Web, as a browser speaks it.
    GrpcWeb,
    /// JSON over HTTP/1.1.
    Rest,
}

/// A caller at one door, with one key.
#[derive(Clone)]
pub struct Client {
    /// The door.
    pub door: Door,
    url: String,
    headers: Vec<(String, String)>,
    channel: Channel,
    http: reqwest::Client,
    page: Option<Page>,
}

/// A success.
#[derive(Debug)]
pub struct Answer {
    /// HTTP status; 200 for every success but those of REST.
    pub status: u16,
    /// Headers, or metadata.
    pub headers: BTreeMap<String, String>,
    /// The message, `{}` when there is none.
    pub body: Value,
}

/// A failure; equal when code, message and facts are.
#[derive(Debug, Clone)]
pub struct Failure {
    /// Reason, lower case.
    pub code: String,
    /// Message.
    pub message: String,
    /// Facts.
    pub details: BTreeMap<String, String>,
    /// Headers, or metadata.
    pub headers: BTreeMap<String, String>,
}

/// One event of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Id.
    pub id: String,
    /// Name.
    pub kind: String,
    /// What happened.
    pub data: Value,
}

/// A stream of events; dropping it hangs up.
pub enum Follow {
    /// Over gRPC.
    Grpc(Box<tonic::Streaming<Vec<u8>>>, MessageDescriptor),
    /// Over gRPC-Web.
    GrpcWeb(WebAnswer, MessageDescriptor),
    /// Over REST.
    Rest(Box<reqwest::Response>, Frames),
}

impl Door {
    /// All three.
    pub const ALL: [Self; 3] = [Self::Grpc, Self::GrpcWeb, Self::Rest];
}

impl PartialEq for Failure {
    fn eq(&self, other: &Self) -> bool {
        (&self.code, &self.message, &self.details) == (&other.code, &other.message, &other.details)
    }
}

impl Client {
    /// A caller at the server with this URL. Without a key it sends none.
    pub fn new(door: Door, url: &str, key: Option<&str>) -> Self {
        crypto();
        let bearer = key.map(|key| ("authorization".to_owned(), format!("Bearer {key}")));
        Self {
            door,
            url: url.trim_end_matches('/').to_owned(),
            headers: bearer.into_iter().collect(),
            channel: Endpoint::from_shared(url.to_owned()).expect("a URL").connect_lazy(),
            http: reqwest::Client::builder().no_proxy().build().expect("an HTTP client"),
            page: None,
        }
    }

    /// A page in a real browser, which calls over gRPC-Web with this key.
    pub fn in_page(page: Page, url: &str, key: Option<&str>) -> Self {
        Self { page: Some(page), ..Self::new(Door::GrpcWeb, url, key) }
    }

    /// The same caller with one more header.
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Calls a method, `AgentsService/GetAgent`, and gives back its message.
    pub async fn call(&self, name: &str, json: Value) -> Result<Value, Failure> {
        Ok(self.answer(name, json).await?.body)
    }

    /// Calls a method and gives back all of the answer.
    pub async fn answer(&self, name: &str, json: Value) -> Result<Answer, Failure> {
        let method = method(name);
        assert!(!method.is_server_streaming(), "{name} streams");
        let answer = async {
            match self.door {
                Door::Grpc => self.grpc(&method, &json).await,
                Door::GrpcWeb => self.web(&method, &json).await,
                Door::Rest => self.rest(&method, &json).await,
            }
        };
        let answer = tokio::time::timeout(WAIT, answer).await;
        let answer = answer.unwrap_or_else(|_| panic!("{name} over {:?} hangs", self.door));
        let headers = answer.as_ref().map_or_else(|f| &f.headers, |a| &a.headers);
        let id = headers.get("x-request-id").map_or("", String::as_str);
        assert!(id.starts_with("req_"), "{name} over {:?}: request id {id:?}", self.door);
        answer
    }

    /// Calls a streaming method and gives back its events, to the last.
    pub async fn stream(&self, name: &str, json: Value) -> Result<Vec<Event>, Failure> {
        let mut follow = self.follow(name, json).await?;
        let mut events = Vec::new();
        while let Some(event) = follow.next().await {
            events.push(event?);
        }
        Ok(events)
    }

    /// Calls a streaming method.
    pub async fn follow(&self, name: &str, json: Value) -> Result<Follow, Failure> {
        let method = method(name);
        assert!(method.is_server_streaming(), "{name} does not stream");
        match self.door {
            Door::Grpc => {
                let mut grpc = self.ready().await;
                let request = self.request(encode(&method.input(), &json));
                let streaming = grpc.server_streaming(request, path(&method), RawCodec);
                let response = streaming.await.map_err(|status| Failure::of_status(&status))?;
                Ok(Follow::Grpc(Box::new(response.into_inner()), method.output()))
            }
            Door::GrpcWeb => Ok(Follow::GrpcWeb(self.begin(&method, &json), method.output())),
            Door::Rest => {
                let (call, response) = self.send(&method, &json).await;
                if !response.status().is_success() {
                    return Err(Failure::of_rest(&call, response).await);
                }
                let (status, kind) = (response.status().as_u16(), "text/event-stream");
                assert_eq!(response.headers()["content-type"], kind, "{name}");
                call.described(status, kind, &Value::Null);
                Ok(Follow::Rest(Box::new(response), Frames::default()))
            }
        }
    }

    async fn grpc(&self, method: &MethodDescriptor, json: &Value) -> Result<Answer, Failure> {
        let mut grpc = self.ready().await;
        let request = self.request(encode(&method.input(), json));
        let answer = grpc.unary(request, path(method), RawCodec).await;
        let answer = answer.map_err(|status| Failure::of_status(&status))?;
        let headers = metadata(answer.metadata());
        let body = normal(decode(&method.output(), answer.get_ref()));
        Ok(Answer { status: 200, headers, body })
    }

    async fn web(&self, method: &MethodDescriptor, json: &Value) -> Result<Answer, Failure> {
        let mut answer = self.begin(method, json);
        let (mut headers, mut body) = (BTreeMap::new(), Value::Null);
        while let Some(part) = answer.next().await {
            match part.map_err(|error| Failure::of_web(error, &headers))? {
                WebPart::Headers(_, found) => headers = found,
                WebPart::Message(bytes) => body = normal(decode(&method.output(), &bytes)),
                WebPart::Chunk(_) => {}
            }
        }
        Ok(Answer { status: 200, headers, body })
    }

    async fn rest(&self, method: &MethodDescriptor, json: &Value) -> Result<Answer, Failure> {
        let (call, response) = self.send(method, json).await;
        let status = response.status().as_u16();
        if !response.status().is_success() {
            return Err(Failure::of_rest(&call, response).await);
        }
        let headers = texts(response.headers());
        let body = response.bytes().await.expect("a whole body");
        let body = match (status, body.is_empty()) {
            (204, true) => Value::Object(serde_json::Map::new()),
            _ => serde_json::from_slice(&body).expect("JSON"),
        };
        call.described(status, headers.get("content-type").map_or("", String::as_str), &body);
        Ok(Answer { status, headers, body: normal(body) })
    }

    async fn ready(&self) -> tonic::client::Grpc<Channel> {
        let mut grpc = tonic::client::Grpc::new(self.channel.clone());
        grpc.ready().await.expect("a connection");
        grpc
    }

    fn request(&self, message: Vec<u8>) -> tonic::Request<Vec<u8>> {
        let mut request = tonic::Request::new(message);
        for (name, value) in &self.headers {
            let name: tonic::metadata::AsciiMetadataKey = name.parse().expect("a name");
            request.metadata_mut().append(name, value.parse().expect("a value"));
        }
        request
    }

    /// Begins a call over gRPC-Web, for who wants to see each part of the answer.
    pub fn begin(&self, method: &MethodDescriptor, json: &Value) -> WebAnswer {
        let request = encode(&method.input(), json);
        let name = path(method).path().trim_start_matches('/').to_owned();
        let (page, url, headers) = (self.page, &self.url, &self.headers);
        web::call(&WebCall { page, url, method: &name, request: &request, headers })
    }

    async fn send(&self, method: &MethodDescriptor, json: &Value) -> (Call, reqwest::Response) {
        let call = Call::of(method, json);
        let verb = call.verb.parse().expect("a verb");
        let mut request = self.http.request(verb, format!("{}{}", self.url, call.target));
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        if call.accept_events {
            request = request.header("accept", "text/event-stream");
        }
        if let Some(body) = &call.body {
            request = request.json(body);
        }
        let response = request.send().await;
        let response = response.unwrap_or_else(|e| panic!("{} {}: {e}", call.verb, call.target));
        (call, response)
    }
}

impl Follow {
    /// The next event; `None` at the end.
    pub async fn next(&mut self) -> Option<Result<Event, Failure>> {
        let next = async {
            match self {
                Self::Grpc(stream, kind) => match stream.message().await {
                    Ok(message) => message.map(|bytes| Ok(Event::of_message(kind, &bytes))),
                    Err(status) => Some(Err(Failure::of_status(&status))),
                },
                Self::GrpcWeb(answer, kind) => loop {
                    match answer.next().await? {
                        Ok(WebPart::Headers(..) | WebPart::Chunk(_)) => {}
                        Ok(WebPart::Message(bytes)) => {
                            return Some(Ok(Event::of_message(kind, &bytes)));
                        }
                        Err(error) => return Some(Err(Failure::of_web(error, &BTreeMap::new()))),
                    }
                },
                Self::Rest(response, frames) => next_frame(response, frames).await,
            }
        };
        tokio::time::timeout(WAIT, next).await.expect("the stream hangs")
    }
}

async fn next_frame(
    response: &mut reqwest::Response,
    frames: &mut Frames,
) -> Option<Result<Event, Failure>> {
    loop {
        if let Some(frame) = frames.next() {
            let data: Value = serde_json::from_str(&frame.data).expect("JSON in an event");
            described::check_event(&frame.event, &frame.id, &data);
            if frame.event == "stream-error" {
                return Some(Err(Failure::of_envelope(&data, BTreeMap::new())));
            }
            return Some(Ok(Event { id: frame.id, kind: frame.event, data: normal(data) }));
        }
        frames.push(&response.chunk().await.expect("a stream that ends well")?);
    }
}

impl Event {
    fn of_message(kind: &MessageDescriptor, bytes: &[u8]) -> Self {
        let message = normal(decode(kind, bytes));
        let choice = kind.oneofs().find(|oneof| oneof.name() == "data").expect("a oneof data");
        let member = choice.fields().find_map(|field| message.get(field.name()).cloned());
        Self {
            id: message["id"].as_str().unwrap_or_default().to_owned(),
            kind: message["type"].as_str().unwrap_or_default().to_owned(),
            data: member.expect("an event with data"),
        }
    }
}

impl Failure {
    fn of_status(status: &tonic::Status) -> Self {
        let info = status.get_details_error_info();
        let reason = info.as_ref().map(|info| info.reason.clone());
        let details = info.map(|info| info.metadata.into_iter().collect()).unwrap_or_default();
        let headers = metadata(status.metadata());
        let (message, grpc) = (status.message().to_owned(), format!("{:?}", status.code()));
        Self::of_grpc(reason, &grpc, Self { code: String::new(), message, details, headers })
    }

    fn of_web(error: WebError, headers: &BTreeMap<String, String>) -> Self {
        let words = error.code.split('_').map(|word| {
            let lower = word.to_lowercase();
            lower[..1].to_uppercase() + &lower[1..]
        });
        let grpc: String = words.collect();
        let headers = if headers.is_empty() { error.headers } else { headers.clone() };
        let (message, details) = (error.message, error.metadata);
        Self::of_grpc(error.reason, &grpc, Self { code: String::new(), message, details, headers })
    }

    /// Takes the code from the reason, and checks that the gRPC code is that of the table.
    fn of_grpc(reason: Option<String>, grpc: &str, failure: Self) -> Self {
        let reason = reason.unwrap_or_else(|| panic!("{grpc} without a reason: {failure:?}"));
        let known = Reason::parse(&reason).unwrap_or_else(|| panic!("unknown reason {reason}"));
        assert_eq!(format!("{:?}", known.row().grpc), grpc, "{reason}");
        assert_eq!(known.row().info, reason);
        Self { code: reason.to_lowercase(), ..failure }
    }

    async fn of_rest(call: &Call, response: reqwest::Response) -> Self {
        let status = response.status().as_u16();
        let headers = texts(response.headers());
        let body = response.bytes().await.expect("a whole body");
        let json: Value = serde_json::from_slice(&body).unwrap_or_else(|e| {
            panic!("{status} with a body that is not JSON: {e}: {}", String::from_utf8_lossy(&body))
        });
        assert_eq!(json["error"]["request_id"].as_str(), headers.get("x-request-id").map(|v| &**v));
        call.described(status, "application/json", &json);
        let failure = Self::of_envelope(&json, headers);
        let known = Reason::parse(&failure.code).unwrap_or_else(|| panic!("unknown {failure:?}"));
        assert_eq!(known.row().http, status, "{failure:?}");
        failure
    }

    fn of_envelope(json: &Value, headers: BTreeMap<String, String>) -> Self {
        let error = &json["error"];
        let text = |name: &str| error[name].as_str().map(str::to_owned);
        let details = error["details"].as_object().into_iter().flatten();
        let fact = |(name, value): (&String, &Value)| {
            (name.clone(), value.as_str().map_or_else(|| value.to_string(), str::to_owned))
        };
        Self {
            code: text("code").unwrap_or_else(|| panic!("no envelope: {json}")),
            message: text("message").unwrap_or_else(|| panic!("no message: {json}")),
            details: details.map(fact).collect(),
            headers,
        }
    }
}

/// Makes ring the provider of TLS in this process, as `main.rs` does.
pub fn crypto() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}

fn path(method: &MethodDescriptor) -> http::uri::PathAndQuery {
    let path = format!("/{}/{}", method.parent_service().full_name(), method.name());
    path.parse().expect("a path")
}
