//! The outermost layer: a request id, a span, one log line, an answer even when something panics,
//! the caller's limits on every answer, and none with a body to `HEAD`, whoever answers.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::task::{Context, Poll};

use futures::FutureExt;
use http::{HeaderValue, Method};
use tower::{Layer, Service};
use tracing::Instrument;

use super::account::{self, Account};
use super::rate::Told;
use super::{Answer, Dialect, Request, Response, rest};
use crate::kernel::reply::{REQUEST_ID, RequestId};
use crate::kernel::telemetry::Meters;
use crate::kernel::{Clock, Error, ids};

/// Makes [`Identified`] services.
#[derive(Debug, Clone)]
pub struct RequestLayer {
    /// Tells the time for ids.
    pub clock: Clock,
    /// What is measured.
    pub meters: Meters,
}

/// Gives each request an id and each failure an answer.
#[derive(Debug, Clone)]
pub struct Identified<S> {
    inner: S,
    clock: Clock,
    meters: Meters,
}

impl<S> Layer<S> for RequestLayer {
    type Service = Identified<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Identified { inner, clock: self.clock.clone(), meters: self.meters.clone() }
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
        let traced = account::span(&request, (dialect, &id), &self.meters);
        let told = Told::default();
        let account = Account::new(&request, (dialect, &id), told.clone(), &self.meters);
        request.extensions_mut().insert(RequestId(id.clone()));
        request.extensions_mut().insert(told.clone());
        let head = request.method() == Method::HEAD;
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
            account.settle(&response);
            Ok(response)
        };
        Box::pin(answer.instrument(traced).instrument(span))
    }
}
