//! Refuses calls that come in the clear, where only HTTPS is answered: by `server.require_https`,
//! or because the port speaks TLS. Before anything knows of a key, so that a key which was sent so
//! opens nothing. Health is told over plain HTTP too: probes hold no secret.

use std::convert::Infallible;
use std::task::{Context, Poll};

use http::Extensions;
use tower::{Layer, Service};

use super::peer::Peer;
use super::{Answer, Dialect, Request, Response, request_id};
use crate::kernel::{Error, Reason};

/// Methods of gRPC's health service.
const GRPC_HEALTH: &str = "/grpc.health.v1.Health/";

/// Put by the port into requests that came in the clear though it speaks TLS.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clear;

/// Makes [`Secured`] services.
#[derive(Debug, Clone, Copy)]
pub struct HttpsLayer {
    /// True refuses calls in the clear at every port; else at one with TLS only.
    pub required: bool,
}

/// Answers calls over HTTPS.
#[derive(Debug, Clone)]
pub struct Secured<S> {
    inner: S,
    required: bool,
}

impl<S> Layer<S> for HttpsLayer {
    type Service = Secured<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Secured { inner, required: self.required }
    }
}

impl<S> Service<Request> for Secured<S>
where
    S: Service<Request, Response = Response, Error = Infallible, Future = Answer>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Answer {
        let known = request.extensions();
        let needed = self.required || known.get::<Clear>().is_some();
        if !needed || is_secure(known) || is_health(&request) {
            return self.inner.call(request);
        }
        let error = Error::new(Reason::HttpsRequired, Reason::HttpsRequired.row().example);
        let dialect = Dialect::of(request.headers());
        let refused = dialect.refuse(error.into(), request_id(known));
        Box::pin(std::future::ready(Ok(refused)))
    }
}

fn is_secure(known: &Extensions) -> bool {
    known.get::<Peer>().is_some_and(|peer| peer.secure)
}

/// True for a call that asks how the process is.
pub(super) fn is_health(request: &Request) -> bool {
    let path = request.uri().path();
    match Dialect::of(request.headers()) {
        Dialect::Rest => matches!(path, "/healthz" | "/readyz"),
        Dialect::Grpc | Dialect::GrpcWeb => path.starts_with(GRPC_HEALTH),
    }
}
