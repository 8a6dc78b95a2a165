//! The port of a process that only drives runs: it tells its health, and nothing else. Before
//! anything looks at keys, which such a process does not serve.

use std::convert::Infallible;
use std::task::{Context, Poll};

use tower::{Layer, Service};

use super::https::is_health;
use super::{Answer, Dialect, Request, Response, request_id};
use crate::kernel::config::Role;
use crate::kernel::{Error, Reason};

/// Makes [`Serving`] services.
#[derive(Debug, Clone, Copy)]
pub struct RoleLayer {
    /// What the process is there for.
    pub role: Role,
}

/// Answers calls where the process is there for them.
#[derive(Debug, Clone)]
pub struct Serving<S> {
    inner: S,
    role: Role,
}

impl<S> Layer<S> for RoleLayer {
    type Service = Serving<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Serving { inner, role: self.role }
    }
}

impl<S> Service<Request> for Serving<S>
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
        if self.role != Role::Worker || is_health(&request) {
            return self.inner.call(request);
        }
        let message = "this process only drives runs (server.role is worker); call a server";
        let error = Error::new(Reason::Unavailable, message);
        let dialect = Dialect::of(request.headers());
        let refused = dialect.refuse(error.into(), request_id(request.extensions()));
        Box::pin(std::future::ready(Ok(refused)))
    }
}
