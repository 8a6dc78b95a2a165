//! A handler of HTTP tools on a loopback port: a test says what each path answers and reads what
//! was called.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Response, Uri};
use futures::stream::{self, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// What a call is answered.
#[derive(Clone)]
pub enum Reply {
    /// 200 with JSON.
    Json(Value),
    /// A status with a content type, `Retry-After` and a body.
    Raw(u16, &'static str, Option<&'static str>, String),
    /// The connection breaks within the answer.
    Reset,
    /// No answer, for ever.
    Silence,
    /// No answer before `go` is told, then 200 with JSON.
    Wait(Arc<Notify>, Value),
}

/// A call that the handler got.
#[derive(Debug, Clone)]
pub struct Called {
    /// Headers.
    pub headers: HeaderMap,
    /// Body as it came.
    pub body: Bytes,
}

impl Called {
    /// The value of a header.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

/// A running handler.
pub struct ToolServer {
    /// Where it is, without a path.
    pub url: String,
    state: Arc<Handler>,
    server: JoinHandle<()>,
}

struct Handler {
    replies: Mutex<HashMap<String, VecDeque<Reply>>>,
    called: Mutex<Vec<Called>>,
    arrived: Notify,
}

impl ToolServer {
    /// Starts one. A path's last reply is repeated; an unknown path answers `{"echo": arguments}`.
    pub async fn start(replies: Vec<(&str, Vec<Reply>)>) -> Self {
        let replies = replies.into_iter().map(|(path, r)| (path.to_owned(), r.into())).collect();
        let state = Arc::new(Handler {
            replies: Mutex::new(replies),
            called: Mutex::default(),
            arrived: Notify::new(),
        });
        let app = Router::new().fallback(answer).with_state(Arc::clone(&state));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let server = tokio::spawn(async move {
            axum::serve(listener, app).await.expect("the handler serves");
        });
        Self { url: format!("http://127.0.0.1:{port}"), state, server }
    }

    /// A tool that is served at this path.
    pub fn tool(&self, name: &str, path: &str) -> Value {
        json!({"name": name, "handler": {
            "kind": "http", "url": format!("{}{path}", self.url),
            "timeout_seconds": 30, "max_retries": 2
        }})
    }

    /// What it was called with, oldest first.
    pub fn called(&self) -> Vec<Called> {
        self.state.called.lock().expect("called").clone()
    }

    /// Waits until so many calls have come.
    pub async fn arrivals(&self, count: usize) {
        loop {
            let arrived = self.state.arrived.notified();
            if self.called().len() >= count {
                return;
            }
            arrived.await;
        }
    }
}

impl Drop for ToolServer {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn answer(
    State(state): State<Arc<Handler>>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let path = uri.path().to_owned();
    let called = Called { headers, body: body.clone() };
    state.called.lock().expect("called").push(called);
    state.arrived.notify_waiters();
    let reply = {
        let mut replies = state.replies.lock().expect("replies");
        match replies.get_mut(&path) {
            Some(queue) if queue.len() > 1 => queue.pop_front(),
            Some(queue) => queue.front().cloned(),
            None => None,
        }
    };
    match reply {
        None => {
            let arguments: Value = serde_json::from_slice(&body).unwrap_or_default();
            raw(200, "application/json", None, Body::from(json!({"echo": arguments}).to_string()))
        }
        Some(Reply::Json(value)) => raw(200, "application/json", None, value.to_string().into()),
        Some(Reply::Raw(status, kind, after, body)) => raw(status, kind, after, body.into()),
        Some(Reply::Reset) => {
            let half = stream::iter([Ok("{\"half\":")]);
            let reset = stream::iter([Err(std::io::Error::other("reset"))]);
            raw(200, "application/json", None, Body::from_stream(half.chain(reset)))
        }
        Some(Reply::Silence) => std::future::pending().await,
        Some(Reply::Wait(go, value)) => {
            go.notified().await;
            raw(200, "application/json", None, value.to_string().into())
        }
    }
}

fn raw(status: u16, kind: &str, retry_after: Option<&str>, body: Body) -> Response<Body> {
    let mut response = Response::builder().status(status).header("content-type", kind);
    if let Some(seconds) = retry_after {
        response = response.header("retry-after", seconds);
    }
    response.body(body).expect("a response")
}
