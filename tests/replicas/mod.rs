//! Several processes on one Postgres and one Redis: a run that one of them drives is followed,
//! resumed and cancelled at any other, whatever becomes of Redis.

mod cancel;
mod follow;
mod outage;
mod slow;
mod takeover;
mod told;
mod wire;

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::timeout;

use self::told::{Stream, Told};
use crate::harness::databases::{self, Place};
use crate::harness::process::{Api, Program};
use crate::harness::redis::Redis;

/// Longest wait; a test that reaches it has failed.
const WAIT: Duration = Duration::from_secs(60);

const PEPPER: &str = "[auth]\npepper = 'a pepper for tests, of no worth'\n";

/// A process that takes no run by itself, and confirms no cancel by its heartbeat.
const IDLE: &str = "[engine]\nheartbeat_ms = 3600000\nlease_ms = 7200000\npoll_ms = 3600000\n";

/// Two processes: the first drives the runs, the second does not unless it is told of some.
struct Two {
    redis: Redis,
    first: Program,
    second: Program,
    a: Api,
    b: Api,
    _place: Place,
}

impl Two {
    /// With these changes of the configuration of each.
    async fn start(first: &str, second: &str) -> Self {
        let (redis, (store, place)) = (Redis::start(), databases::postgres_place(None).await);
        let config = |changes: &str| {
            let mut all: toml::Table = PEPPER.parse().expect("TOML");
            all.extend(redis.config().parse::<toml::Table>().expect("TOML"));
            all.extend(changes.parse::<toml::Table>().expect("TOML"));
            all.to_string()
        };
        let mut first = Program::on(&store.url, &config(first));
        let mut second = Program::on(&store.url, &config(second));
        let a = first.start().await;
        let b = second.start_with(&a.key).await;
        Self { redis, first, second, a, b, _place: place }
    }
}

/// So many words.
fn words(count: usize) -> String {
    (0..count).map(|n| format!("word{n} ")).collect()
}

/// An agent that asks its caller first, and after each of `rounds` texts of so many words but the
/// last.
fn asking(rounds: usize, count: usize, tokens_per_second: u32) -> Value {
    let (text, calls) = (words(count), json!([{"name": "ask"}]));
    json!({
        "name": "asking", "model": "sim", "tools": [{"name": "ask", "client": {}}],
        "sim": {"tokens_per_second": tokens_per_second, "turns": [
            {"when": "turn == 0", "tool_calls": calls},
            {"when": format!("turn < {rounds}"), "text": text, "tool_calls": calls},
            {"when": "true", "text": text},
        ]},
    })
}

/// Hands the run what it waits for.
async fn go_on(api: &Api, run_id: &str) {
    let run = api.settled(run_id).await;
    let id = &run["required_action"]["tool_calls"][0]["id"];
    let outputs = json!({"tool_outputs": [{"tool_call_id": id, "output": "go on"}]});
    let path = format!("/v1/runs/{run_id}/submit_tool_outputs");
    let (status, run) = api.post(&path, &outputs).await;
    assert_eq!(status, 200, "{run}");
}

/// Reads a stream until the event of this kind has come so many times.
async fn until(stream: &mut Stream, told: &mut Told, kind: &str, count: usize) {
    let reading = async {
        while told.count(kind) < count {
            let event = stream.next().await.unwrap_or_else(|| panic!("it ends before {kind}"));
            told.take(event);
        }
    };
    timeout(WAIT, reading).await.unwrap_or_else(|_| panic!("no {count} of {kind}: {told:?}"));
}

/// Reads a stream to its end.
async fn to_the_end(mut stream: Stream, mut told: Told) -> Told {
    let reading = async {
        while let Some(event) = stream.next().await {
            told.take(event);
        }
    };
    timeout(WAIT, reading).await.expect("the stream ends");
    told
}
