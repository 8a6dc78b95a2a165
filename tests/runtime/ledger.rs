//! A journal in memory, with the engine's rules about intents and ends, and short ways to make a
//! claim of a run.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use runplane::engine::attempt::{
    Attempt, Commit, Journal, Outcome, Pinned, Recorded, StepStatus, Stopped, Submitted, Usage,
};
use runplane::kernel::config::{ProviderConfig, ProviderKind};
use runplane::kernel::models::ModelTable;
use runplane::kernel::spec::AgentSpec;
use runplane::kernel::{Clock, Environment, Scope, Timestamp, ids};
use runplane::runtime::{Runtime, RuntimeConfig};
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::harness::fake_models::{Dialect, FakeModels};

/// Signs the calls of every project.
pub const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
/// When every test begins: 2026-01-01T00:00:00Z.
pub const START: Timestamp = Timestamp(1_767_225_600_000_000);

/// What a run has written so far.
#[derive(Default)]
pub struct Ledger {
    state: Mutex<State>,
}

#[derive(Default, Clone)]
struct State {
    commits: Vec<Commit>,
    tokens: Vec<(String, usize, String)>,
    room: Option<usize>,
}

impl Ledger {
    /// One that has these commits already and takes `room` more; after that the claim is no longer
    /// ours.
    pub fn of(commits: Vec<Commit>, room: Option<usize>) -> Arc<Self> {
        let room = room.map(|room| room + commits.len());
        Arc::new(Self { state: Mutex::new(State { commits, tokens: Vec::new(), room }) })
    }

    /// Every commit, in order.
    pub fn commits(&self) -> Vec<Commit> {
        self.state.lock().expect("state").commits.clone()
    }

    /// Adds the commit that came with an outcome. Nothing may begin in it: nobody would do it.
    pub fn add(&self, commit: &Commit) {
        assert!(commit.intents.is_empty(), "{:?}", commit.intents);
        self.state.lock().expect("state").commits.push(commit.clone());
        drop(self.history());
    }

    /// Every event, in order.
    pub fn events(&self) -> Vec<(&'static str, Value)> {
        let commits = self.commits();
        commits.into_iter().flat_map(|c| c.events).map(|e| (e.r#type, e.data)).collect()
    }

    /// The types of the events, in order; a step with its role.
    pub fn types(&self) -> Vec<String> {
        let told = |(name, data): (&str, Value)| match name {
            "step" => format!("step {}", data["role"].as_str().unwrap_or_default()),
            name => name.to_owned(),
        };
        self.events().into_iter().map(told).collect()
    }

    /// The data of the only event of this type.
    pub fn event(&self, name: &str) -> Value {
        let mut found: Vec<Value> =
            self.events().into_iter().filter(|(n, _)| *n == name).map(|(_, data)| data).collect();
        assert_eq!(found.len(), 1, "{name}");
        found.remove(0)
    }

    /// The contents of the messages of this role.
    pub fn contents(&self, role: &str) -> Vec<String> {
        let steps = self.events().into_iter().filter(|(name, _)| *name == "step");
        steps
            .filter(|(_, data)| data["role"] == role)
            .map(|(_, data)| data["content"].as_str().unwrap_or_default().to_owned())
            .collect()
    }

    /// The live text: message, offset, delta.
    pub fn tokens(&self) -> Vec<(String, usize, String)> {
        self.state.lock().expect("state").tokens.clone()
    }

    /// All that was used.
    pub fn usage(&self) -> Usage {
        self.commits().iter().fold(Usage::default(), |sum, commit| Usage {
            input_tokens: sum.input_tokens + commit.usage.input_tokens,
            output_tokens: sum.output_tokens + commit.usage.output_tokens,
            model_calls: sum.model_calls + commit.usage.model_calls,
            tool_calls: sum.tool_calls + commit.usage.tool_calls,
        })
    }

    /// The journal, as the engine would read it back. Fails on an end without an intent, or a
    /// second end.
    pub fn history(&self) -> Vec<Recorded> {
        let mut rows: BTreeMap<(i32, i32), Recorded> = BTreeMap::new();
        for commit in self.commits() {
            for end in commit.finished {
                let row = rows.get_mut(&(end.step, end.call)).expect("an end has an intent");
                assert_eq!(row.status, StepStatus::Started, "a step ends once");
                (row.status, row.result) = (end.status, end.result);
            }
            for intent in commit.intents {
                let row = rows.entry((intent.step, intent.call)).or_insert_with(|| Recorded {
                    step: intent.step,
                    call: intent.call,
                    kind: intent.kind,
                    status: StepStatus::Started,
                    attempt: 0,
                    request: Value::Null,
                    result: Value::Null,
                });
                assert_eq!(row.status, StepStatus::Started, "a step that ended never begins again");
                row.attempt += 1;
                row.request = intent.request;
            }
        }
        rows.into_values().collect()
    }
}

/// The journal that a claim writes to.
struct Pen(Arc<Ledger>);

impl Journal for Pen {
    fn commit(&self, commit: Commit) -> BoxFuture<'_, Result<(), Stopped>> {
        let mut state = self.0.state.lock().expect("state");
        if state.room.is_some_and(|room| state.commits.len() >= room) {
            return async { Err(Stopped) }.boxed();
        }
        state.commits.push(commit);
        async { Ok(()) }.boxed()
    }

    fn token(&self, step_id: &str, offset: usize, delta: &str) {
        let mut state = self.0.state.lock().expect("state");
        state.tokens.push((step_id.to_owned(), offset, delta.to_owned()));
    }
}

/// A run to drive.
pub struct Bench {
    /// The runtime.
    pub runtime: Runtime,
    /// The run.
    pub run: Pinned,
    /// Outputs of client tools.
    pub inbox: HashMap<String, Submitted>,
    /// Cancels the run.
    pub cancel: CancellationToken,
    /// Number of the claim.
    pub number: i32,
}

impl Bench {
    /// A run of this agent on this input. Tools may be on loopback; the first retry comes at once.
    pub fn new(agent: Value, input: Value) -> Self {
        Self::with(agent, input, config(ModelTable::default()))
    }

    /// A run of an agent with the model of a fake provider.
    pub fn on(models: &FakeModels, dialect: Dialect, mut agent: Value) -> Self {
        agent["model"] = json!("fast");
        Self::with(agent, json!("hello"), config(table(models, dialect)))
    }

    /// A run with this configuration.
    pub fn with(mut agent: Value, input: Value, config: RuntimeConfig) -> Self {
        let clock = Clock::manual(START);
        for (name, default) in [
            ("name", json!("test")),
            ("model", json!("sim")),
            ("max_steps", json!(50)),
            ("timeout_seconds", json!(3600)),
        ] {
            if agent.get(name).is_none() {
                agent[name] = default;
            }
        }
        let spec: AgentSpec = serde_json::from_value(agent).expect("an agent");
        let secret = Arc::new(|_: Uuid| async { Ok(SecretString::from(SECRET)) }.boxed());
        let seconds = Duration::from_secs(spec.timeout_seconds.into());
        Self {
            runtime: Runtime::new(config, clock, secret).expect("a runtime"),
            run: Pinned {
                run_id: ids::fresh(START),
                scope: Scope { project: ids::fresh(START), environment: Environment::Test },
                agent_id: ids::fresh(START),
                session_id: None,
                spec: Arc::new(spec),
                input,
                parameters: serde_json::Map::new(),
                created_at: START,
                deadline: START.plus(seconds),
                bytes_max: usize::MAX,
                earlier: Arc::default(),
            },
            inbox: HashMap::new(),
            cancel: CancellationToken::new(),
            number: 1,
        }
    }

    /// One claim from where the ledger stands; what comes with the outcome is added to the ledger.
    pub async fn claim(&self, ledger: &Arc<Ledger>) -> Outcome {
        let attempt = Attempt {
            run: self.run.clone(),
            number: self.number,
            epoch: i64::from(self.number) * 10,
            history: ledger.history(),
            inbox: self.inbox.clone(),
            cancel: self.cancel.clone(),
            journal: Arc::new(Pen(Arc::clone(ledger))),
        };
        let outcome = self.runtime.drive()(attempt).await;
        if let Outcome::Completed(commit, _)
        | Outcome::Failed(commit, ..)
        | Outcome::Incomplete(commit, ..)
        | Outcome::Park(commit, _) = &outcome
        {
            ledger.add(commit);
        }
        outcome
    }

    /// The first claim, on a fresh ledger.
    pub async fn drive(&self) -> (Outcome, Arc<Ledger>) {
        let ledger = Ledger::of(Vec::new(), None);
        let outcome = self.claim(&ledger).await;
        (outcome, ledger)
    }
}

/// The fake provider under the name `fake`, and its `model-1` under the name `fast`.
pub fn table(models: &FakeModels, dialect: Dialect) -> ModelTable {
    let kind = match dialect {
        Dialect::Openai => ProviderKind::Openai,
        Dialect::Anthropic => ProviderKind::Anthropic,
    };
    let provider = ProviderConfig {
        kind,
        base_url: Some(models.base_url.clone()),
        api_key: Some(SecretString::from("secret-key")),
    };
    ModelTable::new(
        [("fast".to_owned(), "fake/model-1".to_owned())].into(),
        [("fake".to_owned(), provider)].into(),
    )
}

/// Loopback is allowed, and the first retry comes after a millisecond.
pub fn config(models: ModelTable) -> RuntimeConfig {
    let loopback = "127.0.0.0/8".parse().expect("a network");
    RuntimeConfig { retry_base_ms: 1, ..RuntimeConfig::new(models, vec![loopback]) }
}

/// The result of a run that must have completed.
pub fn completed(outcome: &Outcome) -> Value {
    match outcome {
        Outcome::Completed(_, result) => result.clone(),
        other => panic!("{other:?}"),
    }
}

/// Code and message of a run that must have failed.
pub fn failed(outcome: &Outcome) -> (&str, &str) {
    match outcome {
        Outcome::Failed(_, code, message) => (code, message),
        other => panic!("{other:?}"),
    }
}
