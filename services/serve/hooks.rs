//! What parts are handed of each other, as functions, since they may not name each other. Made by
//! `serve/mod.rs` alone.

use std::sync::Arc;

use futures::future::BoxFuture;

use crate::cache::limits::Replicas;
use crate::cache::{Bus, Heard};
use crate::engine::Engine;
use crate::gateway::Dialect;
use crate::gateway::auth::{Authenticator, Required};
use crate::gateway::health::Health;
use crate::gateway::rest::Transcoder;
use crate::kernel::caller::Forget;
use crate::proto::rest::method;
use crate::store::{self, Store};

/// Makes this process forget a key, and tells the others.
pub(super) fn forget(authenticator: &Authenticator, bus: &Bus) -> Forget {
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
pub(super) fn heard(
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

/// The method that a request calls, by the generated table.
pub(super) fn required(rest: Transcoder) -> Required {
    Arc::new(move |dialect, request| match dialect {
        Dialect::Rest => method(rest.find(request)?),
        Dialect::Grpc | Dialect::GrpcWeb => method(request.uri().path()),
    })
}

/// Tells how many processes share the limits: those that work on the store; none but this one on
/// SQLite. The engine's heartbeat has counted them, so nobody is asked.
pub(super) fn replicas(store: &Store, engine: &Engine) -> Option<Replicas> {
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

pub(super) fn health(store: &Store) -> Health {
    let store = store.clone();
    Health::new(Arc::new(move || {
        let store = store.clone();
        Box::pin(async move { store.is_ready().await })
    }))
}
