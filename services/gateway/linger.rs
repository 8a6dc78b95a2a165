//! Refusals of callers that still send. Without this their connection would be reset, and the
//! answer with it: what they send is read on for a moment before they are answered. Over REST only;
//! never asks a caller that waits to be asked (`Expect: 100-continue`) for what nobody wants.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, header};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::time::timeout;
use tower::{Layer, Service};

use super::{Answer, Dialect, Request, Response};

/// How long a body that nobody wants is read on.
const LINGER: Duration = Duration::from_secs(1);

/// How many times the limit of a body is read on. One that is announced as larger is answered at
/// once: it would not end in time.
const DISCARDED: usize = 4;

/// Makes [`Lingering`] services.
#[derive(Debug, Clone, Copy)]
pub struct LingerLayer {
    /// Bytes that the body of a request may have.
    pub body_bytes_max: usize,
}

/// Hears refused callers to the end.
#[derive(Debug, Clone)]
pub struct Lingering<S> {
    inner: S,
    bytes_max: usize,
}

/// A body that whoever refuses its request leaves behind. Its lock is never waited for: one reads
/// after the other.
#[derive(Clone)]
struct Left(Arc<Mutex<Reading>>);

struct Reading {
    body: Body,
    begun: bool,
    ended: bool,
}

impl<S> Layer<S> for LingerLayer {
    type Service = Lingering<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Lingering { inner, bytes_max: self.body_bytes_max.saturating_mul(DISCARDED) }
    }
}

impl<S> Service<Request> for Lingering<S>
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
        let headers = request.headers();
        if request.body().is_end_stream() || Dialect::of(headers) != Dialect::Rest {
            return self.inner.call(request);
        }
        let waits = headers.contains_key(header::EXPECT);
        let bytes_max = if announced(headers) > self.bytes_max { 0 } else { self.bytes_max };
        let (parts, body) = request.into_parts();
        let left = Left(Arc::new(Mutex::new(Reading { body, begun: false, ended: false })));
        let call = self.inner.call(Request::from_parts(parts, Body::new(left.clone())));
        Box::pin(async move {
            let answer = call.await;
            let refused = answer.as_ref().is_ok_and(|response| !response.status().is_success());
            if refused && bytes_max > 0 && (left.reading().begun || !waits) {
                // A caller that sends on after that has had its chance.
                let _sent = timeout(LINGER, left.drain(bytes_max)).await;
            }
            answer
        })
    }
}

impl Left {
    fn reading(&self) -> MutexGuard<'_, Reading> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn drain(mut self, bytes_max: usize) {
        let mut left = bytes_max;
        while let Some(Ok(frame)) = self.frame().await {
            match left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) {
                Some(less) => left = less,
                None => break,
            }
        }
    }
}

impl http_body::Body for Left {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let mut reading = self.reading();
        if reading.ended {
            return Poll::Ready(None);
        }
        reading.begun = true;
        let frame = Pin::new(&mut reading.body).poll_frame(cx);
        reading.ended = matches!(frame, Poll::Ready(None | Some(Err(_))));
        frame
    }

    fn is_end_stream(&self) -> bool {
        let reading = self.reading();
        reading.ended || reading.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.reading().body.size_hint()
    }
}

fn announced(headers: &HeaderMap) -> usize {
    let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    length.and_then(|length| length.parse().ok()).unwrap_or_default()
}
