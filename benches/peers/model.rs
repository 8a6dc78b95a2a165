//! The model that all servers ask: OpenAI's chat completions, answered at once from ready bytes, in
//! a process of its own on the load's core. What a question wants stands in it: `bench:20` is
//! answered by 20 pieces of text, `bench:slow` by a piece every quarter of a second until they are
//! let go.

use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use futures::stream::{self, StreamExt};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader, stdin};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::sync::watch;

use super::client::Client;
use crate::Outcome;

/// A piece of the model's text: whoever has it has an answer.
pub(super) const PIECE: &str = "pong ";

const USAGE: &str = r#""usage":{"prompt_tokens":11,"completion_tokens":7,"total_tokens":18}"#;

const PAUSE: Duration = Duration::from_millis(250);

/// The running model. It ends when this is dropped.
pub(super) struct Model {
    /// Its address.
    pub(super) address: String,
    _process: Child,
}

#[derive(Clone)]
struct Shared {
    asked: Arc<AtomicUsize>,
    released: Arc<watch::Sender<usize>>,
}

impl Model {
    /// Starts this very program as the model.
    pub(super) async fn start() -> Outcome<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("model").stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut process = command.spawn()?;
        let lines = process.stdout.take().ok_or("no standard output")?;
        let address = BufReader::new(lines).lines().next_line().await?;
        let address = address.ok_or("the model did not start")?;
        Ok(Self { address, _process: process })
    }

    /// How often it was asked.
    pub(super) async fn asked(&self) -> Outcome<usize> {
        let answer = self.get("/asked").await?;
        Ok(std::str::from_utf8(&answer)?.parse()?)
    }

    /// Lets all slow answers end.
    pub(super) async fn release(&self) -> Outcome<()> {
        self.get("/release").await.map(|_| ())
    }

    async fn get(&self, path: &str) -> Outcome<Vec<u8>> {
        let request = format!("GET {path} HTTP/1.1\r\nhost: {}\r\n\r\n", self.address);
        Client::new(&self.address).body(request.as_bytes()).await
    }
}

/// Serves until standard input ends.
pub(crate) async fn serve() -> Outcome<()> {
    let shared = Shared { asked: Arc::default(), released: Arc::new(watch::channel(0).0) };
    let app = Router::new()
        .route("/v1/chat/completions", post(answer))
        .route("/asked", get(asked))
        .route("/release", get(release))
        .with_state(shared);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    let ended = async {
        let _ends = stdin().read_to_end(&mut Vec::new()).await;
    };
    tokio::select! {
        served = axum::serve(listener, app) => Ok(served?),
        () = ended => Ok(()),
    }
}

async fn asked(State(shared): State<Shared>) -> String {
    shared.asked.load(Ordering::Relaxed).to_string()
}

async fn release(State(shared): State<Shared>) -> &'static str {
    shared.released.send_modify(|times| *times += 1);
    "released"
}

async fn answer(State(shared): State<Shared>, body: Bytes) -> Response {
    shared.asked.fetch_add(1, Ordering::Relaxed);
    let text = String::from_utf8_lossy(&body);
    let wanted = text.rsplit_once("bench:").map_or("1", |(_, after)| after);
    let streams = text.contains("\"stream\":true") || text.contains("\"stream\": true");
    let tells_usage = text.contains("include_usage");
    if wanted.starts_with("slow") {
        return slow(&shared, tells_usage);
    }
    let digits = wanted.find(|c: char| !c.is_ascii_digit()).unwrap_or(wanted.len());
    let count = wanted[..digits].parse().unwrap_or(1);
    if !streams {
        return whole(count);
    }
    let mut events = vec![opening()];
    events.extend((0..count).map(|_| piece()));
    events.extend(closing(tells_usage));
    events_of(Body::from_stream(stream::iter(events.into_iter().map(Outcome::Ok))))
}

/// A piece, and one more each pause until they are let go.
fn slow(shared: &Shared, tells_usage: bool) -> Response {
    let mut released = shared.released.subscribe();
    released.mark_unchanged();
    let pieces = stream::unfold(released, async |mut released| {
        let ended = tokio::time::timeout(PAUSE, released.changed()).await.is_ok();
        (!ended).then(|| (piece(), released))
    });
    let events = stream::iter([opening(), piece()]).chain(pieces);
    let events = events.chain(stream::iter(closing(tells_usage)));
    events_of(Body::from_stream(events.map(Outcome::Ok)))
}

fn events_of(body: Body) -> Response {
    ([(CONTENT_TYPE, "text/event-stream")], body).into_response()
}

fn whole(count: usize) -> Response {
    let text = PIECE.repeat(count);
    let head = r#"{"id":"chatcmpl-bench","object":"chat.completion","created":1,"model":"bench","#;
    let message = format!(r#"{{"role":"assistant","content":"{text}"}}"#);
    let choice = format!(r#"{{"index":0,"message":{message},"finish_reason":"stop"}}"#);
    let body = format!("{head}\"choices\":[{choice}],{USAGE}}}");
    ([(CONTENT_TYPE, "application/json")], body).into_response()
}

fn chunk(choices: &str, usage: &str) -> String {
    let head = r#"data: {"id":"chatcmpl-bench","object":"chat.completion.chunk","created":1,"#;
    format!("{head}\"model\":\"bench\",\"choices\":[{choices}]{usage}}}\n\n")
}

fn opening() -> String {
    chunk(r#"{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}"#, "")
}

fn piece() -> String {
    chunk(&format!(r#"{{"index":0,"delta":{{"content":"{PIECE}"}},"finish_reason":null}}"#), "")
}

fn closing(tells_usage: bool) -> Vec<String> {
    let mut events = vec![chunk(r#"{"index":0,"delta":{},"finish_reason":"stop"}"#, "")];
    if tells_usage {
        events.push(chunk("", &format!(",{USAGE}")));
    }
    events.push("data: [DONE]\n\n".to_owned());
    events
}
