//! What one claim of a run does: the agent loop, its models and its tools. Built once by
//! `serve`, which hands [`Runtime::drive`] to the engine. Writes only through the journal that a
//! claim brings; never touches the store.

mod agent_loop;
mod egress;
mod events;
mod model;
mod past;
mod record;
mod retry;
mod said;
mod thread;
mod tool;
mod traced;

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use ipnet::IpNet;
use secrecy::SecretString;
use uuid::Uuid;

use self::agent_loop::Shared;
use self::egress::Egress;
use self::model::{Models, Providers};
use crate::engine::attempt::Drive;
use crate::kernel::address::AddressPolicy;
use crate::kernel::models::ModelTable;
use crate::kernel::telemetry::Meters;
use crate::kernel::template::Templates;
use crate::kernel::{Clock, Error, Reread, Result};

/// Finds the secret, `whsec_…`, that a project's calls to tools are signed with.
pub type SigningSecret =
    Arc<dyn Fn(Uuid) -> BoxFuture<'static, Result<SecretString>> + Send + Sync>;

/// What the operator decides about models and tools.
#[derive(Debug, Clone)]
pub struct RuntimeConfig {
    /// Aliases and providers.
    pub models: Reread<ModelTable>,
    /// Private networks that tools may call.
    pub allow_subnets: Vec<IpNet>,
    /// Milliseconds before the first retry of a model or a tool; each further one waits twice as
    /// long, at most 30 s.
    pub retry_base_ms: u64,
    /// Milliseconds that a provider's stream may be silent before it counts as broken.
    pub model_idle_ms: u64,
    /// True puts what is said into the spans of model and tool calls.
    pub capture_content: bool,
    /// What is measured.
    pub meters: Meters,
}

impl RuntimeConfig {
    /// With 500 ms before the first retry and 60 s of silence, unmeasured.
    #[must_use]
    pub fn new(models: impl Into<Reread<ModelTable>>, allow_subnets: Vec<IpNet>) -> Self {
        Self {
            models: models.into(),
            allow_subnets,
            retry_base_ms: 500,
            model_idle_ms: 60_000,
            capture_content: false,
            meters: Meters::default(),
        }
    }
}

/// The agent loop with all that it calls.
#[derive(Clone)]
pub struct Runtime {
    shared: Arc<Shared>,
}

impl Runtime {
    /// Builds the HTTP clients. Must be called once a process; calls share their connections.
    ///
    /// # Errors
    /// `internal_error` when no HTTP client can be built.
    pub fn new(config: RuntimeConfig, clock: Clock, signing_secret: SigningSecret) -> Result<Self> {
        let idle = Duration::from_millis(config.model_idle_ms);
        let providers = Providers::new(egress::provider_client()?, clock.clone(), idle)
            .map_err(|error| Error::internal(error.to_string()))?;
        let templates = Templates::new();
        let shared = Shared {
            models: Models::new(config.models, templates.clone(), providers),
            templates,
            egress: Egress::new(AddressPolicy::new(config.allow_subnets))?,
            clock,
            signing_secret,
            retry_base: Duration::from_millis(config.retry_base_ms),
            capture_content: config.capture_content,
            meters: config.meters,
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// The function that the engine calls with every claim.
    #[must_use]
    pub fn drive(&self) -> Drive {
        let shared = Arc::clone(&self.shared);
        Arc::new(move |attempt| {
            let shared = Arc::clone(&shared);
            Box::pin(async move { agent_loop::drive(&shared, &attempt).await })
        })
    }
}
