//! Builds every part once, in order, and stops them in reverse. The only file that knows all parts.
//! Called by the commands, by the demo and by tests: who calls owns the port and the end.

mod hooks;
mod operate;
mod reload;
mod rest;
mod services;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use secrecy::SecretString;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;
use tower::ServiceBuilder;

use self::hooks::{forget, health, heard, replicas, required};
use self::operate::Operated;
use self::reload::Replaced;
pub use self::reload::Source;
use self::services::{Parts, SERVED, grpc, services};
use crate::cache::limits::Limiter;
use crate::cache::link::Link;
use crate::cache::{Bus, Heard};
use crate::engine::Engine;
use crate::gateway::auth::{AuthLayer, Authenticator};
use crate::gateway::dispatch::Dispatch;
use crate::gateway::health::Health;
use crate::gateway::idempotency::IdempotencyLayer;
use crate::gateway::openapi::Pages;
use crate::gateway::port::PortLimits;
use crate::gateway::rate::Gate;
use crate::gateway::rest::Transcoder;
use crate::gateway::{port, stack, tls};
use crate::kernel::caller::Grant;
use crate::kernel::config::{Config, Plans, Role, ServerConfig};
use crate::kernel::models::ModelTable;
use crate::kernel::telemetry::Meters;
use crate::kernel::{Clock, Environment, Error, Pepper, Reread, Result};
use crate::keys::bootstrap::Opens;
use crate::keys::{bootstrap, pepper};
use crate::proto::rest::deprecation;
use crate::runtime::{Runtime, RuntimeConfig};
use crate::store::{self, Store};
use crate::upkeep::Upkeep;

/// A server, built and not yet serving.
pub struct Server {
    /// What it was built from.
    pub config: Config,
    /// What is kept.
    pub store: Store,
    /// What moves runs.
    pub engine: Engine,
    clock: Clock,
    pepper: Pepper,
    runtime: Runtime,
    models: Reread<ModelTable>,
    link: Option<Link>,
    source: Option<Source>,
    meters: Meters,
}

impl Server {
    /// Opens the store and builds what does not need the port.
    ///
    /// # Errors
    /// When the store cannot be opened or a secret is missing.
    pub async fn build(config: Config) -> Result<Self> {
        Self::build_at(config, Clock::system()).await
    }

    /// The same, with another clock.
    ///
    /// # Errors
    /// When the store cannot be opened or a secret is missing.
    pub async fn build_at(config: Config, clock: Clock) -> Result<Self> {
        let pepper = pepper::load(&config.auth, &config.store).map_err(Error::internal)?;
        let meters = Meters::new(&config);
        let store = Store::open_metered(&config.store, clock.clone(), meters.clone()).await?;
        let models = ModelTable::new(config.models.clone(), config.providers.clone());
        let models = Reread::from(models);
        let mut work = config.engine.clone();
        if config.server.role == Role::Server {
            // It beats and looks after the others' runs, but has no room for any.
            work.concurrent_runs = 0;
        }
        let link = Link::new(&config.redis)?;
        let engine = Engine::new(
            store.clone(),
            Bus::new(link.clone(), store.is_exclusive()),
            clock.clone(),
            work,
        );
        let secrets = store.clone();
        let signing = Arc::new(move |project| -> futures::future::BoxFuture<'static, _> {
            let store = secrets.clone();
            Box::pin(async move {
                let project = store::projects::get(store.read(), project).await?;
                let project = project.ok_or_else(|| Error::internal("a run without a project"))?;
                Ok(SecretString::from(project.signing_secret))
            })
        });
        let limits = RuntimeConfig {
            meters: meters.clone(),
            capture_content: config.telemetry.capture_content,
            ..RuntimeConfig::new(models.clone(), config.egress.allow_subnets.clone())
        };
        let runtime = Runtime::new(limits, clock.clone(), signing)?;
        let source = None;
        Ok(Self { config, store, engine, clock, pepper, runtime, models, link, source, meters })
    }

    /// Lets SIGHUP read the configuration again, by this source.
    #[must_use]
    pub fn reading(self, source: Source) -> Self {
        Self { source: Some(source), ..self }
    }

    /// A new admin key for live data when the store was empty; `None` when it was not.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn first_key(&self) -> Result<Option<SecretString>> {
        let parts = (&self.store, &self.pepper, &self.clock);
        let (space, made) = bootstrap::first(parts, Environment::Live).await?;
        if !made {
            return Ok(None);
        }
        Ok(Some(bootstrap::key(parts, space, "first key", &[Grant::ADMIN]).await?))
    }

    /// A new key of the first project.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn key(
        &self,
        environment: Environment,
        name: &str,
        grants: &[Grant],
    ) -> Result<SecretString> {
        self.key_for(Opens::First(environment), name, grants).await
    }

    /// A new key of any kind.
    ///
    /// # Errors
    /// `project_not_found`; `organisation_not_found`; those of the store.
    pub async fn key_for(
        &self,
        opens: Opens,
        name: &str,
        grants: &[Grant],
    ) -> Result<SecretString> {
        let parts = (&self.store, &self.pepper, &self.clock);
        bootstrap::key(parts, bootstrap::space(parts, opens).await?, name, grants).await
    }

    /// What is done beside all calls.
    #[must_use]
    pub fn upkeep(&self) -> Upkeep {
        let (store, pepper) = (self.store.clone(), self.pepper.clone());
        let (engine, retention) = (self.engine.clone(), self.config.retention.clone());
        Upkeep { store, pepper, clock: self.clock.clone(), engine, retention }
    }
}

/// Serves on the listener until `stop` is done, then lets calls and steps in flight end.
///
/// # Errors
/// When a part fails to start.
pub async fn run(
    server: Server,
    listener: TcpListener,
    stop: impl Future<Output = ()> + Send,
) -> Result<()> {
    let upkeep = server.upkeep();
    let Server { config, store, engine, clock, pepper, runtime, models, .. } = server;
    let (link, source, meters) = (server.link, server.source, server.meters);
    let (tls, reloader) = tls::load(&config.tls).await.map_err(Error::internal)?.unzip();
    let plans = plans(&config)?;
    let (authenticator, recorder) =
        Authenticator::new(store.clone(), pepper.clone(), plans.clone(), clock.clone());
    let parts =
        Parts { store: &store, engine: &engine, clock: &clock, pepper: &pepper, plans: &plans };
    let replaced = Replaced::new(&config, &plans, (&models, &authenticator));
    let services = services(&parts, models, forget(&authenticator, engine.bus()));
    let health = health(&store);
    let _observed = meters.observe(operate::gauges(&store, &engine, link.as_ref()));
    let operated = Operated::new(&config, &meters, &health).await?;
    let (reporter, grpc_health) = tonic_health::server::health_reporter();
    tell(&reporter, ServingStatus::Serving).await;
    let [notice, port_ends, engine_ends, calls_end, all_end] =
        [(); 5].map(|()| CancellationToken::new());
    let grpc = grpc(&services, grpc_health, config.server.body_bytes_max)?;
    let rest = Transcoder::new(services, rest::options(&config, &port_ends)?);
    let required = required(rest.clone());
    let inner = Dispatch::new(grpc, rest, health.clone());
    let inner = inner.deprecating(deprecation).describing(Pages::default());
    let heard = heard(&authenticator, &engine);
    let limiter = Limiter::new(link.clone(), clock.clone(), replicas(&store, &engine));
    limiter.start().await;
    let gate = gate(&config, &limiter, (&clock, &meters));
    let idempotency = idempotency(&config, &upkeep);
    let guard = ServiceBuilder::new().layer(AuthLayer { authenticator, required, gate });
    let stack = stack::stack(&config.server, (clock, meters), guard.layer(idempotency), inner);

    let serving = async {
        let address = listener.local_addr().ok().map(tracing::field::display);
        tracing::info!(address, tls = tls.is_some(), "serving gRPC, gRPC-Web and REST");
        let stop = port::Stop { notice: notice.clone(), end: port_ends.cancelled() };
        port::serve(listener, stack, stop, port_limits(&config.server), tls).await;
        // No call changes anything any more.
        calls_end.cancel();
    };
    let certifying = certify(reloader, port_ends.clone());
    let reloading = reload::run(source, replaced, port_ends.clone());
    let working = work(&engine, &runtime, [&engine_ends, &port_ends]);
    let moving = async {
        let ((), worked) = tokio::join!(serving, working);
        // Nobody has anything to tell any more.
        all_end.cancel();
        worked
    };
    let noting = recorder.run();
    let wiring = wiring(link.as_ref(), engine.bus(), heard, &all_end);
    let watching = engine.watch(&all_end);
    let keeping = upkeep.run(calls_end.cancelled());
    let counting = limiter.run(calls_end.clone());
    let wait = Duration::from_secs(config.server.drain_notice_seconds);
    let ends = [&notice, &port_ends, &engine_ends];
    let stopping = stopping((stop, wait), ((&health, &reporter), &engine), ends);
    let operating = async { tokio::join!(certifying, reloading, operated.run(&all_end)) };
    let beside = async { tokio::join!(noting, wiring, keeping, counting, operating) };
    let (worked, ..) = tokio::join!(moving, watching, stopping, beside);
    store.close().await;
    worked
}

/// Drives runs until it is to end; the port ends with it.
async fn work(
    engine: &Engine,
    runtime: &Runtime,
    [engine_ends, port_ends]: [&CancellationToken; 2],
) -> Result<()> {
    let worked = engine.run(runtime.drive(), engine_ends.clone()).await;
    engine.close();
    // Without its engine a server is of no use.
    port_ends.cancel();
    worked
}

/// Begins to end when `stop` is done, with notice, or the port has ended.
async fn stopping(
    (stop, wait): (impl Future<Output = ()> + Send, Duration),
    ((health, reporter), engine): ((&Health, &HealthReporter), &Engine),
    [notice, port_ends, engine_ends]: [&CancellationToken; 3],
) {
    tokio::select! {
        () = stop => {}
        () = port_ends.cancelled() => {}
    }
    health.drain();
    tell(reporter, ServingStatus::NotServing).await;
    notice.cancel();
    if engine.processes().is_some_and(|count| count > 1) {
        // What began now would be cut off soon, and begin again elsewhere.
        engine.takes(false);
    }
    tokio::select! {
        () = tokio::time::sleep(wait) => {}
        () = port_ends.cancelled() => {}
    }
    // Steps in flight and calls in flight end side by side: a call may wait for a run.
    port_ends.cancel();
    engine_ends.cancel();
}

fn gate(config: &Config, limiter: &Limiter, (clock, meters): (&Clock, &Meters)) -> Gate {
    let gate = Gate::new(limiter.clone(), config.limits.clone(), clock.clone());
    gate.metered(meters.clone())
}

fn plans(config: &Config) -> Result<Plans> {
    let plans = Plans::new(&config.limits.plan, config.plans.clone());
    plans.ok_or_else(|| Error::internal("limits.plan is no plan"))
}

fn idempotency(config: &Config, parts: &Upkeep) -> IdempotencyLayer {
    IdempotencyLayer {
        store: parts.store.clone(),
        pepper: parts.pepper.clone(),
        clock: parts.clock.clone(),
        keep: Duration::from_secs(config.limits.idempotency_hours * 3600),
        body_bytes_max: config.server.body_bytes_max,
    }
}

fn port_limits(config: &ServerConfig) -> PortLimits {
    PortLimits {
        connections_max: config.connections_max,
        idle_max: Duration::from_secs(config.idle_seconds_max),
        stalled_max: Duration::from_secs(config.stream_stalled_seconds),
        drain: Duration::from_secs(config.drain_seconds),
    }
}

/// Tells callers of gRPC's health what every service does.
async fn tell(reporter: &HealthReporter, status: ServingStatus) {
    for service in SERVED {
        reporter.set_service_status(service, status).await;
    }
}

/// Looks at the certificates, where there are any.
async fn certify(reloader: Option<tls::Reloader>, stop: CancellationToken) {
    if let Some(reloader) = reloader {
        reloader.run(stop).await;
    }
}

/// Keeps the way to Redis, and carries what processes say to each other.
async fn wiring(
    link: Option<&Link>,
    bus: &Bus,
    heard: impl Fn(Heard) -> BoxFuture<'static, ()>,
    stop: &CancellationToken,
) {
    let linking = async {
        if let Some(link) = link {
            link.run(stop).await;
        }
    };
    let carried = bus.run(heard, stop);
    tokio::join!(linking, carried);
}
