//! The outermost layer: a request id, a span, one log line, an answer even when something panics,
//! the caller's limits on every answer, and none with a body to `HEAD`, whoever answers.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::task::{Context, Poll};

use futures::FutureExt;
use http::{HeaderValue, Method};
use tokio::time::Instant;
use tower::{Layer, Service};
use tracing::Instrument;

use super::rate::Told;
use super::{Answer, Dialect, Request, Response, rest};
use crate::kernel::reply::{REQUEST_ID, RequestId};
use crate::kernel::{Clock, Error, ids};

/// Makes [`Identified`] services.
#[derive(Debug, Clone)]
pub struct RequestLayer {
    /// Tells the time for ids.
    pub clock: Clock,
}

/// Gives each request an id and each failure an answer.
#[derive(Debug, Clone)]
pub struct Identified<S> {
    inner: S,
    clock: Clock,
}

impl<S> Layer<S> for RequestLayer {
    type Service = Identified<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Identified { inner, clock: self.clock.clone() }
    }
}

impl<S> Service<Request> for Identified<S>
where
    S: Service<Request, Response = Response, Error = Infallible> + Send + 'static,
    S::Future: Send,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request) -> Answer {
        let id = ids::format(ids::Kind::Request, ids::fresh(self.clock.now()));
        let dialect = Dialect::of(request.headers());
        let span = tracing::info_span!(
            "request",
            id = %id,
            method = %request.method(),
            path = %request.uri().path(),
        );
        request.extensions_mut().insert(RequestId(id.clone()));
        let told = Told::default();
        request.extensions_mut().insert(told.clone());
        let head = request.method() == Method::HEAD;
        let begun = Instant::now();
        let call = AssertUnwindSafe(self.inner.call(request)).catch_unwind();
        let answer = async move {
            let mut response = match call.await {
                Ok(Ok(response)) => response,
                Err(_panic) => dialect.refuse(Error::internal("a call panicked").into(), &id),
            };
            if let Ok(value) = HeaderValue::from_str(&id) {
                response.headers_mut().insert(REQUEST_ID, value);
            }
            told.write(response.headers_mut());
            if head {
                response = rest::bodiless(response);
            }
            let status = response.status().as_u16();
            let elapsed_us = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
            tracing::debug!(status, elapsed_us, ?dialect, "answered");
            Ok(response)
        };
        Box::pin(answer.instrument(span))
    }
}
