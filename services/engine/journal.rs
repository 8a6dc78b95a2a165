//! Writes to a claimed run: one fenced transaction per commit, then the live frames of what was
//! committed. Made by `worker.rs`, called by whatever drives the run through [`Journal`];
//! `finish.rs` writes the last commit with the same pieces.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::attempt::{Commit, Finished, Intent, Journal, StepKind, StepStatus, Stopped, Usage};
use super::events::Draft;
use super::live::Live;
use super::{Engine, complain};
use crate::cache::Durable;
use crate::kernel::ids::{self, Kind};
use crate::kernel::{Error, Reason, Result, Timestamp, faults};
use crate::store::queue::Lease;
use crate::store::{Tx, events, moves, queue, steps};

const TRIES: u32 = 8;
const WAIT_MS: u64 = 50;

/// The journal of one claim.
pub(super) struct Log {
    pub(super) engine: Engine,
    pub(super) lease: Lease,
    pub(super) live: Live,
    pub(super) cancel: CancellationToken,
    /// The process stops: steps under way may end, none may begin.
    pub(super) shutdown: CancellationToken,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Number of the last durable event that this claim knows.
    last_seq: i64,
    /// Steps that were begun and have not ended.
    open: HashSet<(i32, i32)>,
}

/// A commit as the store takes it.
pub(super) struct Entry {
    pub(super) finished: Vec<Finished>,
    results: Vec<String>,
    pub(super) drafts: Vec<Draft>,
    pub(super) used: moves::Used,
    intents: Vec<(Intent, String, String)>,
    last_seq: i64,
}

/// What came of a commit.
enum Written {
    /// The run is no longer ours.
    Fenced,
    /// Done, now or before.
    Done { events: Vec<Durable>, cancel_requested: bool },
}

impl Log {
    pub(super) fn new(
        engine: &Engine,
        lease: Lease,
        seq: i64,
        cancel: CancellationToken,
        shutdown: CancellationToken,
    ) -> Self {
        let inner = &engine.inner;
        let live = Live::new(inner.bus.clone(), inner.clock.clone(), lease.run_id, seq);
        let state = Mutex::new(State { last_seq: seq, open: HashSet::new() });
        Self { engine: engine.clone(), lease, live, cancel, shutdown, state }
    }

    /// The commit as text, and which steps it opens and closes.
    pub(super) fn entry(&self, commit: Commit) -> Result<Entry> {
        Entry::new(self.lease.run_id, commit, self.lock().last_seq)
    }

    /// Tells followers what was committed.
    pub(super) fn committed(&self, events: &[Durable]) {
        if let Some(last) = events.last() {
            self.lock().last_seq = last.seq;
        }
        self.live.committed(events);
    }

    async fn write(&self, mut commit: Commit) -> Result<(), Stopped> {
        let draining = self.shutdown.is_cancelled();
        if draining && !commit.intents.is_empty() {
            // What comes with a beginning waits for it; what has ended is kept.
            if commit.finished.is_empty() {
                return Err(Stopped);
            }
            commit.intents.clear();
        }
        let begun: Vec<_> = commit.intents.iter().map(|i| (i.step, i.call)).collect();
        let ended: Vec<_> = commit.finished.iter().map(|f| (f.step, f.call)).collect();
        let entry = Arc::new(self.entry(commit).map_err(|error| self.give_up(&error))?);
        if !begun.is_empty() {
            faults::point("before_intent");
        }
        let written = self.insist(entry).await.map_err(|error| self.give_up(&error))?;
        let Written::Done { events, cancel_requested } = written else {
            tracing::info!(run_id = %self.lease.run_id, epoch = self.lease.epoch, "fenced");
            return Err(Stopped);
        };
        if !begun.is_empty() {
            faults::point("after_intent");
        }
        if !events.is_empty() {
            faults::point("after_commit_before_publish");
        }
        self.committed(&events);
        if cancel_requested {
            self.cancel.cancel();
        }
        let mut state = self.lock();
        state.open.extend(begun);
        state.open.retain(|step| !ended.contains(step));
        if draining && state.open.is_empty() { Err(Stopped) } else { Ok(()) }
    }

    /// Writes, again and again while the database is away. A write whose answer was lost may have
    /// been done: the next try looks.
    async fn insist(&self, entry: Arc<Entry>) -> Result<Written> {
        let (lease, now) = (self.lease, self.engine.now());
        insist(|again| {
            let entry = Arc::clone(&entry);
            self.engine.store().tx("engine.commit", move |tx| {
                let entry = Arc::clone(&entry);
                Box::pin(async move { write_in(tx, lease, &entry, (now, again)).await })
            })
        })
        .await
    }

    fn give_up(&self, error: &Error) -> Stopped {
        complain("commit", Some(self.lease.run_id), error);
        Stopped
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Journal for Log {
    fn commit(&self, commit: Commit) -> BoxFuture<'_, Result<(), Stopped>> {
        Box::pin(self.write(commit))
    }

    fn token(&self, step_id: &str, offset: usize, delta: &str) {
        self.live.token(step_id, offset, delta);
    }

    fn hold(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.engine.holds())
    }
}

impl Entry {
    fn new(run_id: Uuid, commit: Commit, last_seq: i64) -> Result<Self> {
        let drafts = commit.events.into_iter().map(|event| {
            let data = serde_json::to_string(&event.data).map_err(Error::internal)?;
            Ok(Draft { r#type: event.r#type.into(), data: data.into() })
        });
        let run = ids::format(Kind::Run, run_id);
        let intents = commit.intents.into_iter().map(|intent| {
            let key = format!("{run}/{}/{}", intent.step, intent.call);
            let request = text(&intent.request);
            (intent, key, request)
        });
        Ok(Self {
            results: commit.finished.iter().map(|finished| text(&finished.result)).collect(),
            finished: commit.finished,
            drafts: drafts.collect::<Result<_>>()?,
            used: commit.usage.into(),
            intents: intents.collect(),
            last_seq,
        })
    }

    /// Ends the steps.
    pub(super) async fn end_steps(&self, tx: &Tx, writer: steps::Writer) -> Result<()> {
        for (finished, result) in self.finished.iter().zip(&self.results) {
            let Finished { step, call, .. } = *finished;
            let status = status(finished.status);
            if !steps::end(tx, writer, steps::Ended { step, call, status, result }).await? {
                let text = format!("the step {step}/{call} was not begun, or has ended");
                return Err(Error::internal(text));
            }
        }
        Ok(())
    }

    async fn begin_steps(&self, tx: &Tx, writer: steps::Writer) -> Result<()> {
        for (Intent { step, call, kind, .. }, idem_key, request) in &self.intents {
            let kind = match kind {
                StepKind::Llm => "llm",
                StepKind::Tool => "tool",
            };
            let begun = steps::Begun { step: *step, call: *call, kind, idem_key, request };
            steps::begin(tx, writer, begun).await?;
        }
        Ok(())
    }

    /// The events as they were committed by an earlier try, if they were; a commit without events
    /// shows by its steps.
    async fn found(&self, tx: &Tx, lease: Lease) -> Result<Option<Vec<Durable>>> {
        let rows = events::after(tx, lease.run_id, self.last_seq, 1000).await?;
        let log: Vec<Durable> = rows.into_iter().map(Durable::from).collect();
        if !self.drafts.is_empty() {
            let same = |window: &[Durable]| {
                let mut pairs = window.iter().zip(&self.drafts);
                pairs.all(|(event, draft)| event.is(draft))
            };
            return Ok(log.windows(self.drafts.len()).find(|w| same(w)).map(<[_]>::to_vec));
        }
        let Some(first) = self.finished.first() else { return Ok(None) };
        let journal = steps::list(tx, lease.run_id).await?;
        let ended = |row: &steps::Row| {
            (row.step, row.call) == (first.step, first.call)
                && row.status != 0
                && row.epoch == lease.epoch
        };
        Ok(journal.iter().any(ended).then(Vec::new))
    }
}

impl Durable {
    fn is(&self, draft: &Draft) -> bool {
        self.r#type == draft.r#type && self.data == draft.data
    }
}

async fn write_in(
    tx: &Tx,
    lease: Lease,
    entry: &Entry,
    (now, again): (Timestamp, bool),
) -> Result<Written> {
    let new = i64::try_from(entry.drafts.len()).unwrap_or(i64::MAX);
    let gets_on = !entry.finished.is_empty();
    let ask = if again { 0 } else { new };
    let Some(passed) = queue::pass(tx, lease, ask, gets_on).await? else {
        return Ok(Written::Fenced);
    };
    let (first, cancel_requested) = (passed.next_seq - ask, passed.cancel_requested);
    if again {
        if let Some(events) = entry.found(tx, lease).await? {
            return Ok(Written::Done { events, cancel_requested });
        }
        queue::pass(tx, lease, new, gets_on).await?;
    }
    let writer = steps::Writer { run_id: lease.run_id, epoch: lease.epoch, now };
    entry.end_steps(tx, writer).await?;
    entry.begin_steps(tx, writer).await?;
    let events = append(tx, lease.run_id, first, &entry.drafts, now).await?;
    if new > 0 || !entry.used.is_nothing() {
        moves::note(tx, lease.run_id, entry.used, first + new - 1).await?;
    }
    Ok(Written::Done { events, cancel_requested })
}

/// Appends drafts, the first with the number `seq`.
pub(super) async fn append(
    tx: &Tx,
    run_id: Uuid,
    seq: i64,
    drafts: &[Draft],
    now: Timestamp,
) -> Result<Vec<Durable>> {
    let numbered: Vec<Durable> = (seq..)
        .zip(drafts)
        .map(|(seq, Draft { r#type, data })| Durable {
            seq,
            r#type: r#type.clone(),
            data: data.clone(),
            at: now,
        })
        .collect();
    let rows: Vec<_> = numbered
        .iter()
        .map(|e| events::New { run_id, seq: e.seq, r#type: &e.r#type, data: &e.data })
        .collect();
    events::append(tx, &rows, now).await?;
    Ok(numbered)
}

/// Does something again while the database is away; each try is told whether it is not the first.
pub(super) async fn insist<T, F>(mut attempt: impl FnMut(bool) -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    for tried in 0..TRIES {
        match attempt(tried > 0).await {
            Err(error) if error.reason == Reason::Unavailable => {
                tokio::time::sleep(Duration::from_millis(WAIT_MS << tried.min(4))).await;
            }
            other => return other,
        }
    }
    attempt(true).await
}

fn text(value: &Value) -> String {
    value.to_string()
}

fn status(status: StepStatus) -> i16 {
    match status {
        StepStatus::Started => 0,
        StepStatus::Ok => 1,
        StepStatus::Error => 2,
        StepStatus::Unknown => 3,
    }
}

impl From<Usage> for moves::Used {
    fn from(usage: Usage) -> Self {
        let Usage { input_tokens, output_tokens, model_calls, tool_calls } = usage;
        Self { input_tokens, output_tokens, model_calls, tool_calls }
    }
}

impl From<moves::Used> for Usage {
    fn from(used: moves::Used) -> Self {
        let moves::Used { input_tokens, output_tokens, model_calls, tool_calls } = used;
        Self { input_tokens, output_tokens, model_calls, tool_calls }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, json};

    use super::super::attempt::NewEvent;
    use super::super::{EngineConfig, NewRun, RunLimits};
    use super::*;
    use crate::cache::Bus;
    use crate::kernel::{Clock, Environment, Scope};
    use crate::store::{Store, StoreConfig, workers};

    const SCOPE: Scope = Scope { project: Uuid::nil(), environment: Environment::Test };

    /// A run that a worker has just taken.
    async fn taken(folder: &tempfile::TempDir) -> Log {
        let url = format!("sqlite:{}", folder.path().join("engine.db").display());
        let (clock, config) = (Clock::manual(Timestamp(1_000_000)), StoreConfig::default());
        let store = Store::open(&StoreConfig { url, ..config }, clock.clone()).await.unwrap();
        let engine = Engine::new(store.clone(), Bus::memory(), clock, EngineConfig::default());
        let spec = json!({ "name": "a", "model": "sim", "max_steps": 1, "timeout_seconds": 9 });
        let new = NewRun {
            agent_id: Uuid::nil(),
            agent_version: 1,
            spec: Arc::new(serde_json::from_value(spec).unwrap()),
            input: Value::Null,
            parameters: Map::new(),
            timeout: None,
            metadata: Map::new(),
            session_id: None,
            key_id: None,
            limits: RunLimits::lane(1),
        };
        engine.create(SCOPE, new).await.unwrap();
        let (worker, now) = (Uuid::max(), engine.now());
        store
            .tx("test", move |tx| Box::pin(workers::register(tx, worker, 0, now, now)))
            .await
            .unwrap();
        let round = engine.claim(worker, 1).await.unwrap().unwrap();
        let (lease, seq) = (round.taken[0].claimed.lease, round.taken[0].event.seq);
        Log::new(&engine, lease, seq, CancellationToken::new(), CancellationToken::new())
    }

    async fn write(log: &Log, entry: &Arc<Entry>, again: bool) -> Written {
        let (lease, now, entry) = (log.lease, log.engine.now(), Arc::clone(entry));
        let job = log.engine.store().tx("test", move |tx| {
            let entry = Arc::clone(&entry);
            Box::pin(async move { write_in(tx, lease, &entry, (now, again)).await })
        });
        job.await.unwrap()
    }

    fn events(written: Written) -> Vec<Durable> {
        match written {
            Written::Done { events, .. } => events,
            Written::Fenced => unreachable!("the run is ours"),
        }
    }

    fn commits() -> [Commit; 3] {
        let (step, call, kind) = (0, 0, StepKind::Llm);
        let begun = Intent { step, call, kind, request: json!({ "n": 1 }) };
        let ended = Finished { step, call, status: StepStatus::Ok, result: json!("x") };
        let event = |n: i32| NewEvent { r#type: "step", data: json!({ "id": n }) };
        let used = Usage { input_tokens: 1, output_tokens: 2, model_calls: 1, tool_calls: 0 };
        [
            Commit { intents: vec![begun], events: vec![event(1)], ..Commit::default() },
            Commit { finished: vec![ended], usage: used, ..Commit::default() },
            Commit { events: vec![event(2), event(3)], ..Commit::default() },
        ]
    }

    #[tokio::test]
    async fn a_commit_whose_answer_was_lost_is_written_once() {
        let folder = tempfile::tempdir().unwrap();
        let log = taken(&folder).await;
        for commit in commits() {
            let entry = Arc::new(log.entry(commit).unwrap());
            let first = events(write(&log, &entry, false).await);
            let again = events(write(&log, &entry, true).await);
            assert_eq!(first, again, "the second try finds what the first one wrote");
            log.committed(&first);
        }
        let (conn, run_id) = (log.engine.store().read(), log.lease.run_id);
        let log_rows = events::after(conn, run_id, 0, 100).await.unwrap();
        let numbers: Vec<i64> = log_rows.iter().map(|row| row.seq).collect();
        assert_eq!(numbers, [1, 2, 3, 4, 5]);
        let run = crate::store::runs::get(conn, SCOPE, run_id).await.unwrap();
        assert_eq!((run.input_tokens, run.output_tokens, run.last_seq), (1, 2, 5));
        assert_eq!(steps::list(conn, run_id).await.unwrap()[0].attempt, 1);
    }

    #[tokio::test]
    async fn a_commit_that_was_not_written_is_written_by_the_next_try() {
        let folder = tempfile::tempdir().unwrap();
        let log = taken(&folder).await;
        for commit in commits() {
            let entry = Arc::new(log.entry(commit).unwrap());
            log.committed(&events(write(&log, &entry, true).await));
        }
        let rows = events::after(log.engine.store().read(), log.lease.run_id, 0, 100).await;
        assert_eq!(rows.unwrap().len(), 5);
    }
}
