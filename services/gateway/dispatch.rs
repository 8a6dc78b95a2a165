//! The end of the stack: gRPC to tonic's services, everything else to the health page, the
//! description of the API or the transcoder. Makes sure that a failure which tonic itself found
//! carries our reason too.

use std::convert::Infallible;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::Body;
use http::{HeaderMap, HeaderValue, Uri};
use tonic::{Code, Status};
use tower::Service;

use super::health::Health;
use super::openapi::Pages;
use super::rest::no_route;
use super::rest::notice::Notice;
use super::web::NO_BASE64;
use super::{Answer, Dialect, Request, Response};
use crate::kernel::{Error, Reason};

/// Sends a call where it belongs. `T` is the transcoder.
#[derive(Clone)]
pub struct Dispatch<T> {
    grpc: Router,
    rest: T,
    health: Health,
    pages: Option<Pages>,
    deprecated: Deprecated,
}

/// Since when a method is deprecated, by its gRPC path.
pub type Deprecated = fn(&str) -> Option<&'static Notice>;

impl<T> Dispatch<T> {
    /// Over these services.
    #[must_use]
    pub fn new(grpc: Router, rest: T, health: Health) -> Self {
        Self { grpc, rest, health, pages: None, deprecated: |_| None }
    }

    /// The same, with a description of the API.
    #[must_use]
    pub fn describing(self, pages: Pages) -> Self {
        Self { pages: Some(pages), ..self }
    }

    /// The same, telling gRPC callers what is deprecated. REST's are told by the transcoder.
    #[must_use]
    pub fn deprecating(self, deprecated: Deprecated) -> Self {
        Self { deprecated, ..self }
    }
}

impl<T> Service<Request> for Dispatch<T>
where
    T: Service<Request, Response = Response, Error = Infallible, Future = Answer>
        + Clone
        + Send
        + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.rest.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Answer {
        if Dialect::of(request.headers()) != Dialect::Rest {
            let notice = (self.deprecated)(request.uri().path());
            let uri = request.uri().clone();
            let call = self.grpc.call(request);
            return Box::pin(async move {
                let mut response = call.await.map(|response| reasoned(response, &uri))?;
                if let Some(notice) = notice {
                    notice.write(response.headers_mut());
                }
                Ok(response)
            });
        }
        if let Some(response) = self.pages.as_ref().and_then(|pages| pages.answer(&request)) {
            return Box::pin(std::future::ready(Ok(response)));
        }
        if !request.uri().path().ends_with('z') {
            return self.rest.call(request);
        }
        let health = self.health.clone();
        let ready = self.rest.clone();
        let mut rest = std::mem::replace(&mut self.rest, ready);
        Box::pin(async move {
            match health.answer(request.method(), request.uri().path()).await {
                Some(response) => Ok(response),
                None => rest.call(request).await,
            }
        })
    }
}

/// A failure without a reason of ours, which tonic found before our services, gets the one that
/// fits.
fn reasoned(response: Response, uri: &Uri) -> Response {
    let headers = response.headers();
    if !headers.contains_key("grpc-status") || headers.contains_key("grpc-status-details-bin") {
        return response;
    }
    // What is not found was asked of a service beside ours: health or reflection.
    let known = |status: &Status| matches!(status.code(), Code::Ok | Code::NotFound);
    let Some(status) = Status::from_header_map(headers).filter(|status| !known(status)) else {
        return response;
    };
    let mut answer = Status::from(error_of(&status, uri)).into_http::<Body>();
    keep(headers, answer.headers_mut(), "grpc-accept-encoding");
    answer
}

fn keep(from: &HeaderMap, to: &mut HeaderMap, name: &'static str) {
    if let Some(value) = from.get(name) {
        to.insert(name, HeaderValue::clone(value));
    }
}

/// What tonic says, as our own fault, of a request that nobody could read.
const UNREADABLE: [&str; 6] = [
    "decode",
    "compression flag",
    "compressed-flag",
    "decompressing",
    "Missing request message",
    "Unexpected EOF",
];

/// The same of a request whose caller went away, or could no longer be heard.
const BROKEN: [&str; 3] = ["reading a body", "h2 protocol error", "connection"];

/// tonic tells by code and text what it could not read; only this function knows its words.
fn error_of(status: &Status, uri: &Uri) -> Error {
    let text = status.message();
    if text.contains(NO_BASE64) {
        return Error::field("body", NO_BASE64);
    }
    let reason = match status.code() {
        Code::OutOfRange => Reason::PayloadTooLarge,
        Code::Unimplemented if text.contains("encod") || text.contains("compress") => {
            Reason::UnsupportedMediaType
        }
        Code::Unimplemented => return no_route(uri.path()),
        Code::Internal if UNREADABLE.iter().any(|words| text.contains(words)) => {
            Reason::InvalidField
        }
        Code::Internal | Code::Unknown if BROKEN.iter().any(|words| text.contains(words)) => {
            Reason::RequestCancelled
        }
        Code::DeadlineExceeded => Reason::RequestTimeout,
        Code::Cancelled => Reason::RequestCancelled,
        Code::InvalidArgument => Reason::InvalidField,
        Code::Unavailable => Reason::Unavailable,
        Code::ResourceExhausted => Reason::PayloadTooLarge,
        _ => Reason::InternalError,
    };
    let message = if text.is_empty() { reason.row().example } else { text };
    Error::new(reason, message)
}
