//! The process ends again and again, at any point of any run, by `kill -9` or by request, and
//! starts again on the same data: nothing that was acknowledged is lost, nothing that is journaled
//! happens again.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::follower::{Follower, Seen};
use super::tools::{Sent, Tools};
use crate::harness::databases;
use crate::harness::process::{Api, Program};

/// Runs that are under way at any time.
const AT_ONCE: usize = 4;

/// Impatient, so that a dead worker's runs are taken over soon where that is a matter of time.
pub const IMPATIENT: &str = "
[engine]
heartbeat_ms = 100
lease_ms = 300
poll_ms = 100
stalls_max = 20
[auth]
pepper = 'a pepper for tests, of no worth'
";

/// How the process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// `kill -9`.
    Crash,
    /// SIGTERM.
    Request,
}

#[derive(Deserialize)]
struct Page {
    data: Vec<Box<RawValue>>,
}

/// What is under way, and what is known of it.
struct Chaos {
    program: Program,
    api: Api,
    tools: Tools,
    agent_id: String,
    followers: Vec<Follower>,
    /// Frames that any follower has seen.
    frames: Arc<watch::Sender<u64>>,
    /// Event logs as they were read before a kill.
    before: Vec<(String, Vec<Box<RawValue>>)>,
    rng: StdRng,
    ending: Ending,
    /// How long a run takes here that nobody disturbs.
    pace: Duration,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_kills_lose_nothing_and_repeat_nothing_on_sqlite() {
    Chaos::start(Program::new(IMPATIENT), Ending::Crash).await.run(20).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_lose_nothing_and_repeat_nothing_on_postgres() {
    let (store, _place) = databases::postgres_place(None).await;
    Chaos::start(Program::on(&store.url, IMPATIENT), Ending::Crash).await.run(6).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_by_request_loses_nothing_and_sends_no_call_again() {
    Chaos::start(Program::new(IMPATIENT), Ending::Request).await.run(6).await;
}

/// Three tools one after the other, then two at once, with text between them.
fn agent(tools: &Tools) -> Value {
    let call = |name: &str, n: i32, pause_ms: u32| {
        let arguments = json!({"n": n, "pause_ms": pause_ms});
        json!({"name": name, "arguments": arguments})
    };
    let names = ["one", "two", "three", "left", "right"];
    let tools: Vec<Value> = names.iter().map(|name| tools.tool(name)).collect();
    json!({
        "name": "adder", "model": "sim", "instructions": "Add up what the tools say.",
        "tools": tools,
        "sim": {"tokens_per_second": 150, "turns": [
            {"text": "First I ask one, which takes a moment.",
             "tool_calls": [call("one", 1, 60)]},
            {"text": "One has said {{ result.n }}, so now I ask two.",
             "tool_calls": [call("two", 2, 60)]},
            {"text": "Two has said {{ result.n }}, so now I ask three.",
             "tool_calls": [call("three", 3, 60)]},
            {"text": "Now left and right at once, as neither needs the other.",
             "tool_calls": [call("left", 4, 40), call("right", 5, 90)]},
            {"text": "{{ input }} has {{ tools.one.n + tools.two.n + tools.three.n \
                + tools.left.n + tools.right.n }} in all."}
        ]}
    })
}

impl Chaos {
    async fn start(mut program: Program, ending: Ending) -> Self {
        let (tools, api) = (Tools::start().await, program.start().await);
        let agent_id = api.agent(&agent(&tools)).await;
        let (frames, rng) = (Arc::new(watch::Sender::new(0)), StdRng::seed_from_u64(20_261_122));
        let (followers, before) = (Vec::new(), Vec::new());
        let begun = Instant::now();
        let run_id = api.start(&agent_id, &json!("undisturbed")).await;
        assert_eq!(api.settled(&run_id).await["status"], "completed");
        let pace = begun.elapsed();
        Self { program, api, tools, agent_id, followers, frames, before, rng, ending, pace }
    }

    async fn run(mut self, ends: usize) {
        for _ in 0..ends {
            self.fill().await;
            self.wait().await;
            self.note().await;
            self.end().await;
            self.api = self.program.start().await;
        }
        let mut runs = Vec::new();
        for follower in std::mem::take(&mut self.followers) {
            runs.push(follower.end().await);
        }
        let mut sent = self.tools.sent();
        sent.retain(|sent| runs.iter().any(|seen| seen.run_id == sent.run_id));
        for seen in &runs {
            self.check(seen).await;
            check_calls(seen, &sent);
        }
        self.check_before().await;
        let resumed =
            runs.iter().flat_map(|seen| &seen.events).filter(|e| e.event == "run.resumed");
        let (resumed, live) = (resumed.count(), runs.iter().map(|seen| seen.live).sum::<usize>());
        let keys: HashSet<&str> = sent.iter().map(|sent| sent.key.as_str()).collect();
        println!(
            "{ends} ends: {} runs resumed {resumed} times, {} calls, {} sent again in flight, \
             {live} messages followed live to the letter",
            runs.len(),
            keys.len(),
            sent.len() - keys.len(),
        );
        assert!(resumed >= ends, "nothing was hit: {resumed} resumed");
        assert!(live >= runs.len(), "hardly a message was followed live");
        assert_eq!(keys.len(), 5 * runs.len());
        if self.ending == Ending::Request {
            assert_eq!(sent.len(), keys.len(), "calls in flight may end");
        }
    }

    async fn end(&mut self) {
        if self.ending == Ending::Crash {
            return self.program.kill().await;
        }
        self.program.terminate();
        let (begun, ended) = (Instant::now(), self.program.ended().await);
        assert_eq!(ended.code(), Some(0), "{}", self.program.logged);
        assert!(begun.elapsed() < Duration::from_secs(5), "it waits for the end of the drain");
    }

    /// Starts runs until enough are under way.
    async fn fill(&mut self) {
        while self.followers.iter().filter(|follower| !follower.is_done()).count() < AT_ONCE {
            let name = format!("run-{}", self.followers.len());
            let run_id = self.api.start(&self.agent_id, &json!(name)).await;
            let (url, frames) = (self.program.url.subscribe(), Arc::clone(&self.frames));
            self.followers.push(Follower::start(&self.api, &run_id, url, frames));
        }
    }

    /// Until a random moment, or a random event, but not before something has happened.
    async fn wait(&mut self) {
        let mut frames = self.frames.subscribe();
        let now = *frames.borrow_and_update();
        let some = timeout(Duration::from_secs(60), frames.wait_for(|n| *n > now)).await.is_ok();
        assert!(some, "nothing happens after a start");
        let (moment, most) = if self.rng.random_bool(0.5) {
            (self.pace.mul_f64(self.rng.random_range(0.0..1.0)), u64::MAX)
        } else {
            (Duration::from_secs(60), now + self.rng.random_range(5..=60))
        };
        let over = |followers: &[Follower]| followers.iter().all(Follower::is_done);
        let _ = timeout(moment, async {
            while *frames.borrow_and_update() < most && !over(&self.followers) {
                let _ = timeout(self.pace, frames.changed()).await;
            }
        })
        .await;
    }

    /// Reads the log of a run that is under way.
    async fn note(&mut self) {
        let live = self.followers.iter().find(|follower| !follower.is_done());
        let Some(run_id) = live.map(|follower| follower.run_id.clone()) else { return };
        let log = self.page(&run_id).await;
        self.before.push((run_id, log));
    }

    async fn page(&self, run_id: &str) -> Vec<Box<RawValue>> {
        let path = format!("/v1/runs/{run_id}/events?limit=100");
        let response = self.api.request(reqwest::Method::GET, &path).send().await;
        let text = response.expect("an answer").text().await.expect("a body");
        serde_json::from_str::<Page>(&text).expect("a page of events").data
    }

    async fn check(&self, seen: &Seen) {
        let run = self.api.settled(&seen.run_id).await;
        assert_eq!(run["status"], "completed", "{run}");
        let result = format!("{} has 30 in all.", run["input"].as_str().expect("a text"));
        assert_eq!(run["output"]["result"], result);
        let log = self.api.log(&seen.run_id).await;
        assert_eq!(run["last_seq"], log.len());
        assert_eq!(seen.events.len(), log.len(), "{}", seen.run_id);
        for (seq, (event, frame)) in (1..).zip(log.iter().zip(&seen.events)) {
            assert_eq!(event["id"], format!("{seq}"));
            assert_eq!(
                (event["type"].as_str(), &*frame.id),
                (Some(&*frame.event), &*seq.to_string())
            );
            let ends = ["run.completed", "run.failed", "run.cancelled", "run.incomplete"];
            assert_eq!(ends.contains(&&*frame.event), seq == log.len(), "{event}");
        }
        check_attempts(seen, &run);
        let usage = json!({"model_calls": 5, "tool_calls": 5});
        for (name, count) in usage.as_object().expect("an object") {
            assert_eq!(run["usage"][name], *count, "{run}");
        }
    }

    /// What was read before a kill is read again, byte by byte.
    async fn check_before(&self) {
        for (run_id, before) in &self.before {
            let after = self.page(run_id).await;
            assert!(after.len() >= before.len());
            for (before, after) in before.iter().zip(&after) {
                assert_eq!(before.get(), after.get());
            }
        }
    }
}

/// Each claim but the first says that the run was resumed.
fn check_attempts(seen: &Seen, run: &Value) {
    let starts = starts(seen);
    assert_eq!(run["attempt"], starts.len());
    for attempt in 1..=starts.len() {
        let event = &seen.events[starts[&i64::try_from(attempt).expect("small")] - 1].event;
        let expected = if attempt == 1 { "run.in_progress" } else { "run.resumed" };
        assert_eq!(event, expected, "attempt {attempt} of {}", seen.run_id);
    }
}

/// The number of the event that each attempt began with.
fn starts(seen: &Seen) -> HashMap<i64, usize> {
    let events = (0..seen.events.len()).filter(|place| {
        ["run.in_progress", "run.resumed"].contains(&seen.events[*place].event.as_str())
    });
    let start = |place| (seen.data(place)["attempt"].as_i64().expect("an attempt"), place + 1);
    events.map(start).collect()
}

/// Every call of the log was sent; and again only by an attempt that began before its result was
/// journaled, that is, when a kill had found it in flight; and always with the same key.
fn check_calls(seen: &Seen, sent: &[Sent]) {
    let starts = starts(seen);
    let mut calls = 0;
    for place in 0..seen.events.len() {
        if seen.events[place].event != "tool.completed" {
            assert_ne!(seen.events[place].event, "tool.failed", "{}", seen.data(place));
            continue;
        }
        calls += 1;
        let (data, seq) = (seen.data(place), place + 1);
        let tries: Vec<&Sent> = sent.iter().filter(|s| data["id"] == *s.call_id).collect();
        let keys: HashSet<&str> = tries.iter().map(|sent| sent.key.as_str()).collect();
        assert_eq!(keys.len(), 1, "{tries:?}");
        let attempts: Vec<i64> = tries.iter().map(|sent| sent.attempt).collect();
        assert!(attempts.is_sorted_by(|a, b| a < b), "sent twice by one attempt: {tries:?}");
        for attempt in &attempts {
            assert!(starts[attempt] < seq, "sent by attempt {attempt} though journaled: {data}");
        }
        let last = attempts.last().expect("a completed call was sent");
        assert!(starts.get(&(last + 1)).is_none_or(|next| seq < *next), "{data}: {attempts:?}");
        assert!(data["attempts"].as_i64() >= i64::try_from(attempts.len()).ok(), "{data}");
    }
    assert_eq!(calls, 5, "{}", seen.run_id);
    assert!(sent.iter().filter(|s| s.run_id == seen.run_id).all(|s| s.key.starts_with(&s.run_id)));
}
