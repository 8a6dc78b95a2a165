//! Streams as answers: server-sent events, or one JSON document a line. Asked by generated dispatch
//! for streaming methods; never outlives the body that it feeds: dropping that drops the stream.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::body::{Body, Bytes};
use futures::{Stream, StreamExt};
use http::{HeaderValue, header};
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};
use tokio_stream::wrappers::IntervalStream;
use tonic::Status;

use crate::kernel::reply;

use super::{
    accept::Form,
    call::{Call, answer},
    json::{self, Json},
    table::Answer,
};

/// Content type of a stream of lines.
pub const LINES: &str = "application/x-ndjson";

/// A message that can be a server-sent event. Implemented by generated code.
pub trait Event: Json + Send + 'static {
    /// The `id:` of the event; empty for none.
    fn id(&self) -> &str {
        ""
    }

    /// The `event:` of the event; empty for none.
    fn kind(&self) -> &str {
        ""
    }

    /// Writes the `data:` of the event as compact JSON.
    fn write_data(&self, out: &mut Vec<u8>) {
        json::append(self, out);
    }
}

/// How items become bytes.
#[derive(Debug, Clone)]
struct Framing {
    lines: bool,
    request_id: String,
}

/// The frames of a stream: its items, comments while it is silent, and its failure as the last
/// frame.
struct Frames<S, T> {
    framing: Framing,
    opening: Option<Bytes>,
    items: Pin<Box<S>>,
    ticks: T,
    ended: bool,
}

impl Call {
    /// Answers with a stream. Waits a moment for the first item, so that an early failure has its
    /// own status.
    pub async fn stream<S, M>(&self, response: tonic::Response<S>) -> Answer
    where
        S: Stream<Item = Result<M, Status>> + Send + 'static,
        M: Event,
    {
        let (metadata, stream, extensions) = response.into_parts();
        let mut items = Box::pin(stream);
        let lines = self.form == Form::Lines;
        let framing = Framing { lines, request_id: self.request_id.clone() };
        let wait = Duration::from_millis(self.options.first_item_wait_ms);
        let (opening, ended) = match timeout(wait, items.next()).await {
            Ok(Some(item)) => (Some(framing.item(&item?)), false),
            Ok(None) => (None, true),
            Err(_) => (framing.ping(), false),
        };
        let period = Duration::from_secs(self.options.ping_s.max(1));
        let mut ticks = interval_at(Instant::now() + period, period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let ticks = IntervalStream::new(ticks);
        let frames = Frames { framing, opening, items, ticks, ended };
        let mut response = answer(metadata, extensions, Body::from_stream(frames), 200);
        let kind = if lines { LINES } else { "text/event-stream" };
        for (name, value) in [
            (header::CONTENT_TYPE, kind),
            (header::CACHE_CONTROL, "no-cache, no-transform"),
            (header::HeaderName::from_static("x-accel-buffering"), "no"),
        ] {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        Ok(response)
    }
}

impl Framing {
    fn item<M: Event>(&self, item: &M) -> Bytes {
        let mut out = Vec::with_capacity(256);
        if self.lines {
            out.extend_from_slice(b"{\"result\":");
            json::append(item, &mut out);
            out.extend_from_slice(b"}\n");
            return out.into();
        }
        put(&mut out, b"id: ", item.id());
        put(&mut out, b"event: ", item.kind());
        out.extend_from_slice(b"data: ");
        item.write_data(&mut out);
        out.extend_from_slice(b"\n\n");
        out.into()
    }

    fn ping(&self) -> Option<Bytes> {
        (!self.lines).then(|| Bytes::from_static(b": ping\n\n"))
    }
}

impl<S, T, M> Stream for Frames<S, T>
where
    S: Stream<Item = Result<M, Status>>,
    T: Stream + Unpin,
    M: Event,
{
    type Item = Result<Bytes, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(opening) = self.opening.take() {
            return Poll::Ready(Some(Ok(opening)));
        }
        if self.ended {
            return Poll::Ready(None);
        }
        match self.items.as_mut().poll_next(context) {
            Poll::Ready(Some(Ok(item))) => Poll::Ready(Some(Ok(self.framing.item(&item)))),
            Poll::Ready(Some(Err(status))) => {
                self.ended = true;
                let Framing { lines, request_id } = &self.framing;
                Poll::Ready(Some(Ok(failure(*lines, &status, request_id))))
            }
            Poll::Ready(None) => {
                self.ended = true;
                Poll::Ready(None)
            }
            Poll::Pending => self.poll_ping(context),
        }
    }
}

impl<S, T: Stream + Unpin> Frames<S, T> {
    fn poll_ping(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Infallible>>> {
        while let Poll::Ready(Some(_)) = self.ticks.poll_next_unpin(context) {
            if let Some(ping) = self.framing.ping() {
                return Poll::Ready(Some(Ok(ping)));
            }
        }
        Poll::Pending
    }
}

/// The last frame of a stream that failed.
#[must_use]
pub fn failure(lines: bool, status: &Status, request_id: &str) -> Bytes {
    let envelope = reply::envelope(status, request_id);
    if lines {
        return format!("{envelope}\n").into();
    }
    format!("event: stream-error\ndata: {envelope}\n\n").into()
}

/// Writes a line of a frame, unless it is empty. A line break would end it early and a NUL would
/// void it: both are left out.
fn put(out: &mut Vec<u8>, name: &[u8], value: &str) {
    if value.is_empty() {
        return;
    }
    out.extend_from_slice(name);
    out.extend(value.bytes().filter(|byte| !matches!(byte, b'\r' | b'\n' | 0)));
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use futures::stream;

    use super::*;

    impl Event for String {}

    #[tokio::test]
    async fn a_silent_stream_tells_at_each_tick_that_it_lives() {
        for (lines, expected) in
            [(false, "data: \"a\"\n\n: ping\n\n: ping\n\n"), (true, "{\"result\":\"a\"}\n")]
        {
            let item = Ok::<_, Status>("a".to_owned());
            let mut frames = Frames {
                framing: Framing { lines, request_id: String::new() },
                opening: None,
                items: Box::pin(stream::iter([item]).chain(stream::pending())),
                ticks: stream::iter([(), ()]).chain(stream::pending()),
                ended: false,
            };
            let mut text = Vec::new();
            while let Poll::Ready(Some(Ok(frame))) = futures::poll!(frames.next()) {
                text.extend_from_slice(&frame);
            }
            assert_eq!(String::from_utf8(text).unwrap(), expected);
        }
    }
}
