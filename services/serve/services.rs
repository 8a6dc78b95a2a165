//! The services of the contract, built and put on tonic's side. Used by `serve` alone.

use std::sync::Arc;

use axum::Router;
use tonic::codec::CompressionEncoding;
use tonic::service::Routes;
use tonic_health::pb::health_server::HealthServer;

use crate::agents::Agents;
use crate::engine::Engine;
use crate::kernel::Reread;
use crate::kernel::caller::Forget;
use crate::kernel::config::Plans;
use crate::kernel::models::ModelTable;
use crate::kernel::page::Cursors;
use crate::kernel::{Clock, Error, Pepper, Result};
use crate::keys::Keys;
use crate::organisations::Organisations;
use crate::projects::Projects;
use crate::proto;
use crate::proto::rest::Services;
use crate::proto::runplane::v1::agents_service_server::{self, AgentsServiceServer};
use crate::proto::runplane::v1::auth_service_server::{self, AuthServiceServer};
use crate::proto::runplane::v1::keys_service_server::{self, KeysServiceServer};
use crate::proto::runplane::v1::organisations_service_server::{self, OrganisationsServiceServer};
use crate::proto::runplane::v1::projects_service_server::{self, ProjectsServiceServer};
use crate::proto::runplane::v1::runs_service_server::{self, RunsServiceServer};
use crate::runs::{Runs, Turns};
use crate::store::Store;

/// How gRPC's messages may be compressed, both ways; answers only for callers that say so.
const GZIP: CompressionEncoding = CompressionEncoding::Gzip;

/// Services whose health gRPC tells; the empty name is the whole server.
pub(super) const SERVED: [&str; 7] = [
    "",
    agents_service_server::SERVICE_NAME,
    auth_service_server::SERVICE_NAME,
    keys_service_server::SERVICE_NAME,
    organisations_service_server::SERVICE_NAME,
    projects_service_server::SERVICE_NAME,
    runs_service_server::SERVICE_NAME,
];

/// What every service stands on.
pub(super) struct Parts<'a> {
    pub(super) store: &'a Store,
    pub(super) engine: &'a Engine,
    pub(super) clock: &'a Clock,
    pub(super) pepper: &'a Pepper,
    pub(super) plans: &'a Plans,
}

pub(super) type AllServices = Services<Runs, Agents<Runs>, Keys, Keys, Organisations, Projects>;

pub(super) fn services(
    parts: &Parts<'_>,
    models: Reread<ModelTable>,
    forget: Forget,
) -> AllServices {
    let (store, clock) = (parts.store.clone(), parts.clock.clone());
    let cursors = Cursors::new(&parts.pepper.derive("cursors", ""));
    let runs = Arc::new(Runs {
        store: store.clone(),
        engine: parts.engine.clone(),
        clock: clock.clone(),
        cursors: cursors.clone(),
        plans: parts.plans.clone(),
        turns: Turns::default(),
    });
    let agents = Agents {
        store: store.clone(),
        clock: clock.clone(),
        cursors: cursors.clone(),
        models,
        runs: Arc::clone(&runs),
    };
    let organisations = Organisations {
        store: store.clone(),
        plans: parts.plans.clone(),
        clock: clock.clone(),
        cursors: cursors.clone(),
        forget: forget.clone(),
    };
    let projects = Projects {
        store: store.clone(),
        plans: parts.plans.clone(),
        pepper: parts.pepper.clone(),
        clock: clock.clone(),
        cursors: cursors.clone(),
        forget: forget.clone(),
    };
    let keys = Arc::new(Keys { store, pepper: parts.pepper.clone(), clock, cursors, forget });
    Services {
        runs,
        agents: Arc::new(agents),
        auth: Arc::clone(&keys),
        keys,
        organisations: Arc::new(organisations),
        projects: Arc::new(projects),
    }
}

/// tonic's side: the services, health and reflection.
pub(super) fn grpc(
    services: &AllServices,
    health: HealthServer<impl tonic_health::pb::health_server::Health>,
    body_bytes_max: usize,
) -> Result<Router> {
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(proto::DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let (v1, v1alpha) = (reflection().build_v1(), reflection().build_v1alpha());
    let mut routes = Routes::new(health)
        .add_service(v1.map_err(Error::internal)?)
        .add_service(v1alpha.map_err(Error::internal)?);
    macro_rules! serve {
        ($($server:ident $service:ident)*) => {$(
            let server = $server::from_arc(Arc::clone(&services.$service));
            let server = server.accept_compressed(GZIP).send_compressed(GZIP);
            routes = routes.add_service(server.max_decoding_message_size(body_bytes_max));
        )*};
    }
    serve! {
        AgentsServiceServer agents
        AuthServiceServer auth
        KeysServiceServer keys
        OrganisationsServiceServer organisations
        ProjectsServiceServer projects
        RunsServiceServer runs
    }
    Ok(routes.prepare().into_axum_router())
}
