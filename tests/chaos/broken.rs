//! The checker is tested here: from a history in which all is well, each test makes one that breaks
//! exactly one invariant.

use serde_json::json;

use super::checker::{Violation, check, count};
use super::history::{
    Acknowledged, Call, Event, Fault, Frame, Heard, History, Leased, Queued, Run, Step, Text,
};
use super::streams::live;

const RUN: &str = "run_1";
const KEY: &str = "run_1/0/1";

/// One run: a model call, a tool call that was sent again after its worker was killed, and an end;
/// followed twice, once over two connections.
fn well() -> History {
    let mut history = History::default();
    let key = "asked-1".to_owned();
    let result = "4".to_owned();
    history.acknowledged.push(Acknowledged { run_id: RUN.to_owned(), key: key.clone(), result });
    let run = Run {
        status: "completed".to_owned(),
        key,
        result: Some("4".to_owned()),
        last_seq: 7,
        attempt: 2,
        usage: [2, 1, 20, 10],
        ..Run::default()
    };
    history.runs.insert(RUN.to_owned(), run);
    history.events.insert(RUN.to_owned(), events());
    history.steps.insert(RUN.to_owned(), vec![model("0/0", 25), tool(35), model("1/0", 50)]);
    history.calls = vec![call(1, 22), call(2, 32)];
    history.heard = vec![heard("sse"), heard("grpc")];
    history.leased.push(Leased { lane: "lane".to_owned(), cap: 2, count: 2 });
    history.workers.push("worker_2".to_owned());
    let held = vec![RUN.to_owned()];
    history.faults.push(Fault { what: "kill -9".to_owned(), at_us: 24, until_us: 24, held });
    history.at_most_once.push("once".to_owned());
    history.whole_text = true;
    history
}

fn events() -> Vec<Event> {
    let usage = json!({"model_calls": 2, "tool_calls": 1, "input_tokens": 20, "output_tokens": 10});
    let data = [
        ("run.created", json!({})),
        ("run.in_progress", json!({})),
        ("step", json!({"id": "stp_1", "role": "assistant", "content": "I ask."})),
        ("run.resumed", json!({"attempt": 2})),
        ("tool.completed", json!({"id": "call_1"})),
        ("step", json!({"id": "stp_2", "role": "assistant", "content": "It says 4."})),
        ("run.completed", json!({ "usage": usage })),
    ];
    let event = |(seq, (kind, data)): (i64, (&str, _))| Event {
        seq,
        kind: kind.to_owned(),
        at_us: seq * 10 - 9,
        data,
    };
    (1..).zip(data).map(event).collect()
}

fn model(place: &str, finished_us: i64) -> Step {
    Step {
        key: format!("{RUN}/{place}"),
        kind: "llm".to_owned(),
        status: 1,
        epoch: if finished_us < 30 { 1 } else { 2 },
        finished_us: Some(finished_us),
        tokens: [10, 5],
    }
}

fn tool(finished_us: i64) -> Step {
    let (key, kind) = (KEY.to_owned(), "tool".to_owned());
    Step { key, kind, status: 1, epoch: 2, finished_us: Some(finished_us), tokens: [0, 0] }
}

fn call(attempt: i64, begun_us: i64) -> Call {
    Call {
        key: KEY.to_owned(),
        run_id: RUN.to_owned(),
        tool: "one".to_owned(),
        attempt,
        begun_us,
        ended_us: Some(begun_us + 2),
    }
}

fn heard(door: &'static str) -> Heard {
    let mut frames = Vec::new();
    for Event { seq, kind, at_us, data } in events() {
        let text = match kind.as_str() {
            "step" => Text::Whole {
                step_id: data["id"].as_str().unwrap_or_default().to_owned(),
                content: data["content"].as_str().unwrap_or_default().to_owned(),
            },
            "run.resumed" => Text::Void { step_id: None },
            _ => Text::None,
        };
        let connection = if seq < 4 { 1 } else { 2 };
        let data = data.to_string();
        let role = "assistant".to_owned();
        frames.push(Frame { seq, n: 0, kind, text, role, connection, at_us, data });
        if seq == 5 {
            frames.push(piece(1, 0, "It "));
            frames.push(piece(2, 3, "says 4."));
        }
    }
    Heard {
        run_id: RUN.to_owned(),
        door,
        frames,
        connected_us: vec![1, 31],
        ended: true,
        complaints: Vec::new(),
    }
}

fn piece(n: i64, offset: usize, delta: &str) -> Frame {
    let text = Text::Piece { step_id: "stp_2".to_owned(), offset, delta: delta.to_owned() };
    let at_us = 42 + n;
    Frame { seq: 5, n, kind: "token".to_owned(), text, connection: 2, at_us, ..Frame::default() }
}

/// The place of the first live frame.
const LIVE: usize = 5;

/// The names of what is broken, and what is said of it.
fn broken(change: impl FnOnce(&mut History)) -> (Vec<&'static str>, String) {
    let mut history = well();
    change(&mut history);
    let found = check(&history);
    let mut names: Vec<&str> = found.iter().map(|violation| violation.invariant).collect();
    names.dedup();
    (names, found.iter().map(Violation::to_string).collect::<Vec<_>>().join("\n"))
}

fn run(history: &mut History) -> &mut Run {
    history.runs.get_mut(RUN).expect("the run")
}

fn log(history: &mut History) -> &mut Vec<Event> {
    history.events.get_mut(RUN).expect("the log")
}

#[test]
fn where_all_is_well_nothing_is_broken() {
    assert_eq!(check(&well()), []);
    let counts = count(&well(), &[]);
    assert_eq!((counts.calls, counts.in_flight_again, counts.completed_again), (1, 1, 0));
    assert_eq!(live(&well()), (2, 4), "each of two heard one of two messages live");
}

#[test]
fn an_acknowledged_run_that_is_not_there_or_does_not_end_or_says_something_else_breaks_i1() {
    let lost = |history: &mut History| {
        let other = Acknowledged { run_id: "run_2".to_owned(), ..Acknowledged::default() };
        history.acknowledged.push(other);
    };
    assert_eq!(broken(lost).0, ["I1"]);
    let stuck = |history: &mut History| {
        let status = "in_progress".to_owned();
        let live = Run { status, last_seq: 2, attempt: 1, ..Run::default() };
        history.runs.insert("run_2".to_owned(), live);
        history.events.insert("run_2".to_owned(), events()[..2].to_vec());
        let run_id = "run_2".to_owned();
        history.queue.push(Queued { run_id: run_id.clone(), state: 0, worker: None });
        history.acknowledged.push(Acknowledged { run_id, ..Acknowledged::default() });
    };
    assert_eq!(broken(stuck), (vec!["I1"], "I1 run_2: still in_progress".to_owned()));
    assert_eq!(broken(|h| run(h).result = Some("5".to_owned())).0, ["I1"]);
}

#[test]
fn a_log_with_a_gap_a_second_end_or_one_call_twice_breaks_i2() {
    let gap = |history: &mut History| {
        history.heard.clear();
        log(history)[6].seq = 8;
        run(history).last_seq = 8;
    };
    assert_eq!(broken(gap).0, ["I2"]);
    let ends_twice = |history: &mut History| {
        history.heard.clear();
        log(history)[3].kind = "run.failed".to_owned();
    };
    assert_eq!(broken(ends_twice).0, ["I2"]);
    let repeats = |history: &mut History| {
        history.heard.clear();
        log(history)[3] = Event { seq: 4, ..log(history)[4].clone() };
    };
    assert_eq!(broken(repeats).0, ["I2"]);
    assert_eq!(broken(|h| run(h).last_seq = 9).0, ["I2"]);
    assert_eq!(broken(|h| run(h).attempt = 3).0, ["I2"]);
    assert_eq!(broken(|h| run(h).status = "failed".to_owned()).0, ["I2"]);
}

#[test]
fn a_call_after_its_result_or_twice_by_one_claim_or_without_an_intent_breaks_i3() {
    let late = |history: &mut History| history.calls.push(call(3, 36));
    assert_eq!(broken(late).0, ["I3"]);
    let mut history = well();
    late(&mut history);
    assert_eq!(count(&history, &[]).completed_again, 1);
    assert_eq!(broken(|h| h.calls[1].attempt = 1).0, ["I3"]);
    assert_eq!(broken(|h| h.calls[1].key = "run_1/9/9".to_owned()).0, ["I3"]);
    assert_eq!(broken(|h| h.calls.clear()).0, ["I3"]);
}

#[test]
fn a_step_that_an_older_claim_ends_breaks_i3() {
    let old = |history: &mut History| {
        let steps = history.steps.get_mut(RUN).expect("a journal");
        steps[2].epoch = 1;
        // By more than clocks may differ.
        steps[2].finished_us = Some(5_000_000);
    };
    assert_eq!(broken(old).0, ["I3"]);
}

#[test]
fn a_tool_that_may_be_sent_once_and_is_sent_twice_breaks_i4() {
    let twice = |history: &mut History| {
        history.calls.iter_mut().for_each(|call| call.tool = "once".to_owned());
    };
    assert_eq!(broken(twice).0, ["I4"]);
}

#[test]
fn a_follower_that_misses_or_repeats_an_event_breaks_i5() {
    assert_eq!(broken(|h| drop(h.heard[0].frames.remove(1))).0, ["I5"]);
    assert_eq!(broken(|h| drop(h.heard[0].frames.pop())).0, ["I5"]);
    let repeat = |history: &mut History| {
        let again = history.heard[1].frames[2].clone();
        history.heard[1].frames.insert(3, again);
    };
    assert_eq!(broken(repeat).0, ["I5"]);
    let other = |history: &mut History| history.heard[0].frames[1].data = "{}  ".to_owned();
    assert_eq!(broken(other).0, ["I5"]);
    let complains = |h: &mut History| h.heard[0].complaints.push("step 8 after the end".to_owned());
    assert_eq!(broken(complains).0, ["I5"]);
}

#[test]
fn live_text_with_a_gap_a_repeat_or_other_words_breaks_i5() {
    let set = |history: &mut History, offset: usize, delta: &str| {
        history.heard[0].frames[LIVE + 1] = piece(2, offset, delta);
    };
    assert_eq!(broken(|h| set(h, 4, "says 4.")).0, ["I5"]);
    assert_eq!(broken(|h| set(h, 2, "says 4.")).0, ["I5"]);
    assert_eq!(broken(|h| set(h, 3, "says 5.")).0, ["I5"]);
    let void = |history: &mut History| {
        let text = Text::Void { step_id: Some("stp_9".to_owned()) };
        history.heard[0].frames[LIVE - 1].text = Text::None;
        history.heard[0].frames.swap(3, LIVE);
        history.heard[0].frames[LIVE].text = text;
    };
    assert!(broken(void).1.contains("is void"));
}

#[test]
fn live_text_may_break_off_where_a_fault_came_between_and_nowhere_else() {
    let cut = |history: &mut History| drop(history.heard[0].frames.remove(LIVE + 1));
    assert_eq!(broken(cut).0, ["I5"]);
    let hit = |history: &mut History| {
        cut(history);
        history.faults.push(Fault { at_us: 44, until_us: 44, ..Fault::default() });
    };
    assert_eq!(broken(hit).0, [""; 0]);
    let elsewhere = |history: &mut History| {
        cut(history);
        history.whole_text = false;
    };
    assert_eq!(broken(elsewhere).0, [""; 0]);
}

#[test]
fn more_runs_at_once_than_the_cap_break_i6() {
    assert_eq!(broken(|h| h.leased[0].count = 3).0, ["I6"]);
}

#[test]
fn two_runs_of_one_idempotency_key_break_i8() {
    let twin = |history: &mut History| {
        let run = history.runs[RUN].clone();
        history.runs.insert("run_2".to_owned(), Run { last_seq: 0, usage: [0; 4], ..run });
    };
    let (names, text) = broken(twin);
    assert!(names.contains(&"I8"), "{text}");
}

#[test]
fn a_use_that_is_not_the_sum_of_its_steps_breaks_i9() {
    assert_eq!(broken(|h| run(h).usage[1] = 2).0, ["I9"]);
    assert_eq!(broken(|h| run(h).usage[2] = 21).0, ["I9"]);
    let told = |h: &mut History| log(h)[6].data["usage"]["tool_calls"] = json!(3);
    assert_eq!(broken(told).0, ["I9"]);
}

#[test]
fn what_is_left_behind_breaks_i10() {
    let (run_id, worker) = (RUN.to_owned(), Some("worker_1".to_owned()));
    let ended = Queued { run_id, state: 0, worker: None };
    assert_eq!(broken(|h| h.queue.push(ended)).0, ["I10"]);
    let live = |history: &mut History| {
        let status = "in_progress".to_owned();
        let live = Run { status, last_seq: 2, attempt: 1, ..Run::default() };
        history.runs.insert("run_2".to_owned(), live);
        history.events.insert("run_2".to_owned(), events()[..2].to_vec());
    };
    assert_eq!(broken(live).1, "I10 run_2: in_progress, but not queued");
    let leased = |history: &mut History| {
        live(history);
        history.queue.push(Queued { run_id: "run_2".to_owned(), state: 1, worker });
    };
    assert_eq!(broken(leased).1, "I10 run_2: leased to worker_1, who is not there");
}
