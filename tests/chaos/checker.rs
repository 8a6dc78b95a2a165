//! Says what is broken in a history, as a list of named violations. Pure: it looks at nothing but
//! the history. The names are those of docs/reliability.md. There is no I7 yet: it is about
//! webhooks, which do not exist.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

use super::history::{Call, Event, Heard, History, Run, Step, is_end};
use super::streams;

/// A broken promise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which invariant.
    pub invariant: &'static str,
    /// Of what: a run, a key, a lane, a worker.
    pub subject: String,
    /// What is wrong.
    pub text: String,
}

/// What the invariants count on the way.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Acknowledged runs that are not there, or do not get on.
    pub lost: usize,
    /// Events that are missing or repeated, in the log or at a follower.
    pub events: usize,
    /// Calls that began after their result was journaled.
    pub completed_again: usize,
    /// Calls that were sent again while they were in flight.
    pub in_flight_again: usize,
    /// Calls in all, by key.
    pub calls: usize,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.invariant, self.subject, self.text)
    }
}

/// Everything that is broken.
pub fn check(history: &History) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut look = |invariant, texts: Vec<(String, String)>| {
        let violation = |(subject, text)| Violation { invariant, subject, text };
        found.extend(texts.into_iter().map(violation));
    };
    look("I1", unended(history));
    look("I2", history.runs.iter().flat_map(|(id, run)| log(id, run, history)).collect());
    look("I3", sent_again(history));
    look("I4", sent_twice(history));
    look("I5", streams::broken(history));
    look("I6", over_cap(history));
    look("I8", doubled(history));
    look("I9", history.runs.iter().flat_map(|(id, run)| uncounted(id, run, history)).collect());
    look("I10", orphans(history));
    found
}

/// What the table tells.
pub fn count(history: &History, violations: &[Violation]) -> Counts {
    let of = |names: &[&str]| violations.iter().filter(|v| names.contains(&v.invariant)).count();
    let late = late_calls(history);
    let keys: BTreeSet<&str> = history.calls.iter().map(|call| call.key.as_str()).collect();
    Counts {
        lost: of(&["I1"]),
        events: of(&["I2", "I5"]),
        completed_again: late.len(),
        in_flight_again: history.calls.len() - keys.len() - late.len(),
        calls: keys.len(),
    }
}

/// Longest time between the moment that a row is dated by and its commit.
const DATED_US: i64 = 1_000_000;

type Found = Vec<(String, String)>;

/// Every acknowledged run has ended, or waits for its caller; and says what it should.
fn unended(history: &History) -> Found {
    let mut found = Vec::new();
    for acknowledged in &history.acknowledged {
        let id = acknowledged.run_id.clone();
        match history.runs.get(&id) {
            None => found.push((id, "acknowledged, and not in the database".to_owned())),
            Some(run) if !is_end(&format!("run.{}", run.status)) => {
                if run.status != "requires_action" {
                    found.push((id, format!("still {}", run.status)));
                }
            }
            Some(run) => {
                let said = run.result.as_deref().unwrap_or_default();
                let other = run.status == "completed" && said != acknowledged.result;
                if other && !acknowledged.result.is_empty() {
                    let text = format!("says {said:?}, not {:?}", acknowledged.result);
                    found.push((id, text));
                }
            }
        }
    }
    found
}

/// Events are numbered 1 to n, and one that ends the run is the last.
fn log(id: &str, run: &Run, history: &History) -> Found {
    let events = history.events.get(id).map_or(&[][..], Vec::as_slice);
    let mut found = Vec::new();
    let mut say = |text: String| found.push((id.to_owned(), text));
    let numbers: Vec<i64> = events.iter().map(|event| event.seq).collect();
    let expected: Vec<i64> = (1..=i64::try_from(events.len()).unwrap_or(i64::MAX)).collect();
    if numbers != expected {
        say(format!("events are numbered {numbers:?}"));
    }
    if numbers.last().copied().unwrap_or(0) != run.last_seq {
        say(format!("last_seq is {}, the log ends at {:?}", run.last_seq, numbers.last()));
    }
    let end = format!("run.{}", run.status);
    let ends: Vec<&Event> = events.iter().filter(|event| is_end(&event.kind)).collect();
    match (is_end(&end), &ends[..]) {
        (true, [only]) if only.kind == end && Some(&only.seq) == numbers.last() => {}
        (false, []) => {}
        _ => {
            let kinds: Vec<&str> = events.iter().map(|event| event.kind.as_str()).collect();
            say(format!("the run is {}, its log {kinds:?}", run.status));
        }
    }
    let claims = i64::try_from(events.iter().filter(is_claim).count()).unwrap_or(i64::MAX);
    if claims != run.attempt {
        say(format!("attempt is {}, the log tells of {claims}", run.attempt));
    }
    twice(events).into_iter().for_each(say);
    found
}

/// True for the event of a claim.
fn is_claim(event: &&Event) -> bool {
    ["run.in_progress", "run.resumed"].contains(&event.kind.as_str())
}

/// What can happen once only, and is told twice: a call that ends, a message that is committed.
fn twice(events: &[Event]) -> Vec<String> {
    let once = |event: &&Event| {
        ["step", "tool.requested", "tool.completed", "tool.failed"].contains(&event.kind.as_str())
    };
    let mut seen: BTreeMap<(&str, String), Vec<i64>> = BTreeMap::new();
    for event in events.iter().filter(once) {
        let kind = if event.kind == "tool.failed" { "tool.completed" } else { &event.kind };
        seen.entry((kind, event.data["id"].to_string())).or_default().push(event.seq);
    }
    let double = seen.into_iter().filter(|(_, places)| places.len() > 1);
    double.map(|((kind, id), places)| format!("{kind} {id} stands at {places:?}")).collect()
}

/// No effect begins after its key's result was journaled; effects and journal name the same keys;
/// one claim sends one call once; none but the last claim writes.
fn sent_again(history: &History) -> Found {
    let rows = journal(history);
    let mut found: Found = late_calls(history)
        .into_iter()
        .map(|(call, late_us)| {
            let text = format!("sent by attempt {}, {late_us} µs after its result", call.attempt);
            (call.key.clone(), text)
        })
        .collect();
    let mut sent: BTreeMap<&str, Vec<i64>> = BTreeMap::new();
    for call in &history.calls {
        sent.entry(&call.key).or_default().push(call.attempt);
    }
    for (key, attempts) in &sent {
        let own: BTreeSet<_> = attempts.iter().collect();
        if own.len() < attempts.len() {
            found.push(((*key).to_owned(), format!("attempts {attempts:?}: one sent it twice")));
        }
        if !rows.contains_key(key) {
            found.push(((*key).to_owned(), "sent without an intent in the journal".to_owned()));
        }
    }
    let unsent = rows.iter().filter(|(key, row)| row.status == 1 && !sent.contains_key(*key));
    found.extend(unsent.map(|(key, _)| ((*key).to_owned(), "answered, but never sent".to_owned())));
    found.extend(history.steps.keys().flat_map(|run_id| outdated(run_id, history)));
    found
}

/// Steps that a claim ended after another had taken the run, by more than the time between the
/// moment that a row is dated by and its commit.
fn outdated(run_id: &str, history: &History) -> Found {
    let events = history.events.get(run_id).map_or(&[][..], Vec::as_slice);
    let claims: Vec<i64> = events.iter().filter(is_claim).map(|event| event.at_us).collect();
    let old = |step: &Step| {
        let next_us = claims.get(usize::try_from(step.epoch).ok()?)?;
        (step.finished_us? > next_us + DATED_US).then_some(step.finished_us? - next_us)
    };
    let steps = history.steps[run_id].iter().filter_map(|step| Some((step, old(step)?)));
    let text = |late_us| format!("ended by a claim {late_us} µs after the next one");
    steps.map(|(step, late_us)| (step.key.clone(), text(late_us))).collect()
}

/// Calls that began after their result was journaled, and by how much.
fn late_calls(history: &History) -> Vec<(&Call, i64)> {
    let rows = journal(history);
    let late = |call: &Call| {
        let finished_us = rows.get(call.key.as_str())?.finished_us?;
        (call.begun_us > finished_us).then_some(call.begun_us - finished_us)
    };
    history.calls.iter().filter_map(|call| Some((call, late(call)?))).collect()
}

fn journal(history: &History) -> HashMap<&str, &Step> {
    let tools = history.steps.values().flatten().filter(|step| step.kind == "tool");
    tools.map(|step| (step.key.as_str(), step)).collect()
}

/// A tool that may be sent once is.
fn sent_twice(history: &History) -> Found {
    let mut sent: BTreeMap<&str, usize> = BTreeMap::new();
    let once = |call: &&Call| history.at_most_once.contains(&call.tool);
    for call in history.calls.iter().filter(once) {
        *sent.entry(&call.key).or_default() += 1;
    }
    let twice = sent.into_iter().filter(|(_, times)| *times > 1);
    twice.map(|(key, times)| (key.to_owned(), format!("sent {times} times"))).collect()
}

/// No owner has more runs under way than its cap.
fn over_cap(history: &History) -> Found {
    let over = history.leased.iter().filter(|leased| leased.count > leased.cap);
    over.map(|leased| (leased.lane.clone(), format!("{} of {}", leased.count, leased.cap)))
        .collect()
}

/// One run for each idempotency key.
fn doubled(history: &History) -> Found {
    let mut runs: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (id, run) in history.runs.iter().filter(|(_, run)| !run.key.is_empty()) {
        runs.entry(&run.key).or_default().insert(id);
    }
    for acknowledged in &history.acknowledged {
        runs.entry(&acknowledged.key).or_default().insert(&acknowledged.run_id);
    }
    let many = runs.into_iter().filter(|(_, ids)| ids.len() > 1);
    many.map(|(key, ids)| (key.to_owned(), format!("runs {ids:?}"))).collect()
}

/// What a run used is what its steps used, and what its last event tells.
fn uncounted(id: &str, run: &Run, history: &History) -> Found {
    let steps = history.steps.get(id).map_or(&[][..], Vec::as_slice);
    let ok = |kind: &str| steps.iter().filter(|step| step.kind == kind && step.status == 1).count();
    let [models, tools] = [ok("llm"), ok("tool")].map(|n| i64::try_from(n).unwrap_or(i64::MAX));
    let tokens = |place: usize| steps.iter().map(|step| step.tokens[place]).sum::<i64>();
    let mut found = Vec::new();
    let journaled = [models, tools, tokens(0), tokens(1)];
    if run.usage != journaled {
        let text = format!("used {:?}, by the journal {journaled:?}", run.usage);
        found.push((id.to_owned(), text));
    }
    let last = history.events.get(id).and_then(|events| events.last());
    let told = last.and_then(|event| event.data.get("usage"));
    if let Some(told) = told {
        let names = ["model_calls", "tool_calls", "input_tokens", "output_tokens"];
        let told = names.map(|name| told[name].as_i64().unwrap_or(0));
        if told != run.usage {
            found.push((id.to_owned(), format!("used {:?}, told {told:?}", run.usage)));
        }
    }
    found
}

/// Nothing is left behind: no queue row of a run that has ended, none leased to nobody, and no live
/// run without one.
fn orphans(history: &History) -> Found {
    let mut found = Vec::new();
    let mut queued = BTreeSet::new();
    for row in &history.queue {
        queued.insert(row.run_id.as_str());
        let status = history.runs.get(&row.run_id).map_or("gone", |run| &run.status);
        if status == "gone" || is_end(&format!("run.{status}")) {
            found.push((row.run_id.clone(), format!("queued, but {status}")));
        }
        let worker = row.worker.as_deref().unwrap_or("nobody");
        if row.state == 1 && !history.workers.iter().any(|known| known == worker) {
            found.push((row.run_id.clone(), format!("leased to {worker}, who is not there")));
        }
    }
    for (id, run) in &history.runs {
        if !is_end(&format!("run.{}", run.status)) && !queued.contains(id.as_str()) {
            found.push((id.clone(), format!("{}, but not queued", run.status)));
        }
    }
    found
}

/// All that is known of one run, for whoever has to find the cause.
pub fn story(history: &History, run_id: &str) -> String {
    let mut lines: Vec<(i64, String)> = Vec::new();
    for event in history.events.get(run_id).into_iter().flatten() {
        let data = event.data.to_string();
        let short: String = data.chars().take(160).collect();
        lines.push((event.at_us, format!("event {} {} {short}", event.seq, event.kind)));
    }
    for step in history.steps.get(run_id).into_iter().flatten() {
        let Step { key, kind, status, finished_us, .. } = step;
        let text = format!("journal {key} {kind} ends as {status}");
        lines.push((finished_us.unwrap_or(i64::MAX), text));
    }
    for call in history.calls.iter().filter(|call| call.run_id == run_id) {
        let Call { key, tool, attempt, begun_us, ended_us, .. } = call;
        let ended = ended_us.map_or(-1, |ended_us| (ended_us - begun_us) / 1000);
        let text = format!("call {key} {tool} by attempt {attempt}, ends after {ended} ms");
        lines.push((*begun_us, text));
    }
    for fault in &history.faults {
        let mine = if fault.held.iter().any(|held| held == run_id) { " (its worker)" } else { "" };
        lines.push((fault.at_us, format!("fault {}{mine}", fault.what)));
    }
    lines.sort();
    let mut text = format!("{run_id}: {:?}\n", history.runs.get(run_id));
    for (at_us, line) in lines {
        text += &format!("  {at_us} {line}\n");
    }
    let heard = history.heard.iter().filter(|heard| heard.run_id == run_id);
    heard.for_each(|heard| text += &followed(heard));
    text
}

fn followed(heard: &Heard) -> String {
    let frames: Vec<String> =
        heard.frames.iter().map(|frame| format!("{}.{}", frame.seq, frame.n)).collect();
    let Heard { door, connected_us, ended, complaints, .. } = heard;
    let connections = connected_us.len();
    format!(
        "  {door}: {connections} connections, ended {ended}, {complaints:?}: {}\n",
        frames.join(" ")
    )
}
