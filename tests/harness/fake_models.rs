//! Fake providers on a loopback port: one speaks like OpenAI's chat completions, one like
//! Anthropic's messages. A test says what each request is answered, misbehaviour included, and
//! reads afterwards what was asked.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Response, StatusCode};
use axum::routing::post;
use futures::stream::{self, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// How a fake provider speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// OpenAI's chat completions.
    Openai,
    /// Anthropic's messages.
    Anthropic,
}

/// What a request is answered.
#[derive(Debug, Clone)]
pub enum Turn {
    /// A whole answer.
    Say(Said),
    /// A status instead, with headers and a body.
    Status(u16, Vec<(&'static str, &'static str)>, String),
    /// Some text and then an event that is no JSON.
    Malformed(&'static str),
    /// Some text and then the end, without the closing event.
    CutShort(&'static str),
    /// Some text and then an error event.
    ErrorEvent(&'static str, Value),
    /// Some text and then a broken connection.
    Reset(&'static str),
    /// Some text and then nothing, for ever.
    Hang(&'static str),
    /// No answer at all, for ever.
    Silence,
}

/// A whole answer.
#[derive(Debug, Clone, Default)]
pub struct Said {
    /// Text, in the pieces that are streamed.
    pub pieces: Vec<&'static str>,
    /// Tool calls: id, name, arguments as the model writes them.
    pub calls: Vec<(&'static str, &'static str, String)>,
    /// True when the model was cut off by `max_tokens`.
    pub cut_off: bool,
}

/// Tokens that every whole answer says it has read and written.
pub const USAGE: (i32, i32) = (11, 7);

/// Says a text.
pub fn say(pieces: &[&'static str]) -> Turn {
    Turn::Say(Said { pieces: pieces.to_vec(), ..Said::default() })
}

/// A request that the provider got.
#[derive(Debug, Clone)]
pub struct Asked {
    /// Headers.
    pub headers: HeaderMap,
    /// Body.
    pub body: Value,
}

/// A running fake provider.
pub struct FakeModels {
    /// Its base URL, as the configuration has it.
    pub base_url: String,
    script: Arc<Script>,
    server: JoinHandle<()>,
}

struct Script {
    dialect: Dialect,
    turns: Mutex<VecDeque<Turn>>,
    asked: Mutex<Vec<Asked>>,
}

impl FakeModels {
    /// Starts one that answers by this script, and 500 when it is used up.
    pub async fn start(dialect: Dialect, turns: Vec<Turn>) -> Self {
        let turns = Mutex::new(turns.into());
        let script = Arc::new(Script { dialect, turns, asked: Mutex::default() });
        let app = Router::new()
            .route("/v1/chat/completions", post(answer))
            .route("/v1/messages", post(answer))
            .with_state(Arc::clone(&script));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let server = tokio::spawn(async move {
            axum::serve(listener, app).await.expect("the fake provider serves");
        });
        Self { base_url: format!("http://127.0.0.1:{port}/v1"), script, server }
    }

    /// What it was asked, oldest first.
    pub fn asked(&self) -> Vec<Asked> {
        self.script.asked.lock().expect("asked").clone()
    }
}

impl Drop for FakeModels {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn answer(
    State(script): State<Arc<Script>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let body = serde_json::from_slice(&body).unwrap_or_default();
    script.asked.lock().expect("asked").push(Asked { headers, body });
    let turn = script.turns.lock().expect("turns").pop_front();
    let dialect = script.dialect;
    let text = |text: &'static str| dialect.text(text);
    match turn {
        None => plain(500, &[], "the script is used up".to_owned()),
        Some(Turn::Status(status, headers, body)) => plain(status, &headers, body),
        Some(Turn::Silence) => std::future::pending().await,
        Some(Turn::Say(said)) => streamed(dialect.whole(&said), After::End),
        Some(Turn::Malformed(start)) => {
            let event = dialect.event("content_block_delta", "{\"half\": ");
            streamed(text(start) + &event, After::End)
        }
        Some(Turn::CutShort(start)) => streamed(text(start), After::End),
        Some(Turn::ErrorEvent(start, error)) => {
            streamed(text(start) + &dialect.event("error", &error.to_string()), After::End)
        }
        Some(Turn::Reset(start)) => streamed(text(start), After::Reset),
        Some(Turn::Hang(start)) => streamed(text(start), After::Hang),
    }
}

/// What follows the bytes of a stream.
enum After {
    End,
    Reset,
    Hang,
}

fn plain(status: u16, headers: &[(&str, &str)], body: String) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::from_u16(status).expect("a status");
    for (name, value) in headers {
        let name = axum::http::HeaderName::from_bytes(name.as_bytes()).expect("a header");
        response.headers_mut().insert(name, value.parse().expect("a value"));
    }
    response
}

/// Every event is a chunk of its own, as providers send them.
fn streamed(events: String, after: After) -> Response<Body> {
    let chunks: Vec<Result<String, std::io::Error>> =
        events.split_inclusive("\n\n").map(|event| Ok(event.to_owned())).collect();
    let chunks = stream::iter(chunks);
    let body = match after {
        After::End => Body::from_stream(chunks),
        After::Reset => {
            // The server sends what it has while the body makes it wait.
            let reset = stream::once(async {
                tokio::task::yield_now().await;
                Err(std::io::Error::other("reset"))
            });
            Body::from_stream(chunks.chain(reset))
        }
        After::Hang => Body::from_stream(chunks.chain(stream::pending())),
    };
    let mut response = Response::new(body);
    let kind = "text/event-stream".parse().expect("a value");
    response.headers_mut().insert("content-type", kind);
    response
}

impl Dialect {
    fn event(self, name: &str, data: &str) -> String {
        match self {
            Self::Openai => format!("data: {data}\n\n"),
            Self::Anthropic => format!("event: {name}\ndata: {data}\n\n"),
        }
    }

    fn text(self, text: &str) -> String {
        match self {
            _ if text.is_empty() => String::new(),
            Self::Openai => self.chunk(&json!({ "content": text }), None),
            Self::Anthropic => self.delta(0, &json!({"type": "text_delta", "text": text})),
        }
    }

    fn chunk(self, delta: &Value, finish: Option<&str>) -> String {
        let choice = json!({"index": 0, "delta": delta, "finish_reason": finish});
        self.event("", &json!({"id": "x", "choices": [choice]}).to_string())
    }

    fn delta(self, index: usize, delta: &Value) -> String {
        let data = json!({"type": "content_block_delta", "index": index, "delta": delta});
        self.event("content_block_delta", &data.to_string())
    }

    fn whole(self, said: &Said) -> String {
        match self {
            Self::Openai => self.openai(said),
            Self::Anthropic => self.anthropic(said),
        }
    }

    fn openai(self, said: &Said) -> String {
        let mut events = self.chunk(&json!({"role": "assistant", "content": ""}), None);
        for piece in &said.pieces {
            events += &self.text(piece);
        }
        for (index, (id, name, arguments)) in said.calls.iter().enumerate() {
            let function = json!({"name": name, "arguments": ""});
            let call = json!({"index": index, "id": id, "type": "function", "function": function});
            events += &self.chunk(&json!({ "tool_calls": [call] }), None);
            for half in halves(arguments) {
                let call = json!({"index": index, "function": {"arguments": half}});
                events += &self.chunk(&json!({ "tool_calls": [call] }), None);
            }
        }
        let finish = match (said.cut_off, said.calls.is_empty()) {
            (true, _) => "length",
            (false, true) => "stop",
            (false, false) => "tool_calls",
        };
        events += &self.chunk(&json!({}), Some(finish));
        let (read, written) = USAGE;
        let usage = json!({
            "prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written
        });
        events += &self.event("", &json!({"id": "x", "choices": [], "usage": usage}).to_string());
        events + "data: [DONE]\n\n"
    }

    fn anthropic(self, said: &Said) -> String {
        let (read, written) = USAGE;
        let mut events = String::new();
        let mut push = |name: &str, data: Value| {
            write!(events, "{}", self.event(name, &data.to_string())).expect("a string grows");
        };
        let usage = json!({"input_tokens": read, "output_tokens": 1});
        push("message_start", json!({"type": "message_start", "message": {"usage": usage}}));
        let text = json!({"type": "text", "text": ""});
        push("content_block_start", json!({"index": 0, "content_block": text}));
        for piece in &said.pieces {
            let delta = json!({"type": "text_delta", "text": piece});
            push("content_block_delta", json!({"index": 0, "delta": delta}));
        }
        push("content_block_stop", json!({"index": 0}));
        for (index, (id, name, arguments)) in (1..).zip(&said.calls) {
            let block = json!({"type": "tool_use", "id": id, "name": name, "input": {}});
            push("content_block_start", json!({"index": index, "content_block": block}));
            for half in halves(arguments) {
                let delta = json!({"type": "input_json_delta", "partial_json": half});
                push("content_block_delta", json!({"index": index, "delta": delta}));
            }
            push("content_block_stop", json!({"index": index}));
        }
        let reason = match (said.cut_off, said.calls.is_empty()) {
            (true, _) => "max_tokens",
            (false, true) => "end_turn",
            (false, false) => "tool_use",
        };
        let delta = json!({"stop_reason": reason});
        push("message_delta", json!({"delta": delta, "usage": {"output_tokens": written}}));
        push("message_stop", json!({"type": "message_stop"}));
        events
    }
}

fn halves(text: &str) -> [&str; 2] {
    let (a, b) = text.split_at(text.floor_char_boundary(text.len() / 2));
    [a, b]
}
