//! One line of the table that `tests/chaos/run` ends with, and the verdict of one fault: broken
//! when an invariant is, slow when a pass number of docs/reliability.md is missed. Called by the
//! scenarios.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::Write as _;
use std::time::Duration;

use super::checker::{self, Violation};
use super::history::{Fault, History};
use super::load::Seen;
use super::{settings, streams};

/// Violations that are told in full.
const TOLD: usize = 12;
/// Runs whose story is told.
const STORIES: usize = 3;

/// What came of a fault.
pub struct Row {
    /// Its name, `F1`.
    pub name: &'static str,
    /// What was done, and how often.
    pub injected: String,
    /// How long what was hit took to go on.
    pub recoveries: Vec<Duration>,
    /// Pass numbers that were missed.
    pub slow: Vec<String>,
    /// Figures beside the columns.
    pub notes: Vec<String>,
    /// What must be, beside the invariants, and is not.
    pub wrong: Vec<String>,
}

impl Row {
    /// A fault that was injected so often.
    pub fn new(name: &'static str, times: usize, what: &str) -> Self {
        let injected = format!("{times} × {what}");
        let (recoveries, slow, notes, wrong) = Default::default();
        Self { name, injected, recoveries, slow, notes, wrong }
    }

    /// Notes a figure.
    pub fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }

    /// Notes a pass number, and whether it is kept.
    pub fn pass(&mut self, kept: bool, text: impl Into<String>) {
        if !kept {
            self.slow.push(text.into());
        }
    }

    /// Notes what must be.
    pub fn must(&mut self, is: bool, text: impl Into<String>) {
        if !is {
            self.wrong.push(text.into());
        }
    }

    /// Notes how callers were answered. With `all`, each of their requests must succeed; else those
    /// that were not answered, and 503 with `Retry-After`, are as it should be.
    pub fn answers(&mut self, seen: &Seen, all: bool) {
        let failed: usize =
            seen.answers.iter().filter(|(status, _)| **status != 202).map(|(_, n)| n).sum();
        let asked: usize = seen.answers.values().sum();
        self.note(format!("{failed} of {asked} requests to be made again"));
        self.pass(seen.odd.is_empty(), format!("odd answers {:?}", seen.odd));
        self.pass(!all || failed == 0, format!("answers {:?}", seen.answers));
    }

    /// No call was sent again.
    pub fn sends_nothing_again(&mut self, history: &History) {
        let again = checker::count(history, &[]).in_flight_again;
        self.pass(again == 0, format!("{again} calls sent again"));
    }

    /// Measures by the pass numbers for recoveries: the middle, the 99th of a hundred, the last.
    pub fn recovers_within(&mut self, [p50, p99, most]: [Duration; 3]) {
        let found = [0.5, 0.99, 1.0].map(|part| percentile(&self.recoveries, part));
        for (name, found, most) in
            [("p50", found[0], p50), ("p99", found[1], p99), ("max", found[2], most)]
        {
            let text = format!("recovery {name} {:.1} s > {:.1} s", secs(found), secs(most));
            self.pass(found <= most, text);
        }
    }

    /// Judges the history, tells the line, and fails when an invariant is broken.
    pub fn tell(mut self, history: &History) {
        let (live, all) = streams::live(history);
        if let Some(percent) = (100 * live).checked_div(all) {
            self.note(format!("{percent} % of {all} messages heard live to the letter"));
        }
        let mut violations = checker::check(history);
        violations.extend(self.wrong.iter().map(|text| Violation {
            invariant: self.name,
            subject: "the scenario".to_owned(),
            text: text.clone(),
        }));
        let counts = checker::count(history, &violations);
        let names: BTreeSet<&str> = violations.iter().map(|v| v.invariant).collect();
        let verdict = if !names.is_empty() {
            format!("**BROKEN** {}", names.into_iter().collect::<Vec<_>>().join(" "))
        } else if self.slow.is_empty() {
            "pass".to_owned()
        } else {
            format!("slow: {}", self.slow.join("; "))
        };
        let recovery = if self.recoveries.is_empty() {
            "–".to_owned()
        } else {
            let [a, b, c] = [0.5, 0.99, 1.0].map(|part| secs(percentile(&self.recoveries, part)));
            format!("{a:.1} / {b:.1} / {c:.1} s")
        };
        let line = format!(
            "| {} | {} | {} | {} | {} | {} | {} of {} | {recovery} | {verdict} | {} |",
            self.name,
            self.injected,
            history.acknowledged.len(),
            counts.lost,
            counts.events,
            counts.completed_again,
            counts.in_flight_again,
            counts.calls,
            self.notes.join("; "),
        );
        println!("\n{line}");
        keep(&line);
        assert!(violations.is_empty(), "{}", explain(history, &violations));
    }
}

/// Adds a line to the file of the table.
fn keep(line: &str) {
    let path = settings::table();
    if path.is_empty() {
        return;
    }
    let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
    writeln!(file.expect("the table's file"), "{line}").expect("the table grows");
}

fn explain(history: &History, violations: &[Violation]) -> String {
    let mut text = format!("{} promises are broken:\n", violations.len());
    for violation in violations.iter().take(TOLD) {
        writeln!(text, "{violation}").expect("a string grows");
    }
    let ids = violations.iter().filter_map(|violation| {
        let subject = violation.subject.split([' ', '/']).next()?;
        history.runs.contains_key(subject).then_some(subject)
    });
    for id in ids.collect::<BTreeSet<_>>().into_iter().take(STORIES) {
        text += &checker::story(history, id);
    }
    text
}

/// How long each run that a fault found leased took until an event of this kind; of any, when it is
/// empty.
pub fn recoveries(history: &History, kind: &str, faults: &[Fault]) -> Vec<Duration> {
    let mut found = Vec::new();
    for fault in faults {
        for run_id in &fault.held {
            let events = history.events.get(run_id).map_or(&[][..], Vec::as_slice);
            let next = events
                .iter()
                .find(|event| event.at_us > fault.at_us && (kind.is_empty() || event.kind == kind));
            let Some(next) = next else { continue };
            let us = u64::try_from(next.at_us - fault.at_us).unwrap_or(0);
            found.push(Duration::from_micros(us));
        }
    }
    found
}

/// That part of the values is not above it.
pub fn percentile(values: &[Duration], part: f64) -> Duration {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    let places = sorted.len() as f64 * part;
    let place = (places.ceil() as usize).clamp(1, sorted.len().max(1)) - 1;
    sorted.get(place).copied().unwrap_or_default()
}

/// As people read it.
pub fn secs(duration: Duration) -> f64 {
    duration.as_secs_f64()
}
