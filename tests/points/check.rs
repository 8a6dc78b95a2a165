//! What must be true of every run when all is over, whatever has happened to the program: it ended
//! as it must, its log has no gap and one end, nothing that was journaled was done again, and what
//! it used is what it did.

use std::collections::{BTreeMap, HashSet};

use runplane::kernel::Clock;
use runplane::store::{Store, StoreConfig};
use sea_orm::{ConnectionTrait, Statement};
use serde_json::{Value, json};

use super::load::{Kind, Told, World};
use crate::crash::tools::Sent;
use crate::harness::process::Api;

/// What a row of the report tells.
#[derive(Debug, Clone, Copy, Default)]
pub struct Count {
    pub runs: usize,
    /// Claims after the first that did not follow a wait.
    pub resumed: usize,
    /// Calls that were sent again, in flight.
    pub again: usize,
}

impl std::ops::AddAssign for Count {
    fn add_assign(&mut self, other: Self) {
        self.runs += other.runs;
        self.resumed += other.resumed;
        self.again += other.again;
    }
}

/// Checks every run, and that there are no others.
pub async fn check(world: &World, told: &[Told]) -> Count {
    let (api, sent) = (world.here().await, world.tools.sent());
    let (status, page) = api.get("/v1/runs?limit=100").await;
    assert_eq!(status, 200, "{page}");
    let ids = |run: &Value| run["id"].as_str().map(str::to_owned);
    let listed: HashSet<String> =
        page["data"].as_array().expect("runs").iter().filter_map(ids).collect();
    let expected: HashSet<String> = told.iter().map(|told| told.seen.run_id.clone()).collect();
    assert_eq!(expected.len(), told.len(), "each create has a run of its own");
    assert_eq!(listed, expected, "no run but those that were answered for");
    assert!(sent.iter().all(|sent| expected.contains(&sent.run_id)));
    let (mut count, mut usages) = (Count::default(), BTreeMap::new());
    for told in told {
        let (more, usage) = run(&api, told, &sent).await;
        count += more;
        // Another attempt uses no more than was used: what is not committed does not count.
        let same = usages.entry(format!("{:?}", told.kind)).or_insert_with(|| usage.clone());
        assert_eq!(*same, usage, "{}", told.seen.run_id);
    }
    count
}

/// Nothing is left in the queue of a program that does not run.
pub async fn left(config: StoreConfig) {
    let store = Store::open(&config, Clock::system()).await.expect("the store is free");
    let count = async |sql: &str| {
        let query = Statement::from_string(store.read().get_database_backend(), sql);
        let row = store.read().query_one_raw(query).await.expect("an answer").expect("a row");
        row.try_get_by_index::<i64>(0).expect("a number")
    };
    assert_eq!(count("SELECT count(*) FROM run_queue").await, 0, "a run is left in the queue");
    let open = "SELECT count(*) FROM run_steps s JOIN runs r ON r.id = s.run_id
        WHERE s.status = 0 AND r.status = 'completed'";
    assert_eq!(count(open).await, 0, "a step of a completed run has not ended");
    store.close().await;
}

async fn run(api: &Api, told: &Told, sent: &[Sent]) -> (Count, Value) {
    let Told { kind, seen, .. } = told;
    let run = api.settled(&seen.run_id).await;
    let name = run["input"].as_str().expect("a text");
    let (status, result) = match kind {
        Kind::Adds => ("completed", json!(format!("{name} has 24 in all."))),
        Kind::Asks => ("completed", json!(format!("{name} was told {name}."))),
        Kind::Holds => ("completed", json!(format!("{name} has 42."))),
        Kind::Stops => ("cancelled", Value::Null),
    };
    assert_eq!((&run["status"], &run["output"]["result"]), (&json!(status), &result), "{run}");
    let log = api.log(&seen.run_id).await;
    assert_eq!((&run["last_seq"], seen.events.len()), (&json!(log.len()), log.len()), "{run}");
    for (seq, (event, frame)) in (1..).zip(log.iter().zip(&seen.events)) {
        assert_eq!(event["id"], seq.to_string());
        assert_eq!((&event["type"], &frame.id), (&json!(frame.event), &seq.to_string()));
        let ends = ["completed", "failed", "cancelled", "incomplete", "expired"];
        let ends = ends.iter().any(|end| frame.event.strip_prefix("run.") == Some(end));
        assert_eq!(ends, seq == log.len(), "{event}");
    }
    let (starts, resumed) = starts(told);
    assert_eq!(run["attempt"], starts.len(), "{run}");
    let again = calls(told, &starts, sent);
    (Count { runs: 1, resumed, again }, usage(told, &run))
}

/// The number of the event that each claim began with, and how many of them went on with what
/// another had left.
fn starts(told: &Told) -> (BTreeMap<i64, usize>, usize) {
    let (seen, mut starts, mut resumed) = (&told.seen, BTreeMap::new(), 0);
    for (place, event) in seen.events.iter().enumerate() {
        if !["run.in_progress", "run.resumed"].contains(&event.event.as_str()) {
            continue;
        }
        let attempt = seen.data(place)["attempt"].as_i64().expect("an attempt");
        assert_eq!(attempt, i64::try_from(starts.len() + 1).expect("few"), "{event:?}");
        let fresh = attempt == 1 || seen.events[place - 1].event == "run.requires_action";
        assert_eq!(fresh, event.event == "run.in_progress", "{event:?} of {}", seen.run_id);
        resumed += usize::from(!fresh);
        starts.insert(attempt, place + 1);
    }
    (starts, resumed)
}

/// Every call was sent, and again only by a claim that began before its result was journaled; and
/// always with the same key. How many were sent again.
fn calls(told: &Told, starts: &BTreeMap<i64, usize>, sent: &[Sent]) -> usize {
    let (seen, mut completed) = (&told.seen, 0);
    for (place, event) in seen.events.iter().enumerate() {
        assert_ne!(event.event, "tool.failed", "{event:?}");
        if event.event != "tool.completed" {
            continue;
        }
        completed += 1;
        let (data, seq) = (seen.data(place), place + 1);
        let tries: Vec<&Sent> = sent.iter().filter(|s| data["id"] == *s.call_id).collect();
        let attempts: Vec<i64> = tries.iter().map(|sent| sent.attempt).collect();
        assert_eq!(tries.is_empty(), told.kind == Kind::Asks, "{data}");
        assert!(attempts.is_sorted_by(|a, b| a < b), "twice by one claim: {tries:?}");
        for attempt in &attempts {
            assert!(starts[attempt] < seq, "sent by claim {attempt} though journaled: {data}");
        }
        let next = attempts.last().and_then(|last| starts.get(&(last + 1)));
        assert!(next.is_none_or(|next| seq < *next), "{data}: {attempts:?}");
    }
    let (made, most) = match told.kind {
        Kind::Adds => (4, 4),
        Kind::Asks => (1, 0),
        Kind::Holds => (1, 1),
        Kind::Stops => (0, 1),
    };
    assert_eq!(completed, made, "{}", seen.run_id);
    let mine: Vec<&Sent> = sent.iter().filter(|sent| sent.run_id == seen.run_id).collect();
    assert!(mine.iter().all(|sent| sent.key.starts_with(&sent.run_id)), "{mine:?}");
    let keys: HashSet<&str> = mine.iter().map(|sent| sent.key.as_str()).collect();
    let pairs: HashSet<_> = mine.iter().map(|sent| (&sent.key, &sent.call_id)).collect();
    assert_eq!((keys.len(), pairs.len()), (most, most), "a call has one key: {mine:?}");
    mine.len() - keys.len()
}

/// What the run used is what its log tells.
fn usage(told: &Told, run: &Value) -> Value {
    let seen = &told.seen;
    let count =
        |right: &dyn Fn(usize) -> bool| (0..seen.events.len()).filter(|p| right(*p)).count();
    let answers = count(&|place| {
        seen.events[place].event == "step" && seen.data(place)["role"] == "assistant"
    });
    let tools = count(&|place| seen.events[place].event == "tool.completed");
    let usage = &run["usage"];
    let expected = (json!(answers), json!(tools));
    assert_eq!((&usage["model_calls"], &usage["tool_calls"]), (&expected.0, &expected.1), "{run}");
    assert_eq!(seen.data(seen.events.len() - 1)["usage"], *usage, "{run}");
    usage.clone()
}
