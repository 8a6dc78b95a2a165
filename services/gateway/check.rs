//! A layer that is nothing but a check of the request: what does not pass is answered here, in the
//! caller's dialect. Put into `stack.rs` with the checks of `https.rs`, `limits.rs` and `role.rs`,
//! which know nothing of layers.

use std::convert::Infallible;
use std::task::{Context, Poll};

use tower::{Layer, Service};

use super::{Answer, Dialect, Request, Response, request_id};
use crate::kernel::Result;

/// Makes [`Checked`] services, with this check.
#[derive(Debug, Clone, Copy)]
pub(super) struct CheckLayer<C>(pub(super) C);

/// Answers what passes its check.
#[derive(Debug, Clone)]
pub(super) struct Checked<S, C> {
    inner: S,
    check: C,
}

impl<S, C: Clone> Layer<S> for CheckLayer<C> {
    type Service = Checked<S, C>;

    fn layer(&self, inner: S) -> Self::Service {
        Checked { inner, check: self.0.clone() }
    }
}

impl<S, C> Service<Request> for Checked<S, C>
where
    S: Service<Request, Response = Response, Error = Infallible, Future = Answer>,
    C: Fn(&Request) -> Result<()>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Answer {
        let Err(error) = (self.check)(&request) else { return self.inner.call(request) };
        let dialect = Dialect::of(request.headers());
        let refused = dialect.refuse(error.into(), request_id(request.extensions()));
        Box::pin(std::future::ready(Ok(refused)))
    }
}
