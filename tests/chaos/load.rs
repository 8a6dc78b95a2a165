//! Callers of a cluster: each starts a run with an idempotency key, again and again until it is
//! acknowledged, follows it to its end, and starts the next. Made by the scenarios; what it has
//! seen becomes a history.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::cluster::Cluster;
use super::doors::{Doors, pass};
use super::follower::{Follow, follow};
use super::history::{Acknowledged, Call, Heard, History};
use super::rows;
use crate::harness::tools::Tools;

/// What [`Load::grace`] is unless a scenario changes it.
const GRACE: Duration = Duration::from_secs(60);
/// Longest wait for one answer.
const ANSWER: Duration = Duration::from_secs(15);
/// Between two tries of one call.
const PAUSE: Duration = Duration::from_millis(250);
/// The tool that may be sent once only.
const ONCE: &str = "once";

/// Callers under way.
pub struct Load {
    /// Frames that any follower has seen.
    pub frames: Arc<watch::Sender<u64>>,
    /// Longest time that what is under way may take after the last fault.
    pub grace: Duration,
    callers: JoinSet<()>,
    stop: watch::Sender<bool>,
    give_up: watch::Sender<bool>,
    seen: Arc<Mutex<Seen>>,
}

/// What callers saw.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// Runs whose creation was answered.
    pub acknowledged: Vec<Acknowledged>,
    /// What followers saw.
    pub heard: Vec<Heard>,
    /// Answers by status; 0: none.
    pub answers: HashMap<u16, usize>,
    /// Answers that no caller should get: not a success, not 503 with `Retry-After`.
    pub odd: Vec<String>,
    /// How long each answer took, with the moment it came, in microseconds.
    pub took: Vec<(i64, Duration)>,
}

/// One caller.
#[derive(Clone)]
struct Caller {
    name: String,
    agent_id: String,
    /// How many replicas further it follows than it asks.
    away: usize,
    follow: Follow,
    seen: Arc<Mutex<Seen>>,
}

/// An agent whose runs ask three tools, two of them at once, and one that may be asked once only.
/// The input says how long each takes.
pub fn agent(tools: &Tools) -> Value {
    let call = |name: &str, pause: &str| {
        let arguments = json!({"n": "{{ input.n }}", "pause_ms": pause});
        json!({"name": name, "arguments": arguments})
    };
    let mut once = tools.tool(ONCE);
    once["http"]["delivery"] = json!("at_most_once");
    json!({
        "name": "doubler", "model": "sim", "instructions": "Double what you are given.",
        "tools": [tools.tool("one"), tools.tool("left"), tools.tool("right"), once],
        "sim": {"tokens_per_second": 20, "turns": [
            {"text": "First I ask one, which takes its time.",
             "tool_calls": [call("one", "{{ input.long }}")]},
            {"text": "Now left and right at once, as neither needs the other.",
             "tool_calls": [call("left", "{{ input.short }}"), call("right", "{{ input.long }}")]},
            {"text": "And one that may be asked once only.",
             "tool_calls": [call(ONCE, "{{ input.short }}")]},
            {"text": "{{ input.n }} becomes {{ tools.one.n }}, and that is all there is to say."}
        ]}
    })
}

/// What a run is given, and what it says at its end.
fn task(n: usize) -> (Value, String) {
    let (long, short) = (300 + 100 * (n % 13), 50 + 50 * (n % 7));
    let result = format!("{n} becomes {}, and that is all there is to say.", 2 * n);
    (json!({"n": n, "long": long, "short": short}), result)
}

impl Load {
    /// So many callers at once, half of which follow their runs at another replica than the one
    /// that they asked.
    pub async fn start(cluster: &Cluster, callers: usize) -> Self {
        Self::start_with(cluster, callers, |n| n % 2).await
    }

    /// The same; says how many replicas further each follows its runs.
    pub async fn start_with(
        cluster: &Cluster,
        callers: usize,
        away: impl Fn(usize) -> usize,
    ) -> Self {
        let agent_id = cluster.doors.at(0).await.agent(&agent(&cluster.tools)).await;
        let mut load = Self::none();
        for n in 0..callers {
            let follow = Follow { patient: n % 4 == 1, ..load.follow(cluster, n) };
            let caller = Caller {
                name: format!("caller-{n}"),
                agent_id: agent_id.clone(),
                away: away(n),
                follow,
                seen: Arc::clone(&load.seen),
            };
            load.add(caller);
        }
        load
    }

    /// Nobody calls yet.
    pub fn none() -> Self {
        Self {
            frames: Arc::new(watch::Sender::new(0)),
            grace: GRACE,
            callers: JoinSet::new(),
            stop: watch::Sender::new(false),
            give_up: watch::Sender::new(false),
            seen: Arc::default(),
        }
    }

    /// How the n-th follower follows: one in three over gRPC.
    pub fn follow(&self, cluster: &Cluster, n: usize) -> Follow {
        Follow {
            doors: cluster.doors.clone(),
            place: n,
            grpc: n % 3 == 2,
            patient: false,
            give_up: self.give_up.subscribe(),
            frames: Arc::clone(&self.frames),
            clock: cluster.clock.clone(),
        }
    }

    fn add(&mut self, caller: Caller) {
        let stop = self.stop.subscribe();
        self.callers.spawn(async move {
            for round in 0.. {
                if *stop.borrow() {
                    return;
                }
                caller.run_one(round).await;
            }
        });
    }

    /// Follows a run that was acknowledged otherwise.
    pub fn add_follower(&mut self, how: Follow, run_id: &str) {
        let (seen, run_id) = (Arc::clone(&self.seen), run_id.to_owned());
        self.callers.spawn(async move {
            let heard = follow(how, run_id).await;
            seen.lock().expect("seen").heard.push(heard);
        });
    }

    /// Notes a run that was acknowledged otherwise.
    pub fn acknowledge(&self, acknowledged: Acknowledged) {
        self.seen.lock().expect("seen").acknowledged.push(acknowledged);
    }

    /// Waits until followers have seen some more frames: the cluster gets on.
    pub async fn gets_on(&self, frames: u64) -> bool {
        let mut seen = self.frames.subscribe();
        let now = *seen.borrow_and_update();
        timeout(GRACE, seen.wait_for(|n| *n >= now + frames)).await.is_ok()
    }

    /// What was seen so far.
    pub fn seen(&self) -> Seen {
        self.seen.lock().expect("seen").clone()
    }

    /// Starts no more, lets everything end that is under way, and reads what came of it. Whatever
    /// is not over in time is not waited for.
    pub async fn end(mut self, cluster: &mut Cluster) -> (History, Seen) {
        self.stop.send_replace(true);
        let over = Instant::now() + self.grace;
        while timeout(over.saturating_duration_since(Instant::now()), self.callers.join_next())
            .await
            .ok()
            .flatten()
            .is_some()
        {}
        self.give_up.send_replace(true);
        while let Some(ended) = self.callers.join_next().await {
            ended.expect("no panic");
        }
        let (seen, store) = (self.seen(), cluster.database().await);
        let mut history = History {
            acknowledged: seen.acknowledged.clone(),
            heard: seen.heard.clone(),
            faults: cluster.faults.clone(),
            leased: cluster.leased(),
            calls: calls(&cluster.tools),
            at_most_once: vec![ONCE.to_owned()],
            whole_text: true,
            ..History::default()
        };
        rows::read(&store, &mut history).await;
        (history, seen)
    }
}

/// What the tool server saw.
pub fn calls(tools: &Tools) -> Vec<Call> {
    let sent = tools.sent().into_iter();
    sent.map(|sent| Call {
        key: sent.key,
        run_id: sent.run_id,
        tool: sent.tool,
        attempt: sent.attempt,
        begun_us: sent.begun_us,
        ended_us: sent.ended_us,
    })
    .collect()
}

impl Seen {
    /// Notes the answer to a creation; the run, if it says one.
    fn answer(
        &mut self,
        (status, retry): (u16, bool),
        text: &str,
        took: (i64, Duration),
    ) -> Option<String> {
        *self.answers.entry(status).or_default() += 1;
        self.took.push(took);
        let run: Value = serde_json::from_str(text).unwrap_or_default();
        if status == 202 {
            // Or the head came, and then the replica went.
            return run["id"].as_str().map(str::to_owned);
        }
        if status != 503 || !retry {
            self.odd.push(format!("{status}: {text}"));
        }
        None
    }
}

impl Caller {
    /// Starts a run and follows it to its end.
    async fn run_one(&self, round: usize) {
        let (key, n) = (format!("{}-{round}", self.name), self.follow.place * 1000 + round);
        let (input, result) = task(n);
        let labels = json!({rows::LABEL: key});
        let body = json!({"agent_id": self.agent_id, "input": input, "metadata": labels});
        let asking = create(&self.follow.doors, n, (&key, &body), &self.seen);
        let mut give_up = self.follow.give_up.clone();
        let run_id = tokio::select! {
            run_id = asking => run_id,
            _ = give_up.wait_for(|over| *over) => return,
        };
        let acknowledged = Acknowledged { run_id: run_id.clone(), key, result };
        self.seen.lock().expect("seen").acknowledged.push(acknowledged);
        let how = Follow { place: n + self.away, ..self.follow.clone() };
        let heard = follow(how, run_id).await;
        self.seen.lock().expect("seen").heard.push(heard);
    }
}

/// Asks for a run until it is acknowledged, with one key, at one replica after the other.
pub async fn create(
    doors: &Doors,
    first: usize,
    (key, body): (&str, &Value),
    seen: &Mutex<Seen>,
) -> String {
    let clock = runplane::kernel::Clock::system();
    for place in first.. {
        let request = doors.request(place, Method::POST, "/v1/runs").await;
        let request = request.json(body).header("idempotency-key", key).timeout(ANSWER);
        let (begun, answer) = (Instant::now(), request.send().await);
        let Ok(answer) = answer else {
            *seen.lock().expect("seen").answers.entry(0).or_default() += 1;
            pass(PAUSE).await;
            continue;
        };
        let (status, retry) =
            (answer.status().as_u16(), answer.headers().contains_key("retry-after"));
        let text = answer.text().await.unwrap_or_default();
        let took = (clock.now().0, begun.elapsed());
        let run_id = seen.lock().expect("seen").answer((status, retry), &text, took);
        if let Some(run_id) = run_id {
            return run_id;
        }
        pass(PAUSE).await;
    }
    String::new()
}
