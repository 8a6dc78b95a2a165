//! Builds every part once, in order, and stops them in reverse. The only file that knows all parts.
//! Called by `main.rs`, by the demo and by tests: who calls owns the port and the end.

mod services;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use http::{HeaderName, HeaderValue};
use secrecy::SecretString;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;
use tower::ServiceBuilder;

use self::services::{Parts, SERVED, grpc, services};
use crate::cache::limits::{Limiter, Replicas};
use crate::cache::link::Link;
use crate::cache::{Bus, Heard};
use crate::engine::Engine;
use crate::gateway::auth::{AuthLayer, Authenticator, Required};
use crate::gateway::dispatch::Dispatch;
use crate::gateway::health::Health;
use crate::gateway::idempotency::IdempotencyLayer;
use crate::gateway::openapi::Pages;
use crate::gateway::port::PortLimits;
use crate::gateway::rate::Gate;
use crate::gateway::rest::alias::Alias;
use crate::gateway::rest::{Transcoder, TranscoderOptions};
use crate::gateway::{Dialect, port, stack, tls};
use crate::kernel::caller::{Forget, Grant};
use crate::kernel::config::{AliasConfig, Config, Plans, Role, ServerConfig};
use crate::kernel::models::ModelTable;
use crate::kernel::{Clock, Environment, Error, Pepper, Result, json};
use crate::keys::bootstrap::Opens;
use crate::keys::{bootstrap, pepper};
use crate::proto::rest::{deprecation, method};
use crate::runtime::{Runtime, RuntimeConfig};
use crate::store::{self, Store};
use crate::upkeep::Upkeep;

/// After how long a caller whose stream has broken off shall come back.
const RETRY_MS: u64 = 1000;

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
    models: Arc<ModelTable>,
    link: Option<Link>,
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
        let store = Store::open(&config.store, clock.clone()).await?;
        let models = ModelTable::new(config.models.clone(), config.providers.clone());
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
        let limits = RuntimeConfig::new(models.clone(), config.egress.allow_subnets.clone());
        let runtime = Runtime::new(limits, clock.clone(), signing)?;
        let models = Arc::new(models);
        Ok(Self { config, store, engine, clock, pepper, runtime, models, link })
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
    let Server { config, store, engine, clock, pepper, runtime, models, link } = server;
    let (tls, reloader) = tls::load(&config.tls).await.map_err(Error::internal)?.unzip();
    let plans = plans(&config)?;
    let (authenticator, recorder) =
        Authenticator::new(store.clone(), pepper.clone(), plans.clone(), clock.clone());
    let parts =
        Parts { store: &store, engine: &engine, clock: &clock, pepper: &pepper, plans: &plans };
    let services = services(&parts, models, forget(&authenticator, engine.bus()));
    let health = health(&store);
    let (reporter, grpc_health) = tonic_health::server::health_reporter();
    tell(&reporter, ServingStatus::Serving).await;
    let grpc = grpc(&services, grpc_health, config.server.body_bytes_max)?;
    let [port_ends, engine_ends, calls_end, all_end] = [(); 4].map(|()| CancellationToken::new());
    let ending = port_ends.clone();
    let options = TranscoderOptions { ending, retry_ms: RETRY_MS, ..options(&config)? };
    let rest = Transcoder::new(services, options);
    let required = required(rest.clone());
    let inner = Dispatch::new(grpc, rest, health.clone());
    let inner = inner.deprecating(deprecation).describing(Pages::default());
    let heard = heard(&authenticator, &engine);
    let limiter = Limiter::new(link.clone(), clock.clone(), replicas(&store, &engine));
    limiter.start().await;
    let gate = Gate::new(limiter.clone(), config.limits.clone(), clock.clone());
    let idempotency = idempotency(&config, &upkeep);
    let guard = ServiceBuilder::new().layer(AuthLayer { authenticator, required, gate });
    let stack = stack::stack(&config.server, clock, guard.layer(idempotency), inner);

    let limits = port_limits(&config.server);
    let serving = async {
        port::serve(listener, stack, port_ends.cancelled(), limits, tls).await;
        // No call changes anything any more.
        calls_end.cancel();
    };
    let reloading = reload(reloader, port_ends.clone());
    let working = async {
        let worked = engine.run(runtime.drive(), engine_ends.clone()).await;
        engine.close();
        // Without its engine a server is of no use.
        port_ends.cancel();
        worked
    };
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
    let telling = (&health, &reporter);
    let stopping = stopping(stop, telling, [&port_ends, &engine_ends]);
    let (worked, ..) =
        tokio::join!(moving, reloading, noting, wiring, watching, keeping, counting, stopping);
    store.close().await;
    worked
}

/// Begins to end when `stop` is done, or the port has ended.
async fn stopping(
    stop: impl Future<Output = ()> + Send,
    (health, reporter): (&Health, &HealthReporter),
    [port_ends, engine_ends]: [&CancellationToken; 2],
) {
    tokio::select! {
        () = stop => {}
        () = port_ends.cancelled() => {}
    }
    health.drain();
    tell(reporter, ServingStatus::NotServing).await;
    // Steps in flight and calls in flight end side by side: a call may wait for a run.
    port_ends.cancel();
    engine_ends.cancel();
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
async fn reload(reloader: Option<tls::Reloader>, stop: CancellationToken) {
    if let Some(reloader) = reloader {
        reloader.run(stop).await;
    }
}

fn options(config: &Config) -> Result<TranscoderOptions> {
    let aliases = config.rest.alias.iter().map(alias).collect::<Result<_>>()?;
    let body_bytes_max = config.server.body_bytes_max;
    let json_depth_max = json::DEPTH_MAX;
    let (query_ignored, ignore_unknown) =
        (config.rest.query_ignored.clone(), config.rest.ignore_unknown);
    Ok(TranscoderOptions {
        body_bytes_max,
        json_depth_max,
        query_ignored,
        ignore_unknown,
        aliases,
        ..Default::default()
    })
}

fn alias(alias: &AliasConfig) -> Result<Alias> {
    let headers = alias.headers.iter().map(|(name, value)| {
        let name = HeaderName::try_from(name.as_str()).map_err(Error::internal)?;
        Ok((name, HeaderValue::try_from(value.as_str()).map_err(Error::internal)?))
    });
    let (prefix, to) = (alias.prefix.clone(), alias.to.clone());
    let methods = alias.methods.iter().map(|name| name.parse().map_err(Error::internal));
    let (headers, methods) = (headers.collect::<Result<_>>()?, methods.collect::<Result<_>>()?);
    Ok(Alias { prefix, to, headers, methods })
}

/// Makes this process forget a key, and tells the others.
fn forget(authenticator: &Authenticator, bus: &Bus) -> Forget {
    let (known, bus) = (authenticator.clone(), bus.clone());
    Forget(Arc::new(move |public| {
        let (known, bus) = (known.clone(), bus.clone());
        Box::pin(async move {
            known.forget(public.as_deref()).await;
            bus.tell_key(public.as_deref());
        })
    }))
}

/// Does here what another process tells of.
fn heard(
    authenticator: &Authenticator,
    engine: &Engine,
) -> impl Fn(Heard) -> BoxFuture<'static, ()> + use<> {
    let (known, engine) = (authenticator.clone(), engine.clone());
    move |heard| {
        let (known, engine) = (known.clone(), engine.clone());
        Box::pin(async move {
            match heard {
                Heard::Key(public) => known.forget(public.as_deref()).await,
                Heard::Wake => engine.wake(),
                Heard::Cancel(run_id) => engine.cancel_heard(run_id),
            }
        })
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

/// The method that a request calls, by the generated table.
fn required(rest: Transcoder) -> Required {
    Arc::new(move |dialect, request| match dialect {
        Dialect::Rest => method(rest.find(request)?),
        Dialect::Grpc | Dialect::GrpcWeb => method(request.uri().path()),
    })
}

/// Tells how many processes share the limits: those that work on the store; none but this one on
/// SQLite. The engine's heartbeat has counted them, so nobody is asked.
fn replicas(store: &Store, engine: &Engine) -> Option<Replicas> {
    let (store, engine) = (store.clone(), engine.clone());
    (!store.is_exclusive()).then(|| -> Replicas {
        Arc::new(move || {
            let (store, engine) = (store.clone(), engine.clone());
            Box::pin(async move {
                if let Some(processes) = engine.processes() {
                    return Some(processes);
                }
                let workers = store::workers::list(store.read()).await.ok()?;
                u32::try_from(workers.len()).ok()
            })
        })
    })
}

fn health(store: &Store) -> Health {
    let store = store.clone();
    Health::new(Arc::new(move || {
        let store = store.clone();
        Box::pin(async move { store.is_ready().await })
    }))
}
