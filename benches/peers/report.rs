//! The figures as tables: each server in a row, then the goals. Called by `mod.rs`; measures
//! nothing.

use std::time::Duration;

use super::peer::{Kind, Peer};
use super::round::{CLIENTS, Figures, Load, OPEN, PIECES, STREAMS};
use crate::table::table;

/// A server with its figures.
pub(super) struct Row {
    /// What it is.
    pub(super) peer: Peer,
    /// The best of its rounds.
    pub(super) figures: Figures,
    /// What it was made of.
    pub(super) versions: String,
}

/// A figure of a server, and which of two is the better.
struct Measure {
    what: String,
    of: fn(&Figures) -> Option<f64>,
    most: bool,
    shown: fn(f64) -> String,
    /// Greatest ratio to the best platform, or the least where more is better.
    goal: Goal,
}

enum Goal {
    /// Ours over the best platform's.
    Ratio(f64),
    /// Ours over the lightest of all.
    Lightest(f64),
    /// Ours itself.
    Most(f64),
    /// None is set.
    None,
}

/// All tables.
pub(super) fn tables(rows: &[Row], commit: Duration, rounds: usize) -> String {
    format!("\nBest of {rounds} rounds.\n") + &all(rows) + &goals(rows, commit) + &notes(rows)
}

fn all(rows: &[Row]) -> String {
    let head = [
        "server".to_owned(),
        "keeps of a run".to_owned(),
        "cold start, s".to_owned(),
        "idle, MiB".to_owned(),
        format!("get agent, req/s at {CLIENTS} (CPU µs)"),
        format!("create run and wait, runs/s at {CLIENTS} (CPU ms)"),
        "first event, ms p50 / p99".to_owned(),
        "first text, ms p50 / p99".to_owned(),
        format!("events/s, {STREAMS} streams (CPU µs; events per run)"),
        format!("pieces of text/s, {STREAMS} streams (CPU µs)"),
        "KiB per open stream".to_owned(),
    ];
    let cells: Vec<_> = rows.iter().map(|row| cells(&row.peer, &row.figures)).collect();
    let title = format!(
        "One server at a time, on one core, the load and the model on the other. A streamed run \
         has {PIECES} pieces of text; Runplane sends what comes within 20 ms as one event. Memory \
         is the proportional share (PSS) of the server and its children; open streams are {OPEN}, \
         each with a live run of its own."
    );
    table(&title, &head.iter().map(String::as_str).collect::<Vec<_>>(), &cells)
}

/// The figures of one round in a line.
pub(super) fn line(peer: &Peer, figures: &Figures) -> String {
    let faults = figures.faults.iter().map(|fault| format!(" | {fault}"));
    cells(peer, figures).join(" | ") + &faults.collect::<String>()
}

fn cells(peer: &Peer, figures: &Figures) -> Vec<String> {
    let shown = |value: Option<String>| value.unwrap_or_else(|| "–".to_owned());
    let load = |load: Option<Load>, unit: f64| {
        shown(load.map(|load| format!("{:.0} ({})", load.rate, figure(cpu(load) * unit))))
    };
    let first = |from: usize| {
        let ms = |i: usize| figures.first.map(|first| first[i].as_secs_f64() * 1e3);
        shown(ms(from).zip(ms(from + 1)).map(|(a, b)| format!("{} / {}", figure(a), figure(b))))
    };
    let events = figures.events.zip(figures.per_run).map(|(load, per_run)| {
        format!("{:.0} ({}; {per_run:.0})", load.rate, figure(cpu(load) * 1e6))
    });
    vec![
        peer.title.clone(),
        peer.keeps.clone(),
        shown(figures.cold.map(|cold| format!("{:.2}", cold.as_secs_f64()))),
        shown(figures.idle_kib.map(|kib| format!("{:.1}", kib / 1024.0))),
        load(figures.get, 1e6),
        load(figures.runs, 1e3),
        first(0),
        first(2),
        shown(events),
        load(figures.pieces, 1e6),
        shown(figures.stream_kib.map(figure)),
    ]
}

fn measures() -> Vec<Measure> {
    let measure = |what: &str, of, most, goal| Measure {
        what: what.to_owned(),
        of,
        most,
        shown: figure,
        goal,
    };
    vec![
        measure("create run and wait, runs/s", |f| Some(f.runs?.rate), true, Goal::Ratio(10.0)),
        measure(
            "create run and wait, CPU ms per run",
            |f| Some(cpu(f.runs?) * 1e3),
            false,
            Goal::Ratio(0.1),
        ),
        measure("streamed events/s", |f| Some(f.events?.rate), true, Goal::Ratio(10.0)),
        measure("streamed pieces of text/s", |f| Some(f.pieces?.rate), true, Goal::Ratio(10.0)),
        measure("CPU µs per piece of text", |f| Some(cpu(f.pieces?) * 1e6), false, Goal::None),
        measure("CPU µs per streamed event", |f| Some(cpu(f.events?) * 1e6), false, Goal::None),
        measure("idle, MiB", |f| Some(f.idle_kib? / 1024.0), false, Goal::Lightest(0.5)),
        measure("cold start to ready, s", |f| Some(f.cold?.as_secs_f64()), false, Goal::Most(0.5)),
        measure("get agent, req/s", |f| Some(f.get?.rate), true, Goal::None),
        measure("get agent, CPU µs", |f| Some(cpu(f.get?) * 1e6), false, Goal::None),
        measure("KiB per open stream", |f| f.stream_kib, false, Goal::None),
    ]
}

/// What is ours over the best of the platforms and over the baseline, with the goals.
fn goals(rows: &[Row], commit: Duration) -> String {
    let Some(ours) = rows.iter().find(|row| row.peer.kind == Kind::Ours) else {
        return String::new();
    };
    let mut cells: Vec<_> = measures()
        .iter()
        .filter_map(|measure| goal_row(measure, rows, (measure.of)(&ours.figures)?))
        .collect();
    cells.extend(first_event(rows, ours, commit));
    let head =
        ["what", "ours", "best agent platform", "ours ÷ it", "baseline", "ours ÷ it", "goal", ""];
    table("The goals.", &head, &cells)
}

fn goal_row(measure: &Measure, rows: &[Row], ours: f64) -> Option<Vec<String>> {
    let best = |fits: fn(Kind) -> bool| best(measure, rows, fits);
    let platform = best(|kind| kind == Kind::Platform);
    let baseline = best(|kind| kind == Kind::Baseline);
    let lightest = best(|kind| !matches!(kind, Kind::Ours | Kind::Reference))?;
    let over = |other: Option<(f64, &str)>| other.map(|(value, _)| ours / value);
    let ratio = |other| over(other).map_or(String::new(), figure);
    let text = |other: Option<(f64, &str)>| {
        other.map_or(String::new(), |(value, who)| format!("{} ({who})", (measure.shown)(value)))
    };
    let (goal, met) = match measure.goal {
        Goal::Ratio(goal) if measure.most => {
            (format!("≥ {goal} × the best platform"), over(platform).map(|is| is >= goal))
        }
        Goal::Ratio(goal) => {
            (format!("≤ {goal} × the best platform"), over(platform).map(|is| is <= goal))
        }
        Goal::Lightest(goal) => {
            (format!("≤ {goal} × the lightest peer"), Some(ours / lightest.0 <= goal))
        }
        Goal::Most(goal) => (format!("≤ {goal}"), Some(ours <= goal)),
        Goal::None => (String::new(), None),
    };
    Some(vec![
        measure.what.clone(),
        (measure.shown)(ours),
        text(platform),
        ratio(platform),
        text(baseline),
        ratio(baseline),
        goal,
        verdict(met),
    ])
}

/// The first event against one commit, measured in the same rounds.
fn first_event(rows: &[Row], ours: &Row, commit: Duration) -> Option<Vec<String>> {
    let ms = |figures: &Figures| Some(figures.first?[0].as_secs_f64() * 1e3);
    let measure = Measure {
        what: "first streamed event, ms p50".to_owned(),
        of: |figures| Some(figures.first?[0].as_secs_f64() * 1e3),
        most: false,
        shown: figure,
        goal: Goal::None,
    };
    let commit = commit.as_secs_f64() * 1e3;
    let is = ms(&ours.figures)?;
    let mut cells = goal_row(&measure, rows, is)?;
    cells[6] = format!("≤ one commit, {}, + 1 ms", figure(commit));
    cells[7] = verdict(Some(is <= commit + 1.0));
    Some(cells)
}

fn best<'a>(measure: &Measure, rows: &'a [Row], fits: fn(Kind) -> bool) -> Option<(f64, &'a str)> {
    rows.iter()
        .filter(|row| fits(row.peer.kind))
        .filter_map(|row| Some(((measure.of)(&row.figures)?, row.peer.title.as_str())))
        .reduce(|a, b| if (b.0 > a.0) == measure.most { b } else { a })
}

/// What each is, in which versions, and what went wrong with it.
fn notes(rows: &[Row]) -> String {
    let mut text = "\n".to_owned();
    for Row { peer, figures, versions } in rows {
        text += &format!("- **{}**: {}", peer.title, peer.about);
        if !versions.is_empty() {
            text += &format!(" {versions}.");
        }
        for fault in &figures.faults {
            text += &format!(" Not measured: {}.", fault.trim_end_matches('.'));
        }
        text.push('\n');
    }
    text
}

fn verdict(met: Option<bool>) -> String {
    match met {
        Some(true) => "met".to_owned(),
        Some(false) => "missed".to_owned(),
        None => String::new(),
    }
}

fn cpu(load: Load) -> f64 {
    load.cpu.as_secs_f64()
}

/// A figure with three digits that mean something.
fn figure(value: f64) -> String {
    match value {
        value if value >= 100.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value if value >= 1.0 => format!("{value:.2}"),
        value => format!("{value:.3}"),
    }
}
