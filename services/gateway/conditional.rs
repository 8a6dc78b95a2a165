//! Conditional reading (RFC 9110, 13): a caller that already has what it asks for is told so with
//! 304, without a body. Over REST only; conditions of changes are the transcoder's to hand on.

use std::convert::Infallible;
use std::task::{Context, Poll};

use axum::body::Body;
use http::{HeaderMap, HeaderName, Method, StatusCode, header};
use tower::{Layer, Service};

use super::rest::tags::Tags;
use super::{Answer, Dialect, Request, Response, request_id};
use crate::kernel::{Error, Reason, Result};

/// What a request may say of tags.
const CONDITIONS: [HeaderName; 2] = [header::IF_MATCH, header::IF_NONE_MATCH];

/// Makes [`Conditional`] services.
#[derive(Debug, Clone, Copy)]
pub struct ConditionalLayer;

/// Answers conditional reads.
#[derive(Debug, Clone)]
pub struct Conditional<S> {
    inner: S,
}

impl<S> Layer<S> for ConditionalLayer {
    type Service = Conditional<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Conditional { inner }
    }
}

impl<S> Service<Request> for Conditional<S>
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
        if !concerns(&request) {
            return self.inner.call(request);
        }
        let id = request_id(request.extensions()).to_owned();
        let mut asked = HeaderMap::new();
        for name in CONDITIONS {
            for value in request.headers().get_all(&name) {
                asked.append(name.clone(), value.clone());
            }
        }
        let call = self.inner.call(request);
        Box::pin(async move {
            let Ok(response) = call.await;
            Ok(match is_known(&asked, &response) {
                Ok(false) => response,
                Ok(true) => not_modified(response),
                Err(error) => Dialect::Rest.refuse(error.into(), &id),
            })
        })
    }
}

/// True when the caller has it already. Asked of what was found: who may not read it is not told
/// that its conditions are wrong, and what has no tag is whatever it was.
fn is_known(asked: &HeaderMap, response: &Response) -> Result<bool> {
    if !response.status().is_success() {
        return Ok(false);
    }
    let etag = response.headers().get(header::ETAG).and_then(|tag| tag.to_str().ok());
    let has = |tags: Tags| tags.any() || etag.is_some_and(|etag| tags.has(etag));
    if !Tags::read(asked, &header::IF_MATCH)?.is_none_or(has) {
        let tag = etag.unwrap_or("none");
        let message = format!("the entity tag is {tag}, which if-match does not name");
        let error = Error::new(Reason::PreconditionFailed, message);
        return Err(error.with("field", "if-match").with("etag", tag));
    }
    let Some(etag) = etag else { return Ok(false) };
    let known = |tags: Tags| tags.any() || tags.has_weakly(etag);
    Ok(Tags::read(asked, &header::IF_NONE_MATCH)?.is_some_and(known))
}

fn concerns(request: &Request) -> bool {
    let headers = request.headers();
    CONDITIONS.iter().any(|name| headers.contains_key(name))
        && matches!(*request.method(), Method::GET | Method::HEAD)
        && Dialect::of(headers) == Dialect::Rest
}

/// Keeps what is said of the answer, not what is said of its body.
fn not_modified(mut response: Response) -> Response {
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    for name in [header::CONTENT_LENGTH, header::CONTENT_TYPE, header::CONTENT_ENCODING] {
        response.headers_mut().remove(name);
    }
    *response.body_mut() = Body::empty();
    response
}
