//! Bodies that are no JSON: `google.api.HttpBody`, passed on as it is, whole or in pieces. Called
//! by generated code; never looks into the bytes.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use axum::body::{Body, Bytes};
use futures::{Stream, StreamExt};
use http::{HeaderValue, header};
use tokio::time::{Sleep, sleep_until};
use tonic::{Status, metadata::MetadataMap};

use super::{
    call::{Call, answer},
    stream::{Deadline, late},
    table::Answer,
};

/// Type of bytes that nobody named.
const UNNAMED: HeaderValue = HeaderValue::from_static("application/octet-stream");

/// `google.api.HttpBody`. Implemented by generated code.
pub trait Raw: Default + Send + 'static {
    /// A body of this type.
    fn new(content_type: String, data: Bytes) -> Self;

    /// Its type, empty for none, and its bytes.
    fn into_parts(self) -> (String, Bytes);
}

/// The pieces of a streamed body. A failure cannot be told within them, so it cuts the transfer.
struct Pieces<S> {
    first: Option<Bytes>,
    items: Pin<Box<S>>,
    deadline: Option<Pin<Box<Sleep>>>,
    failure: Option<Status>,
}

impl Call {
    /// The body of the request as it was sent.
    pub fn raw<M: Raw>(&self) -> M {
        let kind = self.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        M::new(kind.unwrap_or_default().to_owned(), self.body.clone())
    }

    /// Answers with bytes.
    pub fn reply_raw<M: Raw>(&self, response: tonic::Response<M>, status: u16) -> Answer {
        let (metadata, message, extensions) = response.into_parts();
        let (kind, data) = message.into_parts();
        let mut response = answer(metadata, extensions, Body::from(data), status);
        describe(&mut response, kind);
        Ok(response)
    }

    /// Answers with bytes as they come. The first piece names their type, so it is waited for.
    pub async fn stream_raw<S, M>(self, response: tonic::Response<S>) -> Answer
    where
        S: Stream<Item = Result<M, Status>> + Send + 'static,
        M: Raw,
    {
        let (metadata, stream, extensions) = response.into_parts();
        let mut items = Box::pin(stream);
        let Some(first) = items.next().await else {
            return self.reply_raw(whole::<M>(metadata, extensions), 200);
        };
        let (kind, data) = first?.into_parts();
        let deadline = self.deadline.map(|Deadline(at)| Box::pin(sleep_until(at)));
        let pieces = Pieces { first: Some(data), items, deadline, failure: None };
        let mut response = answer(metadata, extensions, Body::from_stream(pieces), 200);
        describe(&mut response, kind);
        Ok(response)
    }
}

impl<S, M> Stream for Pieces<S>
where
    S: Stream<Item = Result<M, Status>>,
    M: Raw,
{
    type Item = Result<Bytes, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(first)));
        }
        if let Some(failure) = self.failure.take() {
            return Poll::Ready(Some(Err(failure)));
        }
        let failure = if self.is_late(context) {
            // Before the pieces: some never pause.
            late().into()
        } else {
            match ready!(self.items.as_mut().poll_next(context)) {
                Some(Ok(message)) => return Poll::Ready(Some(Ok(message.into_parts().1))),
                Some(Err(status)) => status,
                None => return Poll::Ready(None),
            }
        };
        // A cut connection loses what was not sent; asked to wait, the server sends it first.
        self.failure = Some(failure);
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<S> Pieces<S> {
    fn is_late(&mut self, context: &mut Context<'_>) -> bool {
        self.deadline.as_mut().is_some_and(|deadline| deadline.as_mut().poll(context).is_ready())
    }
}

fn whole<M: Raw>(metadata: MetadataMap, extensions: http::Extensions) -> tonic::Response<M> {
    tonic::Response::from_parts(metadata, M::default(), extensions)
}

/// Names the type, keeps browsers from guessing another, and a page among the bytes from acting as
/// one of this server's own.
fn describe(response: &mut http::Response<Body>, kind: String) {
    let kind = HeaderValue::try_from(kind).ok().filter(|kind| !kind.is_empty());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, kind.unwrap_or(UNNAMED));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(HeaderValue::from_static("sandbox"));
}
