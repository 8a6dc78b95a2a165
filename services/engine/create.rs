//! A run begins: its row, its place in the queue and its first event, in one transaction. Called by
//! the services, which have checked agent, input and parameters. Never waits for a worker.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};
use tracing::Span;
use uuid::Uuid;

use super::Engine;
use super::admit::{Admission, RunLimits};
use super::events::{Change, Draft};
use super::session::{self, Interrupted, Place};
use super::state::Status;
use crate::kernel::ids;
use crate::kernel::spec::AgentSpec;
use crate::kernel::telemetry::context;
use crate::kernel::{Error, Result, Scope, Timestamp, faults};
use crate::store::admission::{self, From};
use crate::store::sessions::Session;
use crate::store::{Tx, events, labels, moves};

/// What is to be run.
#[derive(Debug, Clone)]
pub struct NewRun {
    /// Agent.
    pub agent_id: Uuid,
    /// Version of the agent, which the run is pinned to.
    pub agent_version: i32,
    /// What that version says.
    pub spec: Arc<AgentSpec>,
    /// What the run works on; `Null` when nothing.
    pub input: Value,
    /// Values of the agent's parameters, defaults filled in, and the reserved ones that were given.
    pub parameters: Map<String, Value>,
    /// How long the run may take; `None`: as the version says.
    pub timeout: Option<Duration>,
    /// Free labels, texts by name.
    pub metadata: Map<String, Value>,
    /// Conversation.
    pub session_id: Option<String>,
    /// Key that creates it.
    pub key_id: Option<Uuid>,
    /// How many there may be.
    pub limits: RunLimits,
}

/// A run that was created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Created {
    /// Id.
    pub run_id: Uuid,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it ends by itself.
    pub expires_at: Timestamp,
}

/// A run that is ready to be written, in a transaction of the caller's or of ours. Writing it twice
/// is an error.
#[derive(Debug, Clone)]
pub struct Prepared {
    scope: Scope,
    row: moves::New,
    event: Draft,
    metadata: Map<String, Value>,
    admission: Admission,
    session: Option<Session>,
}

impl Prepared {
    /// What will have been created.
    #[must_use]
    pub fn created(&self) -> Created {
        let moves::New { run_id, created_at, expires_at, .. } = self.row;
        Created { run_id, created_at, expires_at }
    }

    /// Writes it. Whoever writes more in the same transaction does it before: the rows that are
    /// locked at the end are everybody's of the project.
    ///
    /// # Errors
    /// `too_many_concurrent_runs` or `session_busy` when it will not wait; `queue_full`;
    /// `quota_exceeded`; when the database is away. The transaction must be given up then.
    pub async fn write(&self, tx: &Tx) -> Result<Vec<Interrupted>> {
        let moves::New { run_id, created_at: now, expires_at, .. } = self.row;
        self.admission.open(tx).await?;
        let place = match &self.session {
            Some(session) => session::join(tx, session, self.admission.on_busy(), now).await?,
            None => Place::default(),
        };
        moves::create(tx, self.scope, &self.row, place.turn).await?;
        if !self.metadata.is_empty() {
            let labelled = (run_id, now.0);
            labels::add_run(tx, self.scope, labelled, &self.metadata).await?;
        }
        let (capped_key, metered) = (self.admission.capped_key(), self.admission.is_metered());
        let session = self.session.as_ref().map(|session| (&*session.id, place.turn));
        let from = if place.behind { From::Behind(expires_at) } else { From::Ready(now) };
        let queued = admission::New { run_id, next_seq: 2, capped_key, metered, session, from };
        admission::insert(tx, self.scope, queued).await?;
        let (r#type, data) = (&*self.event.r#type, &*self.event.data);
        let first = events::New { run_id, seq: 1, r#type, data };
        events::append(tx, &[first], now).await?;
        self.admission.close(tx).await?;
        Ok(place.interrupted)
    }
}

impl Engine {
    /// Creates a run, and wakes a worker.
    ///
    /// # Errors
    /// Those of [`Prepared::write`].
    pub async fn create(&self, scope: Scope, new: NewRun) -> Result<Created> {
        let prepared = Arc::new(self.prepare(scope, new).await?);
        let job = Arc::clone(&prepared);
        let interrupted = self.store().tx("engine.create", move |tx| {
            let job = Arc::clone(&job);
            Box::pin(async move { job.write(tx).await })
        });
        let interrupted = interrupted.await?;
        self.created(&prepared, interrupted);
        Ok(prepared.created())
    }

    /// Gives a run its id and its first event. Nothing is written: whoever prepares also calls
    /// [`Prepared::write`] in a transaction of its own, and [`Engine::created`] when that is
    /// committed.
    ///
    /// # Errors
    /// `internal_error` when the run cannot be written as JSON.
    pub async fn prepare(&self, scope: Scope, new: NewRun) -> Result<Prepared> {
        let now = self.now();
        let run_id = ids::fresh(now);
        let timeout = Duration::from_secs(u64::from(new.spec.timeout_seconds));
        let timeout = new.timeout.unwrap_or(timeout);
        self.inner.specs.insert((new.agent_id, new.agent_version), new.spec).await;
        let input = (!new.input.is_null()).then(|| new.input.to_string());
        let session = new.session_id.clone().map(|id| Session { scope, id });
        let row = moves::New {
            run_id,
            agent_id: new.agent_id,
            agent_version: new.agent_version,
            session_id: new.session_id,
            key_id: new.key_id,
            status: Status::Queued.as_str(),
            input,
            parameters: serde_json::to_string(&new.parameters).map_err(Error::internal)?,
            metadata: serde_json::to_string(&new.metadata).map_err(Error::internal)?,
            created_at: now,
            expires_at: now.plus(timeout),
            last_seq: 1,
            traceparent: context::kept(&Span::current()),
        };
        let event = Change::created(run_id, new.agent_id, new.agent_version)
            .draft(Status::Queued.event())?;
        let admission = Admission::new(&self.inner.caps, scope, (new.key_id, new.limits), now);
        Ok(Prepared { scope, row, event, metadata: new.metadata, admission, session })
    }

    /// Tells the worker that a prepared run was committed, and those of the runs that it has
    /// interrupted.
    pub fn created(&self, prepared: &Prepared, interrupted: Vec<Interrupted>) {
        faults::point("in_create");
        self.meters().created();
        prepared.admission.committed(&self.inner.caps);
        for run in interrupted {
            self.cancel_asked(run.asked);
        }
        self.ready();
    }
}
