//! A handler of HTTP tools that remembers every request: its key, its attempt, when it came and
//! ended, and whether the answer was sent or the caller hung up. It outlives the server that calls
//! it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, Response, Uri};
use futures::stream::{self, StreamExt};
use runplane::kernel::Clock;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// A request that came.
#[derive(Debug, Clone)]
pub struct Sent {
    /// `Idempotency-Key`.
    pub key: String,
    /// Id of the call.
    pub call_id: String,
    /// Id of the run.
    pub run_id: String,
    /// Name of the tool, as its path says.
    pub tool: String,
    /// Number of the claim that sent it.
    pub attempt: i64,
    /// `traceparent`, the span that sent it.
    pub traceparent: String,
    /// When it came, in microseconds since 1970.
    pub begun_us: i64,
    /// When it ended.
    pub ended_us: Option<i64>,
    /// Where its connection comes from.
    pub port: u16,
    /// How it ended.
    pub end: End,
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It has not.
    Open,
    /// The whole answer was handed to the connection.
    Answered,
    /// The caller hung up first.
    Dropped,
}

/// A running handler.
pub struct Tools {
    url: String,
    seen: Arc<Seen>,
    server: JoinHandle<()>,
}

struct Seen {
    clock: Clock,
    sent: Mutex<Vec<Sent>>,
    /// Changes with every request and every end of one.
    changed: watch::Sender<u64>,
    /// While false, `/held` does not answer.
    open: watch::Sender<bool>,
}

/// Notes how a request ends, also when nobody waits for it any more.
struct Note {
    seen: Arc<Seen>,
    place: usize,
    end: End,
}

impl Tools {
    /// Starts one. `/held` waits for [`Tools::release`]; every other path answers `{"n": 2 n}`
    /// after `pause_ms`.
    pub async fn start() -> Self {
        let seen = Arc::new(Seen {
            clock: Clock::system(),
            sent: Mutex::default(),
            changed: watch::Sender::new(0),
            open: watch::Sender::new(false),
        });
        let app = Router::new().fallback(answer).with_state(Arc::clone(&seen));
        let app = app.into_make_service_with_connect_info::<SocketAddr>();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let server = tokio::spawn(async move {
            axum::serve(listener, app).await.expect("the handler serves");
        });
        Self { url, seen, server }
    }

    /// A tool of an agent, served at the path of its name.
    pub fn tool(&self, name: &str) -> Value {
        json!({"name": name, "http": {"url": format!("{}/{name}", self.url), "max_retries": 0}})
    }

    /// Every request so far, oldest first.
    pub fn sent(&self) -> Vec<Sent> {
        self.seen.sent.lock().expect("sent").clone()
    }

    /// Lets `/held` answer.
    pub fn release(&self) {
        self.seen.open.send_replace(true);
    }

    /// Waits until the requests are as they should be.
    pub async fn until(&self, right: impl Fn(&[Sent]) -> bool) {
        let done = self.comes(right, Duration::from_secs(30)).await;
        assert!(done, "the tool server waits in vain; it has seen {:?}", self.sent());
    }

    /// True when the requests are so within this time.
    pub async fn comes(&self, right: impl Fn(&[Sent]) -> bool, time: Duration) -> bool {
        let mut changed = self.seen.changed.subscribe();
        let waiting = changed.wait_for(|_| right(&self.sent()));
        timeout(time, waiting).await.is_ok()
    }
}

impl Drop for Tools {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Drop for Note {
    fn drop(&mut self) {
        let mut sent = self.seen.sent.lock().expect("sent");
        sent[self.place].end = self.end;
        sent[self.place].ended_us = Some(self.seen.clock.now().0);
        drop(sent);
        self.seen.changed.send_modify(|n| *n += 1);
    }
}

async fn answer(
    State(seen): State<Arc<Seen>>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let note = note(&seen, &headers, (uri.path(), from.port()));
    let arguments: Value = serde_json::from_slice(&body).unwrap_or_default();
    if uri.path() == "/held" {
        let mut open = seen.open.subscribe();
        let _ = open.wait_for(|open| *open).await;
    }
    let pause = Duration::from_millis(arguments["pause_ms"].as_u64().unwrap_or(0));
    // The tool works for so long.
    let _ = timeout(pause, std::future::pending::<()>()).await;
    let n = arguments["n"].as_i64().unwrap_or(0);
    let text = Bytes::from(json!({"n": 2 * n}).to_string());
    let last = stream::once(async move {
        let mut note = note;
        note.end = End::Answered;
        Ok::<_, std::convert::Infallible>(Bytes::new())
    });
    let body = Body::from_stream(stream::iter([Ok(text)]).chain(last));
    Response::builder().header("content-type", "application/json").body(body).expect("a response")
}

fn note(seen: &Arc<Seen>, headers: &HeaderMap, (path, port): (&str, u16)) -> Note {
    let header = |name: &str| {
        let value = headers.get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    let attempt = header("x-agent-attempt").parse().expect("the number of the attempt");
    let sent = Sent {
        key: header("idempotency-key"),
        call_id: header("webhook-id"),
        run_id: header("x-runplane-run"),
        tool: path.trim_start_matches('/').to_owned(),
        attempt,
        traceparent: header("traceparent"),
        begun_us: seen.clock.now().0,
        ended_us: None,
        port,
        end: End::Open,
    };
    let mut all = seen.sent.lock().expect("sent");
    all.push(sent);
    let place = all.len() - 1;
    drop(all);
    seen.changed.send_modify(|n| *n += 1);
    Note { seen: Arc::clone(seen), place, end: End::Dropped }
}
