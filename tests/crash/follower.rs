//! A client that follows a run over server-sent events and comes back with `Last-Event-ID` whenever
//! the connection breaks, as a browser does. Checks on the way what every such client relies on.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use reqwest::Method;
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::harness::process::Api;
use crate::harness::rest::{Frame, Frames};

/// Longest silence of a stream; the server says something every 15 s.
const SILENCE: Duration = Duration::from_secs(20);

/// What a follower has seen.
#[derive(Debug, Default)]
pub struct Seen {
    /// Id of the run.
    pub run_id: String,
    /// Durable events, each once, in order.
    pub events: Vec<Frame>,
    /// Messages whose text came live from the first to the last letter.
    pub live: usize,
    /// How many connections it took.
    pub connections: usize,
    last_id: String,
    /// Live text of messages that are not committed.
    texts: HashMap<String, String>,
    /// Of these, the ones that a connection broke in.
    torn: HashSet<String>,
}

/// A follower under way.
pub struct Follower {
    /// Id of the run.
    pub run_id: String,
    task: JoinHandle<Seen>,
}

impl Follower {
    /// Follows a run to its end, wherever the server is then. Counts every frame in `frames`.
    pub fn start(
        api: &Api,
        run_id: &str,
        url: watch::Receiver<Option<String>>,
        frames: Arc<watch::Sender<u64>>,
    ) -> Self {
        let seen = Seen { run_id: run_id.to_owned(), ..Seen::default() };
        let task = tokio::spawn(follow(api.clone(), seen, url, frames));
        Self { run_id: run_id.to_owned(), task }
    }

    /// True when the run has ended.
    pub fn is_done(&self) -> bool {
        self.task.is_finished()
    }

    /// What it has seen, when the run has ended.
    pub async fn end(self) -> Seen {
        let ended = timeout(Duration::from_secs(60), self.task).await;
        let ended = ended.unwrap_or_else(|_| panic!("{} does not end", self.run_id));
        ended.expect("the follower is content")
    }
}

async fn follow(
    api: Api,
    mut seen: Seen,
    mut url: watch::Receiver<Option<String>>,
    frames: Arc<watch::Sender<u64>>,
) -> Seen {
    let mut tried = None;
    while !seen.is_over() {
        // A broken connection means that the server is gone: the next one has another port.
        let next = url.wait_for(|url| url.is_some() && *url != tried).await;
        tried = next.expect("the test goes on").clone();
        let api = api.at(tried.as_deref().expect("a URL"));
        let request = api
            .request(Method::GET, &format!("/v1/runs/{}/events", seen.run_id))
            .header("accept", "text/event-stream")
            .header("last-event-id", &seen.last_id);
        let Ok(mut response) = request.send().await else { continue };
        assert_eq!(response.status(), 200, "{:?}", response.text().await);
        seen.connections += 1;
        let mut parsed = Frames::default();
        loop {
            let chunk = timeout(SILENCE, response.chunk()).await.expect("a ping at least");
            let Ok(Some(chunk)) = chunk else { break };
            parsed.push(&chunk);
            while let Some(frame) = parsed.next() {
                seen.take(frame);
                frames.send_modify(|n| *n += 1);
            }
        }
        seen.torn = seen.texts.keys().cloned().collect();
    }
    seen
}

impl Seen {
    /// The value of an event's data.
    pub fn data(&self, place: usize) -> Value {
        serde_json::from_str(&self.events[place].data).expect("JSON")
    }

    fn is_over(&self) -> bool {
        let last = self.events.last().map_or("", |event| event.event.as_str());
        ["completed", "failed", "cancelled", "incomplete", "expired"]
            .iter()
            .any(|end| last.strip_prefix("run.") == Some(end))
    }

    fn take(&mut self, frame: Frame) {
        assert_ne!(frame.event, "stream-error", "{frame:?}");
        assert!(!self.is_over(), "after the end: {frame:?}");
        let data: Value = serde_json::from_str(&frame.data).expect("JSON");
        self.last_id.clone_from(&frame.id);
        if frame.event == "token" {
            return self.token(&frame.id, &data);
        }
        let expected = self.events.len() + 1;
        assert_eq!(frame.id, expected.to_string(), "{frame:?} after {:?}", self.events.last());
        match frame.event.as_str() {
            "step" if data["role"] == "assistant" => self.step(&data),
            "run.resumed" => self.resumed(&data),
            _ => {}
        }
        self.events.push(frame);
    }

    fn token(&mut self, id: &str, data: &Value) {
        let (seq, n) = id.split_once('.').expect("seq.n");
        assert_eq!(seq, self.events.len().to_string(), "a token of another place");
        assert!(n.parse::<u64>().is_ok_and(|n| n > 0), "{id}");
        let step_id = data["step_id"].as_str().expect("a step");
        let text = self.texts.entry(step_id.to_owned()).or_default();
        assert_eq!(data["offset"], text.len(), "{id} leaves a gap or repeats: {text:?}");
        text.push_str(data["delta"].as_str().expect("a text"));
    }

    /// A message is committed: its live text was a part of it, and all of it unless the connection
    /// broke meanwhile.
    fn step(&mut self, data: &Value) {
        let (id, content) = (data["id"].as_str().expect("an id"), data["content"].as_str());
        let content = content.expect("a text");
        if let Some(text) = self.texts.remove(id) {
            if self.torn.remove(id) {
                assert!(content.starts_with(&text), "{text:?} is no start of {content:?}");
            } else {
                assert_eq!(text, content, "live text of {id}");
                self.live += 1;
            }
        }
        assert!(self.texts.is_empty(), "live text without a message: {:?}", self.texts);
    }

    /// Another attempt goes on: the text of the one that broke off is void, and it says which.
    fn resumed(&mut self, data: &Value) {
        for (id, text) in self.texts.drain() {
            assert_eq!(data["discarded_step_id"], *id, "{text:?} is void, but is not said to be");
        }
        self.torn.clear();
    }
}
