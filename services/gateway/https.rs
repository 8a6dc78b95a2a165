//! Refuses calls that come in the clear, where only HTTPS is answered: by `server.require_https`,
//! or because the port speaks TLS. Before anything knows of a key, so that a key which was sent so
//! opens nothing. Health is told over plain HTTP too: probes hold no secret.

use http::Extensions;

use super::peer::Peer;
use super::{Dialect, Request, health};
use crate::kernel::{Error, Reason, Result};

/// Methods of gRPC's health service.
const GRPC_HEALTH: &str = "/grpc.health.v1.Health/";

/// Put by the port into requests that came in the clear though it speaks TLS.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clear;

/// Refuses calls in the clear: with `required` at every port, else at one with TLS only.
pub(super) fn check(required: bool) -> impl Fn(&Request) -> Result<()> + Clone {
    move |request| {
        let known = request.extensions();
        let needed = required || known.get::<Clear>().is_some();
        if !needed || is_secure(known) || is_health(request) {
            return Ok(());
        }
        Err(Error::new(Reason::HttpsRequired, Reason::HttpsRequired.row().example))
    }
}

fn is_secure(known: &Extensions) -> bool {
    known.get::<Peer>().is_some_and(|peer| peer.secure)
}

/// True for a call that asks how the process is.
pub(super) fn is_health(request: &Request) -> bool {
    let path = request.uri().path();
    match Dialect::of(request.headers()) {
        Dialect::Rest => health::is_health(path),
        Dialect::Grpc | Dialect::GrpcWeb => path.starts_with(GRPC_HEALTH),
    }
}
