//! The rest of HTTP at the public doors: entity tags and conditions, content codings, limits of
//! heads and connections. Over sockets; what the transcoder does by itself is in
//! `tests/transcoder`.

mod bodiless;
mod codings;
mod conditions;
mod floods;
mod heads;
mod lingering;
mod pages;

use http::{HeaderMap, StatusCode};
use runplane::kernel::error::Reason;
use serde_json::{Value, json};

use crate::harness::app::App;
use crate::harness::doors::{Door, Failure};

/// A caller that speaks plain HTTP.
struct Caller {
    app: App,
    http: reqwest::Client,
}

/// What it was answered.
#[derive(Debug)]
struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Caller {
    async fn new() -> Self {
        Self::at(App::start().await)
    }

    fn at(app: App) -> Self {
        // Codings are what is tested, so nobody may undo them on the way.
        let http = reqwest::Client::builder().no_proxy().no_gzip().no_brotli().no_zstd();
        Self { app, http: http.no_deflate().build().expect("an HTTP client") }
    }

    /// Sends `GET /v1/agents` with the admin key.
    async fn ask(&self, line: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        let (verb, target) = line.split_once(' ').expect("a verb and a target");
        let verb = verb.parse().expect("a verb");
        let request = self.http.request(verb, format!("{}{target}", self.app.url));
        let mut request = request.bearer_auth(&self.app.admin);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if !body.is_empty() {
            request = request.header("content-type", "application/json").body(body.to_vec());
        }
        let response = request.send().await.unwrap_or_else(|e| panic!("{line}: {e}"));
        let (status, headers) = (response.status(), response.headers().clone());
        let body = response.bytes().await.expect("a whole body").to_vec();
        Reply { status, headers, body }
    }

    /// An agent whose JSON is of some size.
    async fn agent(&self) -> Value {
        let agent = json!({
            "name": "Clerk", "model": "sim", "instructions": "Look things up. ".repeat(200),
            "sim": {"turns": [{"text": "done"}]},
        });
        let made = self.app.door(Door::Rest);
        made.call("AgentsService/CreateAgent", json!({"agent": agent})).await.expect("an agent")
    }
}

impl Reply {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("ASCII"))
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// Checks that it is this failure, and gives back its facts.
    fn fails(&self, code: &str) -> Value {
        let json = self.json();
        let reason = Reason::parse(code).unwrap_or_else(|| panic!("no reason {code}"));
        assert_eq!(json["error"]["code"], code, "{json}");
        assert_eq!(self.status.as_u16(), reason.row().http, "{json}");
        assert_eq!(json["error"]["request_id"], self.header("x-request-id"));
        json["error"]["details"].clone()
    }
}

/// A method through all doors: the same failure, or the same success, which is given back.
async fn everywhere(app: &App, method: &str, json: Value) -> Result<Value, Failure> {
    let first = app.door(Door::Rest).call(method, json.clone()).await;
    for door in [Door::Grpc, Door::GrpcWeb] {
        let other = app.door(door).call(method, json.clone()).await;
        match (&first, &other) {
            (Err(first), Err(other)) => assert_eq!(first, other, "{method} over {door:?}"),
            (Ok(_), Ok(_)) => {}
            _ => panic!("{method} over {door:?}: {other:?}, over REST: {first:?}"),
        }
    }
    first
}
