//! One history: what each step does to the model and, through the engine's own functions, to the
//! store; and that both say the same after it.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use runplane::engine::attempt::{
    Commit, Finished, Intent, NewEvent, PendingCall, StepKind, StepStatus,
};
use runplane::engine::{Engine, Hand, Held, Output, Status};
use runplane::kernel::{Clock, Timestamp, faults};
use runplane::store::queue::Release;
use serde_json::{Map, json};
use uuid::Uuid;

use super::reference::{self, PATIENCE, Place, Run};
use super::steps::Op;
use super::system::{SCOPE, System};

/// Most runs of a history.
const RUNS_MAX: usize = 8;

/// One history: the model, and hands and claims of the real engine.
pub struct History<'a> {
    system: &'a System,
    engine: Engine,
    clock: Clock,
    runs: Vec<Run>,
    /// Workers that ever were, and whether each is on the list.
    hands: Vec<(Hand, bool)>,
    /// Claims that ever were and that somebody still knows of, with their worker.
    held: Vec<(Held, Uuid)>,
    /// Makes results that differ.
    results: i64,
}

/// Loses the answer of the first transaction, if it is to be.
async fn losing<T>(lost: bool, work: impl Future<Output = T>) -> T {
    faults::losing(u32::from(lost), work).await
}

impl<'a> History<'a> {
    pub async fn begin(system: &'a System) -> Self {
        let (engine, clock) = (system.begin().await, system.clock.clone());
        let (runs, hands, held) = (Vec::new(), Vec::new(), Vec::new());
        let mut history = Self { system, engine, clock, runs, hands, held, results: 0 };
        for _ in 0..2 {
            history.hire().await;
        }
        history
    }

    async fn hire(&mut self) {
        self.hands.push((self.engine.by_hand().await.expect("a worker"), true));
    }

    fn now(&self) -> i64 {
        self.clock.now().0
    }

    /// Takes the step on both, and compares.
    pub async fn step(&mut self, op: Op) {
        match op {
            Op::Create { capped } => self.create(capped).await,
            Op::Claim { worker, most, lost } => self.claim(worker, most, lost).await,
            Op::Beat { worker } => self.beat(worker).await,
            Op::Reap { worker, late } => self.reap(worker, late).await,
            Op::Crash { worker } => {
                let id = self.hands[worker % self.hands.len()].0.id();
                self.held.retain(|(_, of)| *of != id);
                if self.hands.iter().filter(|(_, listed)| *listed).count() < 4 {
                    self.hire().await;
                }
            }
            Op::Begin { held, .. }
            | Op::End { held, .. }
            | Op::EndAgain { held }
            | Op::Complete { held, .. }
            | Op::ConfirmCancel { held, .. }
            | Op::Park { held, .. }
            | Op::Release { held, .. } => self.drive(held, op).await,
            Op::Submit { run, lost } => self.submit(run, lost).await,
            Op::Cancel { run, lost } => self.cancel(run, lost).await,
            Op::Sweep { lost } => {
                if losing(lost, self.engine.sweep_by_hand()).await.is_err() {
                    self.engine.sweep_by_hand().await.expect("the next one does the rest");
                }
                let now = self.now();
                self.runs.iter_mut().for_each(|run| run.sweep(now));
            }
            Op::Pass { seconds } => self.clock.advance(Duration::from_secs(seconds)),
        }
        let expected: BTreeMap<Uuid, Run> =
            self.runs.iter().map(|run| (run.id, seen(run))).collect();
        assert_eq!(self.system.runs().await, expected, "after {op:?}");
    }

    async fn create(&mut self, capped: bool) {
        if self.runs.len() < RUNS_MAX {
            let new = self.system.new_run(capped);
            let created = self.engine.create(SCOPE, new).await.expect("created");
            self.runs.push(Run::new(created.run_id, capped, self.now()));
        }
    }

    async fn claim(&mut self, worker: usize, most: usize, lost: bool) {
        let place = worker % self.hands.len();
        let (hand, listed) = self.hands[place].clone();
        let claimed = losing(lost, hand.claim(most)).await;
        if listed {
            for id in reference::claimable(&self.runs, most, self.now()) {
                let run = self.runs.iter_mut().find(|run| run.id == id);
                run.expect("a run").claim(hand.id());
            }
        }
        match claimed {
            Ok(Some(claimed)) => {
                assert!(listed, "a worker that was reaped claims");
                self.held.extend(claimed.into_iter().map(|held| (held, hand.id())));
            }
            Ok(None) => assert!(!listed, "a worker that is on the list may claim"),
            Err(error) => assert!(lost, "{error}"),
        }
    }

    /// A heartbeat, and what it finds that nobody knows of is given back.
    async fn beat(&mut self, worker: usize) {
        let place = worker % self.hands.len();
        let (hand, listed) = self.hands[place].clone();
        let Some(found) = hand.beat().await.expect("an answer") else {
            return assert!(!listed, "a worker that is on the list beats");
        };
        assert!(listed, "a worker that was reaped beats");
        let mine = |run: &&Run| run.place == Place::Leased(hand.id());
        assert_eq!(found.len(), self.runs.iter().filter(mine).count());
        for (lease, cancel) in found {
            let now = self.now();
            let run = self.runs.iter_mut().find(|run| run.id == lease.run_id).expect("a run");
            assert!(run.is_held(lease.epoch) && cancel == run.cancel.is_some(), "{run:?}");
            if !self.held.iter().any(|(held, _)| held.lease() == lease) {
                hand.give_back(lease).await.expect("given back");
                run.give_back(false, now);
            }
        }
    }

    async fn reap(&mut self, worker: usize, late: bool) {
        let place = worker % self.hands.len();
        let (hand, listed) = self.hands[place].clone();
        let beat = self.system.beat_of(hand.id()).await;
        assert_eq!(beat.is_some(), listed);
        let beat = beat.unwrap_or(0) - i64::from(late);
        let reaped = self.engine.reap_by_hand(hand.id(), beat).await.expect("an answer");
        assert_eq!(reaped, listed && !late, "who has beaten since is not reaped");
        if reaped {
            self.hands[place].1 = false;
            let now = self.now();
            let of_it = self.runs.iter_mut().filter(|run| run.place == Place::Leased(hand.id()));
            of_it.for_each(|run| run.give_back(true, now));
            if !self.hands.iter().any(|(_, listed)| *listed) {
                self.hire().await;
            }
        }
    }

    /// What a claim does with its run, whether it is still its or not.
    async fn drive(&mut self, held: usize, op: Op) {
        if self.held.is_empty() {
            return;
        }
        let (now, place) = (self.now(), held % self.held.len());
        let held = &self.held[place].0;
        let run = self.runs.iter_mut().find(|run| run.id == held.lease().run_id).expect("a run");
        self.results += 1;
        match op {
            Op::Begin { .. } | Op::End { .. } | Op::EndAgain { .. } => {
                work(held, run, op, self.results).await;
            }
            _ => settle(held, run, op, (self.results, now)).await,
        }
    }

    async fn submit(&mut self, run: usize, lost: bool) {
        if self.runs.is_empty() {
            return;
        }
        let (now, place) = (self.now(), run % self.runs.len());
        let run = &mut self.runs[place];
        let output = Output { call_id: "call_1".to_owned(), output: json!(1), is_error: false };
        let submit = self.engine.submit(SCOPE, run.id, None, vec![output]);
        let waits = run.status == Status::RequiresAction;
        assert_eq!(losing(lost, submit).await.is_ok(), waits && !lost, "{run:?}");
        if waits {
            run.feed(now);
        }
    }

    async fn cancel(&mut self, run: usize, lost: bool) {
        if self.runs.is_empty() {
            return;
        }
        let (now, place) = (self.now(), run % self.runs.len());
        let run = &mut self.runs[place];
        let may = !run.status.is_terminal() || run.status == Status::Cancelled;
        let asked = losing(lost, self.engine.cancel(SCOPE, run.id)).await;
        assert_eq!(asked.is_ok(), may && !lost, "{asked:?} {run:?}");
        if may && run.cancel.is_none() {
            run.ask_cancel(now);
        }
        if let Ok(status) = asked {
            assert_eq!(status, run.status);
        }
    }
}

/// A step of the journal begins or ends.
async fn work(held: &Held, run: &mut Run, op: Op, result: i64) {
    let (ours, open) = (run.is_held(held.lease().epoch), run.open_step());
    match op {
        Op::Begin { lost, .. } => {
            let step = open.unwrap_or_else(|| i32::try_from(run.steps.len()).expect("few"));
            let done = losing(lost, held.commit(begin(step))).await;
            assert_eq!(done.is_ok(), ours, "{op:?}: {run:?}");
            if ours {
                run.begin(step);
            }
        }
        Op::End { lost, .. } => {
            let Some(step) = open else { return };
            let done = losing(lost, held.commit(end(step, result, true))).await;
            assert_eq!(done.is_ok(), ours, "{op:?}: {run:?}");
            if ours {
                run.end_step(step, json!(result).to_string());
            }
        }
        _ => {
            let ended = run.steps.iter().find(|(_, step)| step.status != 0);
            let Some((step, _)) = ended else { return };
            let done = held.commit(end(*step, result, false)).await;
            assert!(done.is_err(), "a step ends twice: {run:?}");
        }
    }
}

/// The claim ends.
async fn settle(held: &Held, run: &mut Run, op: Op, (result, now): (i64, i64)) {
    let (ours, open) = (run.is_held(held.lease().epoch), run.open_step());
    let cancelled = run.cancel.is_some();
    match op {
        Op::Complete { lost, .. } => {
            let last = open.map(|step| end(step, result, true)).unwrap_or_default();
            losing(lost, held.complete(last)).await.expect("settled");
            if ours {
                open.into_iter().for_each(|step| run.end_step(step, json!(result).to_string()));
                run.end(Status::Completed);
            }
        }
        Op::ConfirmCancel { lost, .. } => {
            losing(lost, held.confirm_cancel()).await.expect("settled");
            match ours {
                true if cancelled => run.end(Status::Cancelled),
                true => run.give_back(false, now),
                false => {}
            }
        }
        Op::Park { lost, .. } => {
            losing(lost, held.park(vec![pending(now)])).await.expect("settled");
            match ours {
                true if cancelled => run.end(Status::Cancelled),
                true => run.park(now),
                false => {}
            }
        }
        Op::Release { stalled, lost, .. } => {
            let how = if stalled { Release::Stalled } else { Release::Orderly };
            let done = losing(lost, held.release(how)).await;
            assert_eq!(done.is_ok(), !lost, "{done:?}");
            if ours {
                run.give_back(stalled, now);
            }
        }
        _ => {}
    }
}

/// The model's run as far as the store tells of it: of one that has ended the queue knows nothing.
fn seen(run: &Run) -> Run {
    let mut run = run.clone();
    if run.place == Place::Over {
        (run.epoch, run.stalls, run.cancel) = (0, 0, None);
    }
    run
}

fn begin(step: i32) -> Commit {
    let (request, kind) = (json!({"message_id": format!("stp_{step}")}), StepKind::Llm);
    let intents = vec![Intent { step, call: 0, kind, request }];
    Commit { intents, ..Commit::default() }
}

fn end(step: i32, result: i64, told: bool) -> Commit {
    let event = NewEvent { r#type: "step", data: json!({"id": step, "result": result}) };
    let status = StepStatus::Ok;
    Commit {
        finished: vec![Finished { step, call: 0, status, result: json!(result) }],
        events: told.then_some(event).into_iter().collect(),
        ..Commit::default()
    }
}

fn pending(now: i64) -> PendingCall {
    let deadline = Timestamp(now + PATIENCE);
    let (id, name) = ("call_1".to_owned(), "ask".to_owned());
    PendingCall { id, name, arguments: Map::new(), deadline }
}
