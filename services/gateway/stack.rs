//! The middleware, top to bottom, a reason beside each. One stack for gRPC, gRPC-Web and REST: what
//! guards one guards all.

use std::convert::Infallible;
use std::time::Duration;

use tower::{Layer, Service, ServiceBuilder};

use super::check::CheckLayer;
use super::coding::CodingLayer;
use super::conditional::ConditionalLayer;
use super::deadline::DeadlineLayer;
use super::linger::LingerLayer;
use super::origin::OriginLayer;
use super::peer::PeerLayer;
use super::request::RequestLayer;
use super::security::SecurityLayer;
use super::web::WebLayer;
use super::{Answer, Request, Response, https, limits, role};
use crate::kernel::Clock;
use crate::kernel::config::ServerConfig;
use crate::kernel::telemetry::Meters;

/// What a stack is: it answers every request, and every connection has a copy.
pub trait Stack:
    Service<Request, Response = Response, Error = Infallible, Future: Send> + Clone + Send + 'static
{
}

impl<S> Stack for S where
    S: Service<Request, Response = Response, Error = Infallible, Future: Send>
        + Clone
        + Send
        + 'static
{
}

/// The whole stack over `inner`. `guard` is the last layer: it lets pass who may call.
pub fn stack<S, G>(
    config: &ServerConfig,
    (clock, meters): (Clock, Meters),
    guard: G,
    inner: S,
) -> impl Stack + use<S, G>
where
    G: Layer<S>,
    G::Service: Service<Request, Response = Response, Error = Infallible, Future = Answer>
        + Clone
        + Send
        + 'static,
{
    ServiceBuilder::new()
        // Every layer may ask who calls.
        .layer(PeerLayer::new(config))
        // Every answer, whoever gives it, also that of a panic.
        .layer(SecurityLayer::new(config.hsts_seconds))
        // Every answer has a request id and a log line, also that of a panic.
        .layer(RequestLayer { clock, meters })
        // Above all that refuse, whose answers a caller that still sends would else not see.
        .layer(LingerLayer { body_bytes_max: config.body_bytes_max })
        // Before the key is looked at: a page that may not call has none that counts. Preflights
        // carry none and end here, and a page may read every failure from below.
        .layer(OriginLayer::new(&config.cors_origins))
        // Before the key is looked at, and below what lets pages read failures.
        .layer(CheckLayer(https::check(config.require_https)))
        // Before the key is looked at: a worker knows of none.
        .layer(CheckLayer(role::check(config.role)))
        // Below this there is no gRPC-Web, only gRPC: failures are translated like answers.
        .layer(WebLayer)
        // Before anything reads the headers at length.
        .layer(CheckLayer(limits::check))
        // Above the coding of answers, whose tags say how they are coded.
        .layer(ConditionalLayer)
        // Above the deadline, whose last words are not compressed.
        .layer(CodingLayer)
        // Before authentication: a slow store counts too.
        .layer(DeadlineLayer { max: Duration::from_secs(config.deadline_seconds_max) })
        // The last guard: whatever is below has a caller with the scope that the contract names,
        // who has not called too often.
        .layer(guard)
        .service(inner)
}
