//! What a follower is told, over any door, and what must hold of it: durable events in order and
//! each once, live text of each message without a gap.

use std::collections::HashMap;

use reqwest::Method;
use runplane::kernel::{Clock, Timestamp};
use serde_json::{Value, json};

use crate::harness::doors::{Client, Door, Event, Follow};
use crate::harness::process::Api;

/// A stream of events of one run.
pub enum Stream {
    /// Over one of the doors.
    Door(Box<Follow>),
    /// As lines of JSON.
    Lines(Box<reqwest::Response>, Vec<u8>),
}

/// What came.
#[derive(Debug, Default)]
pub struct Told {
    /// Number of the last durable event.
    pub seq: i64,
    /// Id of the last event.
    pub last_id: String,
    /// Messages whose text came live, from the first letter to the last.
    pub whole: usize,
    /// Messages of which text came live, but not all.
    pub torn: usize,
    /// Microseconds that each piece of text took, where that was told.
    pub lags_us: Vec<i64>,
    kinds: Vec<String>,
    texts: HashMap<String, String>,
}

impl Stream {
    /// The run's events after a position; empty: all.
    pub async fn open(api: &Api, door: Door, run_id: &str, after: &str) -> Self {
        let client = Client::new(door, &api.url, Some(&api.key));
        let mut request = json!({ "run_id": run_id });
        if !after.is_empty() {
            request["after"] = json!(after);
        }
        let follow = client.follow("RunsService/WatchRun", request).await;
        Self::Door(Box::new(follow.expect("a stream")))
    }

    /// The same, as lines of JSON.
    pub async fn lines(api: &Api, run_id: &str) -> Self {
        let request = api.request(Method::GET, &format!("/v1/runs/{run_id}/events"));
        let response = request.header("accept", "application/x-ndjson").send().await;
        let response = response.expect("an answer");
        assert_eq!(response.headers()["content-type"], "application/x-ndjson");
        Self::Lines(Box::new(response), Vec::new())
    }

    /// The next event, with the moment it was made where that is told; `None` at the end.
    pub async fn next(&mut self) -> Option<(Event, Option<Timestamp>)> {
        match self {
            Self::Door(follow) => Some((follow.next().await?.expect("no failure"), None)),
            Self::Lines(response, buffer) => loop {
                if let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
                    let line: Vec<u8> = buffer.drain(..=end).collect();
                    return Some(of_line(&serde_json::from_slice(&line).expect("JSON")));
                }
                buffer.extend_from_slice(&response.chunk().await.expect("it ends well")?);
            },
        }
    }
}

fn of_line(line: &Value) -> (Event, Option<Timestamp>) {
    let event = &line["result"];
    let text = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
    let member = text("type").replace('.', "_");
    let at = serde_json::from_value(event["created_at"].clone()).ok();
    (Event { id: text("id"), kind: text("type"), data: event[member].clone() }, at)
}

impl Told {
    /// Of a follower that has come to this durable event.
    pub fn after(seq: i64) -> Self {
        Self { seq, ..Self::default() }
    }

    /// How many events of this kind came.
    pub fn count(&self, kind: &str) -> usize {
        self.kinds.iter().filter(|known| *known == kind).count()
    }

    /// Kinds of the durable events.
    pub fn durable(&self) -> Vec<&str> {
        self.kinds.iter().map(String::as_str).filter(|kind| *kind != "token").collect()
    }

    /// The text that has come of messages which are not committed.
    pub fn live_text(&self) -> String {
        self.texts.values().map(String::as_str).collect()
    }

    /// Takes an event, and checks that it may come here.
    pub fn take(&mut self, (event, at): (Event, Option<Timestamp>)) {
        let Event { id, kind, data } = &event;
        self.last_id.clone_from(id);
        self.kinds.push(kind.clone());
        if kind == "token" {
            let late = at.map(|at| Clock::system().now().0 - at.0);
            self.lags_us.extend(late);
            let (seq, _) = id.split_once('.').expect("seq.n");
            assert_eq!(seq, self.seq.to_string(), "a token of another place: {event:?}");
            let step_id = data["step_id"].as_str().expect("a step");
            let text = self.texts.entry(step_id.to_owned()).or_default();
            let offset = data["offset"].as_u64().unwrap_or_default();
            assert_eq!(offset, text.len() as u64, "{id} leaves a gap or repeats: {text:?}");
            text.push_str(data["delta"].as_str().expect("a text"));
            return;
        }
        self.seq += 1;
        assert_eq!(*id, self.seq.to_string(), "durable events in order, each once");
        match kind.as_str() {
            "step" if data["role"] == "assistant" => self.step(data),
            "run.resumed" => self.texts.clear(),
            _ => {}
        }
    }

    fn step(&mut self, data: &Value) {
        let content = data["content"].as_str().unwrap_or_default();
        let live = self.texts.remove(data["id"].as_str().expect("an id")).unwrap_or_default();
        assert!(content.starts_with(&live), "{live:?} is no beginning of {content:?}");
        assert!(self.texts.is_empty(), "text of no message: {:?}", self.texts);
        match live.len() {
            0 => {}
            most if most == content.len() => self.whole += 1,
            _ => self.torn += 1,
        }
    }
}
