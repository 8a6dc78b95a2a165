//! SIGHUP: the configuration is read again, and what may change while the server runs then holds:
//! the log's filter, plans, models and providers with their keys. All of it or, with a mistake,
//! nothing. Run by `serve/mod.rs`; certificates have a way of their own (`gateway/tls.rs`), which
//! hears the same signal and does not ask whether the configuration was right.

use std::fmt;
use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::plans;
use crate::gateway::auth::Authenticator;
use crate::kernel::config::{Config, Plans};
use crate::kernel::models::ModelTable;
use crate::kernel::{Error, Reread, Result};

/// What may change; with a dot at the end all that is below.
const RELOADED: &[&str] = &["log.filter", "limits.plan", "plans.", "models.", "providers."];

/// Reads the configuration; all mistakes, one a line.
type Read = Arc<dyn Fn() -> std::result::Result<Config, String> + Send + Sync>;
/// Takes the log's filter.
type Filter = Box<dyn Fn(&str) -> std::result::Result<(), String> + Send + Sync>;

/// Where a server reads its configuration again, and who takes the log's filter.
pub struct Source {
    read: Read,
    filter: Filter,
    hangup: Signal,
}

/// What of a server is replaced.
pub(super) struct Replaced {
    config: Config,
    plans: Plans,
    models: Reread<ModelTable>,
    authenticator: Authenticator,
}

impl Source {
    /// Reads by the one function, and hands the filter to the other. From now on the signal does
    /// not end the process. Call it within a runtime.
    ///
    /// # Errors
    /// When the process cannot hear of signals.
    pub fn new(
        read: impl Fn() -> std::result::Result<Config, String> + Send + Sync + 'static,
        filter: impl Fn(&str) -> std::result::Result<(), String> + Send + Sync + 'static,
    ) -> Result<Self> {
        let hangup = signal(SignalKind::hangup()).map_err(Error::internal)?;
        Ok(Self { read: Arc::new(read), filter: Box::new(filter), hangup })
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Source")
    }
}

/// Reads again whenever the process is told to, until the end.
pub(super) async fn run(source: Option<Source>, mut replaced: Replaced, end: CancellationToken) {
    let Some(mut source) = source else { return };
    loop {
        tokio::select! {
            () = end.cancelled() => return,
            _ = source.hangup.recv() => {}
        }
        match replaced.by(&source).await {
            Ok(changed) => tell(&changed),
            Err(mistakes) => {
                tracing::error!(%mistakes, "the configuration was not read again");
            }
        }
    }
}

impl Replaced {
    pub(super) fn new(
        config: &Config,
        plans: &Plans,
        (models, authenticator): (&Reread<ModelTable>, &Authenticator),
    ) -> Self {
        let (config, plans) = (config.clone(), plans.clone());
        Self { config, plans, models: models.clone(), authenticator: authenticator.clone() }
    }

    /// Reads again, and replaces; the keys that have changed.
    async fn by(&mut self, source: &Source) -> std::result::Result<Vec<String>, String> {
        let read = Arc::clone(&source.read);
        // A file may be slow to come.
        let mut reading = JoinSet::new();
        reading.spawn_blocking(move || read());
        let read = reading.join_next().await.and_then(std::result::Result::ok);
        let config = read.ok_or("reading it panicked")??;
        let plans = plans(&config).map_err(|error| error.message)?;
        (source.filter)(&config.log.filter)?;
        let changed = self.config.changed(&config);
        self.plans.replace(&plans);
        let models = ModelTable::new(config.models.clone(), config.providers.clone());
        self.models.set(models.into());
        // Callers that are known have their limits with them.
        self.authenticator.forget(None).await;
        self.config = config;
        Ok(changed)
    }
}

/// Says what holds now, and what does not until the next start.
fn tell(changed: &[String]) {
    let is_reloaded = |key: &&String| {
        RELOADED.iter().any(|known| match known.strip_suffix('.') {
            Some(_) => key.starts_with(known),
            None => *known == key.as_str(),
        })
    };
    let (now, later): (Vec<_>, Vec<_>) = changed.iter().partition(is_reloaded);
    let list = |keys: &[&String]| keys.iter().map(|k| k.as_str()).collect::<Vec<_>>().join(", ");
    tracing::info!(changed = list(&now), "the configuration was read again");
    if !later.is_empty() {
        tracing::warn!(changed = list(&later), "what has changed beside needs a restart");
    }
}
