//! What the server shows to whoever operates it: the admin port, pushes of metrics, and where the
//! figures come from. Used by `serve` alone.

use std::sync::Arc;

use futures::future::BoxFuture;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::cache::link::Link;
use crate::engine::Engine;
use crate::gateway::admin::Admin;
use crate::gateway::health::Health;
use crate::kernel::config::Config;
use crate::kernel::telemetry::{Gauges, Meters, Metrics, Queue};
use crate::kernel::{Error, Result};
use crate::store::{self, Store};

/// The admin port and the pushes, each where it is configured.
pub(super) struct Operated {
    admin: Option<(TcpListener, Admin)>,
    metrics: Option<Metrics>,
    meters: Meters,
}

impl Operated {
    /// Binds the admin port.
    pub(super) async fn new(config: &Config, meters: &Meters, health: &Health) -> Result<Self> {
        let admin = match config.admin.address() {
            Some(address) => {
                let listener = TcpListener::bind(address).await.map_err(|error| {
                    Error::internal(format!("cannot listen at {address} (admin.listen): {error}"))
                })?;
                let at = listener.local_addr().map_err(Error::internal)?;
                tracing::info!(admin = %at, "telling metrics and health");
                Some((listener, admin(meters, health)))
            }
            None => None,
        };
        let metrics = Metrics::new(&config.telemetry).map_err(Error::internal)?;
        Ok(Self { admin, metrics, meters: meters.clone() })
    }

    /// Tells and pushes until `stop`.
    pub(super) async fn run(self, stop: &CancellationToken) {
        let telling = async {
            if let Some((listener, admin)) = self.admin {
                admin.serve(listener, stop).await;
            }
        };
        let pushing = async {
            if let Some(metrics) = self.metrics {
                metrics.run(&self.meters, stop).await;
            }
        };
        tokio::join!(telling, pushing);
    }
}

fn admin(meters: &Meters, health: &Health) -> Admin {
    let (meters, health) = (meters.clone(), health.clone());
    let page = Arc::new(move || -> BoxFuture<'static, String> {
        let meters = meters.clone();
        Box::pin(async move { meters.page().await })
    });
    Admin { health, page }
}

/// Where the figures come from. Only the length of the queue is asked of the database.
pub(super) fn gauges(store: &Store, engine: &Engine, link: Option<&Link>) -> Gauges {
    let of = |figure: fn(&Engine) -> Option<usize>| {
        let engine = engine.clone();
        let asked = move || figure(&engine).and_then(|value| u64::try_from(value).ok());
        Box::new(asked) as Box<_>
    };
    let (link, store) = (link.cloned(), store.clone());
    Gauges {
        runs_active: of(|engine| Some(engine.driven().0)),
        runs_slots: of(|engine| Some(engine.driven().1)),
        followers: of(|engine| Some(engine.bus().followers())),
        workers: of(|engine| usize::try_from(engine.processes()?).ok()),
        redis_up: Box::new(move || link.as_ref().map(|link| u64::from(link.is_up()))),
        queue: Box::new(move || {
            let store = store.clone();
            Box::pin(async move { depth(&store).await })
        }),
    }
}

async fn depth(store: &Store) -> Option<Queue> {
    store::queue::depth(store.read(), store.clock().now()).await.ok()
}
