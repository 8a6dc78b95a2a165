//! Invariant I5: what a follower saw, however often it had to connect again, is the run's log, each
//! event once and in order, and live text without a gap or a repeat. Called by `checker.rs`.

use std::collections::{BTreeMap, HashMap};

use super::history::{Fault, Frame, Heard, History, Text, is_end};

/// Live text of a message that is not committed yet, as one follower has it.
struct Heap {
    text: String,
    since_us: i64,
    connection: usize,
}

/// What is wrong with what followers saw.
pub fn broken(history: &History) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for heard in &history.heard {
        let mut texts = numbers(history, heard);
        texts.extend(letters(history, heard));
        texts.extend(heard.complaints.iter().cloned());
        let subject = |text| (format!("{} ({})", heard.run_id, heard.door), text);
        found.extend(texts.into_iter().map(subject));
    }
    found.extend(different(history));
    found
}

/// Durable events are 1 to n, each once, as the log has them.
fn numbers(history: &History, heard: &Heard) -> Vec<String> {
    let log = history.events.get(&heard.run_id).map_or(&[][..], Vec::as_slice);
    let durable: Vec<&Frame> = heard.frames.iter().filter(|frame| frame.n == 0).collect();
    let mut found = Vec::new();
    let has_ended = log.last().is_some_and(|event| is_end(&event.kind));
    if has_ended && durable.len() < log.len() {
        found.push(format!("saw {} of {} events", durable.len(), log.len()));
    }
    for (expected, frame) in (1..).zip(&durable) {
        if frame.seq != expected {
            found.push(format!("event {} came where {expected} should", frame.seq));
            break;
        }
        let logged = log.iter().find(|event| event.seq == frame.seq);
        if logged.is_none_or(|event| event.kind != frame.kind) {
            let logged = logged.map(|event| &event.kind);
            found.push(format!("event {} is {}, in the log {logged:?}", frame.seq, frame.kind));
        }
    }
    found
}

/// Live text is the message's, from its first letter, without gap and repeat: all of it, or the
/// beginning when a fault came between.
fn letters(history: &History, heard: &Heard) -> Vec<String> {
    let (mut heaps, mut found) = (HashMap::<&str, Heap>::new(), Vec::new());
    let mut last = (0, 0);
    for frame in &heard.frames {
        let place = (frame.seq, frame.n);
        if place <= last {
            found.push(format!("{place:?} came after {last:?}"));
        }
        last = place;
        match &frame.text {
            Text::None => {}
            Text::Piece { step_id, offset, delta } => {
                let heap = heaps.entry(step_id).or_insert(Heap {
                    text: String::new(),
                    since_us: frame.at_us,
                    connection: frame.connection,
                });
                if heap.text.len() != *offset {
                    let have = heap.text.len();
                    found.push(format!("{step_id} goes on at {offset}, but {have} were heard"));
                }
                heap.text.push_str(delta);
            }
            Text::Whole { step_id, content } => {
                let heap = heaps.remove(step_id.as_str());
                found.extend(whole(history, (step_id, content), heap, frame));
                if let Some(other) = heaps.keys().next() {
                    found.push(format!("{step_id} is committed while {other} is spoken"));
                }
            }
            Text::Void { step_id } => {
                let other = heaps.drain().find(|(id, _)| Some(*id) != step_id.as_deref());
                let text = |(id, _)| format!("{id} is void, but {step_id:?} is said to be");
                found.extend(other.map(text));
            }
        }
    }
    found
}

/// A message that is committed, against its live text.
fn whole(
    history: &History,
    (step_id, content): (&str, &str),
    heap: Option<Heap>,
    frame: &Frame,
) -> Option<String> {
    let Heap { text, since_us, connection } = heap?;
    if !content.starts_with(&text) {
        return Some(format!("{step_id}: {text:?} is no beginning of {content:?}"));
    }
    let hit = |fault: &&Fault| fault.at_us <= frame.at_us && since_us <= fault.until_us;
    let calm = connection == frame.connection && !history.faults.iter().any(|fault| hit(&fault));
    let cut = history.whole_text && calm && text != content;
    cut.then(|| format!("{step_id}: only {text:?} of {content:?} came live, and nothing was hit"))
}

/// Messages that followers heard live from the first to the last letter, and all that a model said
/// to them.
pub fn live(history: &History) -> (usize, usize) {
    let (mut whole, mut all) = (0, 0);
    for heard in &history.heard {
        let mut texts = HashMap::<&str, String>::new();
        for frame in &heard.frames {
            match &frame.text {
                Text::Piece { step_id, delta, .. } => {
                    texts.entry(step_id).or_default().push_str(delta);
                }
                Text::Whole { step_id, content } if !content.is_empty() && !is_told(frame) => {
                    all += 1;
                    whole += usize::from(texts.remove(step_id.as_str()).as_ref() == Some(content));
                }
                _ => {}
            }
        }
    }
    (whole, all)
}

/// True for a message that no model says.
fn is_told(frame: &Frame) -> bool {
    frame.role != "assistant"
}

/// Whoever follows a run is told the same, byte by byte.
fn different(history: &History) -> Vec<(String, String)> {
    let mut told: BTreeMap<(&str, i64), &str> = BTreeMap::new();
    let mut found = Vec::new();
    for heard in &history.heard {
        let shown = heard.frames.iter().filter(|frame| frame.n == 0 && !frame.data.is_empty());
        for frame in shown {
            let first = told.entry((&heard.run_id, frame.seq)).or_insert(&frame.data);
            if *first != frame.data {
                let text = format!("event {}: {first} and {}", frame.seq, frame.data);
                found.push((heard.run_id.clone(), text));
            }
        }
    }
    found
}
