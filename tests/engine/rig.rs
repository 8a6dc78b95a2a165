//! An engine on an empty database, workers that can be killed, and drivers that follow a script.

use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt, StreamExt};
use runplane::cache::{Bus, EventId};
use runplane::engine::attempt::{
    Attempt, Commit, Drive, Finished, Intent, NewEvent, Outcome, PendingCall, StepKind, StepStatus,
    Usage,
};
use runplane::engine::{Engine, EngineConfig, Event, NewRun, RunLimits, Status, Until};
use runplane::kernel::spec::AgentSpec;
use runplane::kernel::{Environment, Scope};
use runplane::store::tables::run_queue;
use runplane::store::{agents, runs, steps};
use sea_orm::EntityTrait;
use serde_json::{Map, Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

use crate::harness::databases::Database;

/// Longer than anything here takes.
pub const LONG: Duration = Duration::from_secs(30);

pub const SCOPE: Scope = Scope { project: Uuid::from_u128(1), environment: Environment::Test };

pub struct Rig {
    /// Ends what looks for followers of its engines.
    watching: DropGuard,
    pub db: Database,
    pub engine: Engine,
    pub config: EngineConfig,
    /// Of the runs that it makes.
    pub limits: RunLimits,
    agent_id: Uuid,
    spec: Arc<AgentSpec>,
}

/// Lets an engine look for its followers until the rig goes.
fn watch(engine: &Engine, until: &DropGuard) {
    let (engine, stop) = (engine.clone(), until.token().clone());
    tokio::spawn(async move { engine.watch(&stop).await });
}

/// A worker at work.
pub struct Working {
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

impl Rig {
    pub async fn new(db: Database) -> Self {
        Self::with(db, |_| ()).await
    }

    pub async fn with(db: Database, change: impl FnOnce(&mut EngineConfig)) -> Self {
        let mut config =
            EngineConfig { heartbeat_ms: 40, poll_ms: 10, idle_ms: 50, ..EngineConfig::default() };
        change(&mut config);
        let spec: AgentSpec = serde_json::from_value(json!({
            "name": "scripted", "model": "sim", "max_steps": 10, "timeout_seconds": 3600,
        }))
        .expect("a spec");
        let (agent_id, agent, now) = (Uuid::from_u128(7), spec.clone(), db.clock.now());
        db.store
            .tx("test.agent", move |tx| {
                let agent = agent.clone();
                Box::pin(
                    async move { agents::insert(tx, SCOPE, agent_id, &agent, now).await.map(drop) },
                )
            })
            .await
            .expect("an agent");
        let bus = Bus::memory();
        let engine = Engine::new(db.store.clone(), bus, db.clock.clone(), config.clone());
        let watching = CancellationToken::new().drop_guard();
        watch(&engine, &watching);
        let limits = RunLimits::lane(1000);
        Self { watching, db, engine, config, limits, agent_id, spec: Arc::new(spec) }
    }

    /// Another replica: an engine of its own on the same database, without a common bus.
    pub fn replica(&self) -> Engine {
        let (store, clock) = (self.db.store.clone(), self.db.clock.clone());
        let engine = Engine::new(store, Bus::memory(), clock, self.config.clone());
        watch(&engine, &self.watching);
        engine
    }

    pub fn new_run(&self) -> NewRun {
        NewRun {
            agent_id: self.agent_id,
            agent_version: 1,
            spec: Arc::clone(&self.spec),
            input: json!("hello"),
            parameters: Map::new(),
            timeout: None,
            metadata: Map::new(),
            session_id: None,
            key_id: None,
            limits: self.limits,
        }
    }

    pub async fn create(&self) -> Uuid {
        self.engine.create(SCOPE, self.new_run()).await.expect("created").run_id
    }

    pub async fn ended(&self, run: Uuid) -> Status {
        self.wait(run, Until::Terminal).await
    }

    pub async fn wait(&self, run: Uuid, until: Until) -> Status {
        self.engine.wait(SCOPE, run, LONG, until).await.expect("waited")
    }

    /// Waits until some of these runs is in this state: all of them for what may be waited for, one
    /// for a state that passes.
    pub async fn wait_for(&self, runs: impl IntoIterator<Item = Uuid> + Clone, status: Status) {
        let until = async {
            loop {
                let mut all = Vec::new();
                for run in runs.clone() {
                    all.push(self.status(run).await == status);
                }
                let reached = match status {
                    Status::InProgress => all.contains(&true),
                    _ => !all.contains(&false),
                };
                if reached {
                    return;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(LONG, until).await.expect("they get there");
    }

    pub async fn status(&self, run: Uuid) -> Status {
        Status::parse(&self.row(run).await.status).expect("a status")
    }

    pub async fn row(&self, run: Uuid) -> runs::Run {
        runs::get(self.db.store.read(), SCOPE, run).await.expect("a run")
    }

    pub async fn journal(&self, run: Uuid) -> Vec<steps::Row> {
        steps::list(self.db.store.read(), run).await.expect("a journal")
    }

    pub async fn queued(&self) -> Vec<run_queue::Model> {
        run_queue::Entity::find().all(self.db.store.read()).await.expect("a queue")
    }

    /// The whole log, checked: numbers from 1 without gaps, nothing after the end, the run row
    /// agrees.
    pub async fn log(&self, run: Uuid) -> Vec<Event> {
        let page = self.engine.events_page(SCOPE, run, 0, 1000).await.expect("a log");
        assert!(!page.has_more);
        let numbers: Vec<i64> = page.events.iter().map(|event| event.id.seq).collect();
        assert_eq!(numbers, (1..=page.events.len() as i64).collect::<Vec<_>>());
        let ends = |event: &Event| runplane::engine::state::ends_log(&event.r#type);
        let end = page.events.iter().position(ends);
        let row = self.row(run).await;
        assert_eq!(row.last_seq, page.events.len() as i64);
        let terminal = Status::parse(&row.status).expect("a status").is_terminal();
        assert_eq!(end, terminal.then(|| page.events.len() - 1), "the end is the last");
        assert_eq!(self.queued().await.iter().any(|queued| queued.run_id == run), !terminal);
        page.events
    }

    pub async fn types(&self, run: Uuid) -> Vec<String> {
        self.log(run).await.iter().map(|event| event.r#type.to_string()).collect()
    }

    /// The last event's data.
    pub async fn last(&self, run: Uuid) -> Value {
        data(self.log(run).await.last().expect("an event"))
    }

    /// Follows from a position to the end.
    pub async fn follow(&self, run: Uuid, after: EventId) -> Vec<Event> {
        let events = self.engine.follow(SCOPE, run, after).await.expect("followed");
        let all = events.map(|event| event.expect("an event")).collect::<Vec<_>>();
        tokio::time::timeout(LONG, all).await.expect("the stream ends")
    }

    pub fn work(&self, drive: Drive) -> Working {
        Working::start(&self.engine, drive)
    }
}

impl Working {
    pub fn start(engine: &Engine, drive: Drive) -> Self {
        let (engine, shutdown) = (engine.clone(), CancellationToken::new());
        let stop = shutdown.clone();
        let task = tokio::spawn(async move { engine.run(drive, stop).await.expect("it works") });
        Self { shutdown, task }
    }

    /// Tells it to end.
    pub fn tell(&self) {
        self.shutdown.cancel();
    }

    /// Ends it in order.
    pub async fn stop(self) {
        self.shutdown.cancel();
        tokio::time::timeout(LONG, self.task).await.expect("it drains").expect("no panic");
    }

    /// Ends its beat and its claims at once, without a word to the database. What it drives goes
    /// on: a zombie.
    pub async fn kill(self) {
        self.task.abort();
        assert!(self.task.await.expect_err("killed").is_cancelled());
    }
}

/// A driver from a function.
pub fn driver<F>(script: impl Fn(Attempt) -> F + Send + Sync + 'static) -> Drive
where
    F: Future<Output = Outcome> + Send + 'static,
{
    Arc::new(move |attempt| script(attempt).boxed())
}

/// A driver that completes at once.
pub fn instant() -> Drive {
    driver(|attempt| async move { complete(&attempt).await })
}

/// One model call, then the end.
pub async fn complete(attempt: &Attempt) -> Outcome {
    if attempt.journal.commit(begin(0)).await.is_err() {
        return Outcome::Stopped;
    }
    Outcome::Completed(end(0), json!("done"))
}

/// The intent of a round's model call.
pub fn begin(step: i32) -> Commit {
    let request = json!({ "message_id": format!("stp_{step}") });
    let intent = Intent { step, call: 0, kind: StepKind::Llm, request };
    Commit { intents: vec![intent], ..Commit::default() }
}

/// The end of a round's model call, with its message.
pub fn end(step: i32) -> Commit {
    let (id, result) = (format!("stp_{step}"), json!({ "n": step }));
    let message = json!({ "id": id, "role": "assistant", "content": "abc" });
    Commit {
        finished: vec![Finished { step, call: 0, status: StepStatus::Ok, result }],
        events: vec![NewEvent { r#type: "step", data: message }],
        usage: Usage { input_tokens: 10, output_tokens: 5, model_calls: 1, tool_calls: 0 },
        intents: Vec::new(),
    }
}

/// True when the journal has the end of a round's model call.
pub fn has(attempt: &Attempt, step: i32) -> bool {
    attempt.history.iter().any(|r| r.step == step && r.status == StepStatus::Ok)
}

/// Waits for these calls, an hour from the run's creation at most.
pub fn park(attempt: &Attempt, ids: &[&str]) -> Outcome {
    let call = |id: &&str| PendingCall {
        id: (*id).to_owned(),
        name: "ask".to_owned(),
        arguments: Map::new(),
        deadline: attempt.run.created_at.plus(Duration::from_secs(60)),
    };
    Outcome::Park(Commit::default(), ids.iter().map(call).collect())
}

pub fn data(event: &Event) -> Value {
    serde_json::from_str(&event.data).expect("JSON")
}
