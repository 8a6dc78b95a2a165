//! The middleware, top to bottom, a reason beside each. One stack for gRPC, gRPC-Web and REST: what
//! guards one guards all.

use std::convert::Infallible;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Method, header};
use tower::util::option_layer;
use tower::{Layer, Service, ServiceBuilder};
use tower_http::cors::{AllowOrigin, CorsLayer};

use super::coding::CodingLayer;
use super::conditional::ConditionalLayer;
use super::deadline::DeadlineLayer;
use super::limits::LimitsLayer;
use super::request::RequestLayer;
use super::web::WebLayer;
use super::{Answer, Request, Response};
use crate::kernel::Clock;
use crate::kernel::config::ServerConfig;

/// Seconds that a browser may keep the answer to a preflight.
const PREFLIGHT_S: u64 = 3600;

/// Response headers that pages of other origins may read.
const EXPOSED: [&str; 11] = [
    "grpc-status",
    "grpc-message",
    "grpc-status-details-bin",
    "x-request-id",
    "retry-after",
    "location",
    "allow",
    "etag",
    "deprecation",
    "sunset",
    "link",
];

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
    clock: Clock,
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
        // Every answer has a request id and a log line, also that of a panic.
        .layer(RequestLayer { clock })
        // Preflights carry no key, so they end here. Without origins there is nothing to say to
        // pages of others.
        .layer(option_layer((!config.cors_origins.is_empty()).then(|| cors(&config.cors_origins))))
        // Below this there is no gRPC-Web, only gRPC: failures are translated like answers.
        .layer(WebLayer)
        // Before anything reads the headers at length.
        .layer(LimitsLayer)
        // Above the coding of answers, whose tags say how they are coded.
        .layer(ConditionalLayer)
        // Above the deadline, whose last words are not compressed.
        .layer(CodingLayer)
        // Before authentication: a slow store counts too.
        .layer(DeadlineLayer { max: Duration::from_secs(config.deadline_seconds_max) })
        // The last guard: whatever is below has a caller with the scope that the contract names.
        .layer(guard)
        .service(inner)
}

fn cors(origins: &[String]) -> CorsLayer {
    let origin = if origins.iter().any(|origin| origin == "*") {
        AllowOrigin::any()
    } else {
        AllowOrigin::list(origins.iter().filter_map(|o| HeaderValue::from_str(o).ok()))
    };
    CorsLayer::new()
        .allow_origin(origin)
        .allow_methods([Method::GET, Method::POST, Method::PATCH, Method::PUT, Method::DELETE])
        .allow_headers(tower_http::cors::AllowHeaders::mirror_request())
        .expose_headers(EXPOSED.map(HeaderName::from_static))
        .vary([header::ORIGIN])
        .max_age(Duration::from_secs(PREFLIGHT_S))
}
