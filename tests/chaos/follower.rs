//! Followers of runs, over SSE and over gRPC: each comes back after the last frame that it has when
//! its stream ends, to another replica when its own is gone, and writes down all that it is told.
//! Judges nothing; `streams.rs` does.

use std::time::Duration;

use reqwest::Method;
use runplane::proto::runplane::v1::run_event::Data;
use runplane::proto::runplane::v1::runs_service_client::RunsServiceClient;
use runplane::proto::runplane::v1::{ListRunEventsRequest, RunEvent};
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::timeout;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Streaming};

use super::doors::{Doors, pass};
use super::history::{Frame, Heard, Text, is_end};
use crate::harness::rest::{Frame as Sse, Frames};

/// Longest silence of a stream: the server says something every 15 s over SSE. What a follower over
/// gRPC does on its own account is the same.
const SILENCE: Duration = Duration::from_secs(25);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(200);

/// How to follow.
#[derive(Clone)]
pub struct Follow {
    /// Where.
    pub doors: Doors,
    /// The replica to begin with.
    pub place: usize,
    /// Over gRPC instead of SSE.
    pub grpc: bool,
    /// Stays with a replica that does not answer, until it has been silent for too long; else
    /// leaves as soon as it is known to be gone.
    pub patient: bool,
    /// True when nobody waits any more.
    pub give_up: watch::Receiver<bool>,
    /// Counts frames.
    pub frames: std::sync::Arc<watch::Sender<u64>>,
    /// The time.
    pub clock: runplane::kernel::Clock,
}

/// How a stream ended.
enum End {
    /// In order: the run has ended, or the replica stops.
    Closed,
    /// Otherwise.
    Broken,
    /// It has never begun: there is no such run.
    Unknown,
}

/// Follows a run to its end, or until nobody waits any more.
pub async fn follow(how: Follow, run_id: String) -> Heard {
    let door = if how.grpc { "grpc" } else { "sse" };
    let heard = Heard { run_id, door, ..Heard::default() };
    let mut follower = Follower { place: how.place, how, heard };
    let mut give_up = follower.how.give_up.clone();
    tokio::select! {
        () = follower.run() => {}
        _ = give_up.wait_for(|over| *over) => {}
    }
    follower.heard
}

struct Follower {
    how: Follow,
    heard: Heard,
    place: usize,
}

impl Follower {
    async fn run(&mut self) {
        let mut unknown = 0;
        loop {
            let (place, url) = self.how.doors.pick(self.place).await;
            let doors = self.how.doors.clone();
            let patient = self.how.patient;
            let gone = async {
                if patient {
                    std::future::pending::<()>().await;
                }
                doors.gone(place, &url).await;
            };
            let end = tokio::select! {
                end = self.stream(&url) => end,
                () = gone => End::Broken,
            };
            match end {
                End::Closed if self.is_over() => {
                    self.heard.ended = true;
                    return;
                }
                End::Unknown if unknown == 3 => {
                    self.heard.complaints.push("the run is not known any more".to_owned());
                    return;
                }
                End::Unknown => unknown += 1,
                End::Closed | End::Broken => {}
            }
            // A log that is over has nothing more to tell, however its stream ended.
            if self.is_over() {
                self.heard.ended = true;
                return;
            }
            self.place = place + 1;
            pass(PAUSE).await;
        }
    }

    async fn stream(&mut self, url: &str) -> End {
        if self.how.grpc { self.grpc(url).await } else { self.sse(url).await }
    }

    async fn sse(&mut self, url: &str) -> End {
        let path = format!("/v1/runs/{}/events", self.heard.run_id);
        let request = crate::harness::process::Api {
            url: url.to_owned(),
            key: self.how.doors.key().to_owned(),
            http: self.how.doors.http(),
        }
        .request(Method::GET, &path)
        .header("accept", "text/event-stream")
        .header("last-event-id", self.last_id());
        let Ok(Ok(mut response)) = timeout(SILENCE, request.send()).await else {
            return End::Broken;
        };
        match response.status().as_u16() {
            200 => {}
            404 => return End::Unknown,
            _ => return End::Broken,
        }
        self.heard.connected_us.push(self.how.clock.now().0);
        let mut parsed = Frames::default();
        loop {
            let Ok(Ok(chunk)) = timeout(SILENCE, response.chunk()).await else {
                return End::Broken;
            };
            let Some(chunk) = chunk else { return End::Closed };
            parsed.push(&chunk);
            while let Some(frame) = parsed.next() {
                if frame.event == "stream-error" {
                    return End::Broken;
                }
                self.take_sse(frame);
            }
        }
    }

    fn take_sse(&mut self, Sse { id, event, data }: Sse) {
        let value: Value = serde_json::from_str(&data).unwrap_or_default();
        let word = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
        let text = match event.as_str() {
            "token" => Text::Piece {
                step_id: word("step_id"),
                offset: value["offset"].as_u64().map_or(0, |n| usize::try_from(n).unwrap_or(0)),
                delta: word("delta"),
            },
            "step" => Text::Whole { step_id: word("id"), content: word("content") },
            "run.resumed" => {
                Text::Void { step_id: value["discarded_step_id"].as_str().map(str::to_owned) }
            }
            _ => Text::None,
        };
        self.take(&id, event, (text, word("role")), data);
    }

    async fn grpc(&mut self, url: &str) -> End {
        let mut stream = match self.watch(url).await {
            Ok(stream) => stream,
            Err(Code::NotFound) => return End::Unknown,
            Err(_) => return End::Broken,
        };
        self.heard.connected_us.push(self.how.clock.now().0);
        loop {
            match timeout(SILENCE, stream.message()).await {
                Ok(Ok(Some(event))) => self.take_grpc(event),
                Ok(Ok(None)) => return End::Closed,
                Ok(Err(_)) | Err(_) => return End::Broken,
            }
        }
    }

    async fn watch(&self, url: &str) -> Result<Streaming<RunEvent>, Code> {
        let endpoint = Endpoint::from_shared(url.to_owned()).expect("a URL");
        let channel: Channel = timeout(SILENCE, endpoint.connect())
            .await
            .map_err(|_| Code::Unavailable)?
            .map_err(|_| Code::Unavailable)?;
        let (run_id, after) = (self.heard.run_id.clone(), self.last_id());
        let message = ListRunEventsRequest { run_id, after, ..Default::default() };
        let mut request = Request::new(message);
        let bearer = format!("Bearer {}", self.how.doors.key()).parse().expect("a header");
        request.metadata_mut().insert("authorization", bearer);
        let mut client = RunsServiceClient::new(channel);
        let answer = timeout(SILENCE, client.watch_run(request)).await;
        let answer = answer.map_err(|_| Code::Unavailable)?;
        answer.map(tonic::Response::into_inner).map_err(|status| status.code())
    }

    fn take_grpc(&mut self, event: RunEvent) {
        let mut role = String::new();
        let text = match event.data {
            Some(Data::Token(token)) => Text::Piece {
                step_id: token.step_id,
                offset: usize::try_from(token.offset).unwrap_or(0),
                delta: token.delta,
            },
            Some(Data::Step(step)) => {
                role = step.role;
                Text::Whole { step_id: step.id, content: step.content }
            }
            Some(Data::RunResumed(change)) => Text::Void { step_id: change.discarded_step_id },
            _ => Text::None,
        };
        self.take(&event.id, event.r#type, (text, role), String::new());
    }

    fn take(&mut self, id: &str, kind: String, (text, role): (Text, String), data: String) {
        if self.is_over() {
            self.heard.complaints.push(format!("{kind} {id} after the end"));
            return;
        }
        let (seq, n) = id.split_once('.').unwrap_or((id, "0"));
        let (Ok(seq), Ok(n)) = (seq.parse(), n.parse()) else {
            self.heard.complaints.push(format!("{kind} with the id {id:?}"));
            return;
        };
        let (connection, at_us) = (self.heard.connected_us.len(), self.how.clock.now().0);
        let data = if n == 0 { data } else { String::new() };
        self.heard.frames.push(Frame { seq, n, kind, text, role, connection, at_us, data });
        self.how.frames.send_modify(|n| *n += 1);
    }

    /// The last frame, as it is asked for.
    fn last_id(&self) -> String {
        match self.heard.frames.last() {
            None => String::new(),
            Some(Frame { seq, n: 0, .. }) => seq.to_string(),
            Some(Frame { seq, n, .. }) => format!("{seq}.{n}"),
        }
    }

    fn is_over(&self) -> bool {
        self.heard.frames.last().is_some_and(|frame| is_end(&frame.kind))
    }
}
