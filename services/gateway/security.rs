//! What every answer tells browsers: to take its type as it is said, to show it in no frame of
//! another page, to tell nobody where its reader came from, and, over HTTPS, to call in no other
//! way. Whatever an answer says itself of these stays. gRPC's answers have none: no browser looks.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::{HeaderMap, HeaderValue, header};
use tower::{Layer, Service};

use super::peer::Peer;
use super::{Answer, Dialect, Request, Response};

/// Makes [`Told`] services.
#[derive(Debug, Clone)]
pub struct SecurityLayer {
    transport: Option<HeaderValue>,
}

/// Adds to answers what browsers shall know.
#[derive(Debug, Clone)]
pub struct Told<S> {
    inner: S,
    transport: Option<HeaderValue>,
}

/// An answer to come, and what will be added to it. No box of its own: every call has one.
pub struct Telling {
    call: Answer,
    browser: bool,
    transport: Option<HeaderValue>,
}

impl SecurityLayer {
    /// With the seconds for which browsers shall call over HTTPS only; 0: as they like.
    #[must_use]
    pub fn new(hsts_seconds: u32) -> Self {
        let value = || HeaderValue::try_from(format!("max-age={hsts_seconds}")).ok();
        Self { transport: if hsts_seconds == 0 { None } else { value() } }
    }
}

impl<S> Layer<S> for SecurityLayer {
    type Service = Told<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Told { inner, transport: self.transport.clone() }
    }
}

impl<S> Service<Request> for Told<S>
where
    S: Service<Request, Response = Response, Error = Infallible, Future = Answer>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Telling;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Telling {
        let browser = Dialect::of(request.headers()) == Dialect::Rest;
        // In the clear it would mean nothing: anybody could have written it.
        let secure = || request.extensions().get::<Peer>().is_some_and(|peer| peer.secure);
        let transport = self.transport.as_ref().filter(|_| browser && secure()).cloned();
        Telling { call: self.inner.call(request), browser, transport }
    }
}

impl Future for Telling {
    type Output = Result<Response, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Ok(mut response) = ready!(self.call.as_mut().poll(cx));
        if self.browser {
            tell(response.headers_mut(), self.transport.take());
        }
        Poll::Ready(Ok(response))
    }
}

fn tell(headers: &mut HeaderMap, transport: Option<HeaderValue>) {
    let said = [
        (header::X_CONTENT_TYPE_OPTIONS, Some(HeaderValue::from_static("nosniff"))),
        (header::REFERRER_POLICY, Some(HeaderValue::from_static("no-referrer"))),
        (header::X_FRAME_OPTIONS, Some(HeaderValue::from_static("DENY"))),
        (header::STRICT_TRANSPORT_SECURITY, transport),
    ];
    headers.reserve(said.len());
    for (name, value) in said {
        if let Some(value) = value {
            headers.entry(name).or_insert(value);
        }
    }
}
