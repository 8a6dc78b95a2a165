//! Streams as answers: server-sent events, one JSON document a line, or one JSON array. Asked by
//! generated dispatch for streaming methods; never outlives the body that it feeds: dropping that
//! drops the stream.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::body::{Body, Bytes};
use futures::{Stream, StreamExt};
use http::{HeaderValue, header};
use tokio::time::{Instant, MissedTickBehavior, Sleep, interval_at, sleep_until, timeout};
use tokio_stream::wrappers::IntervalStream;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::kernel::error::{Error, Reason};

use super::{
    accept::Form,
    call::{Call, answer},
    refuse::ErrorForm,
    table::Answer,
};

/// Content type of a stream of lines.
pub const LINES: &str = "application/x-ndjson";

/// A message that can be an item of a stream. Implemented by generated code.
pub trait Event: Send + 'static {
    /// The `id:` of the event; empty for none.
    fn id(&self) -> &str {
        ""
    }

    /// The `event:` of the event; empty for none.
    fn kind(&self) -> &str {
        ""
    }

    /// Writes the item as compact JSON.
    fn write_item(&self, out: &mut Vec<u8>);

    /// Writes the `data:` of the event as compact JSON.
    fn write_data(&self, out: &mut Vec<u8>) {
        self.write_item(out);
    }
}

/// When the caller of a stream stops waiting. In the extensions of a request, if it says so.
#[derive(Debug, Clone, Copy)]
pub struct Deadline(pub Instant);

/// The end of a call at its deadline.
#[must_use]
pub fn late() -> Error {
    Error::new(Reason::RequestTimeout, Reason::RequestTimeout.row().example)
}

/// How items become bytes.
#[derive(Debug)]
struct Framing {
    form: Form,
    errors: ErrorForm,
    request_id: String,
    /// True until the first item of an array is written.
    first: bool,
    /// What server-sent events that end because the server does say last.
    farewell: Farewell,
}

/// When the server ends, its callers may come back soon: to another one, or to the next.
#[derive(Debug, Clone)]
struct Farewell {
    ending: CancellationToken,
    retry_ms: u64,
}

/// The frames of a stream: its items, signs of life while it is silent, and its failure as the last
/// frame.
struct Frames<S, T> {
    framing: Framing,
    opening: Option<Bytes>,
    items: Pin<Box<S>>,
    ticks: T,
    deadline: Option<Pin<Box<Sleep>>>,
    ended: bool,
}

impl Call {
    /// Answers with a stream. Waits a moment for the first item, so that an early failure has its
    /// own status.
    pub async fn stream<S, M>(self, response: tonic::Response<S>) -> Answer
    where
        S: Stream<Item = Result<M, Status>> + Send + 'static,
        M: Event,
    {
        let (metadata, stream, extensions) = response.into_parts();
        let mut items = Box::pin(stream);
        let kind = match self.form {
            Form::Lines => LINES,
            Form::Array => "application/json",
            Form::Json | Form::Events => "text/event-stream",
        };
        let errors = self.options.errors;
        let (form, request_id) = (self.form, self.request_id);
        let (ending, retry_ms) = (self.options.ending.clone(), self.options.ending_retry_ms);
        let farewell = Farewell { ending, retry_ms };
        let mut framing = Framing { form, errors, request_id, first: true, farewell };
        let wait = Duration::from_millis(self.options.first_item_wait_ms);
        let (opening, ended) = match timeout(wait, items.next()).await {
            Ok(Some(item)) => (Some(framing.item(&item?)), false),
            Ok(None) => (framing.end(), true),
            Err(_) => (framing.ping(), false),
        };
        let opening = framing.open(opening, self.options.retry_ms);
        let period = Duration::from_secs(self.options.ping_s.max(1));
        let mut ticks = interval_at(Instant::now() + period, period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let ticks = IntervalStream::new(ticks);
        let deadline = self.deadline.map(|Deadline(at)| Box::pin(sleep_until(at)));
        let frames = Frames { framing, opening, items, ticks, deadline, ended };
        let mut response = answer(metadata, extensions, Body::from_stream(frames), 200);
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

/// The answer of a stream whose items are given another form.
pub fn map<S, M, E>(
    response: tonic::Response<S>,
    form: fn(M) -> E,
) -> tonic::Response<impl Stream<Item = Result<E, Status>> + Send>
where
    S: Stream<Item = Result<M, Status>> + Send + 'static,
    M: 'static,
    E: 'static,
{
    response.map(|items| items.map(move |item| item.map(form)))
}

impl Framing {
    fn item<M: Event>(&mut self, item: &M) -> Bytes {
        let mut out = Vec::with_capacity(256);
        match self.form {
            Form::Lines => {
                out.extend_from_slice(b"{\"result\":");
                item.write_item(&mut out);
                out.extend_from_slice(b"}\n");
            }
            Form::Array => {
                out.extend_from_slice(self.lead().as_bytes());
                item.write_item(&mut out);
            }
            Form::Json | Form::Events => {
                put(&mut out, b"id: ", item.id());
                put(&mut out, b"event: ", item.kind());
                out.extend_from_slice(b"data: ");
                item.write_data(&mut out);
                out.extend_from_slice(b"\n\n");
            }
        }
        out.into()
    }

    /// What goes before an element of an array.
    fn lead(&mut self) -> &'static str {
        if std::mem::take(&mut self.first) { "[" } else { ",\n" }
    }

    /// A sign of life: a comment, or space where JSON allows it.
    fn ping(&self) -> Option<Bytes> {
        match self.form {
            Form::Json | Form::Events => Some(Bytes::from_static(b": ping\n\n")),
            Form::Array => Some(Bytes::from_static(b"\n")),
            Form::Lines => None,
        }
    }

    /// The first bytes, with a hint when to come back if these break off.
    fn open(&self, first: Option<Bytes>, retry_ms: u64) -> Option<Bytes> {
        if retry_ms == 0 || !matches!(self.form, Form::Json | Form::Events) {
            return first;
        }
        let hint = format!("retry: {retry_ms}\n");
        first.map(|first| [hint.as_bytes(), &first].concat().into())
    }

    fn end(&self) -> Option<Bytes> {
        let Farewell { ending, retry_ms } = &self.farewell;
        if matches!(self.form, Form::Json | Form::Events) {
            return ending.is_cancelled().then(|| format!("retry: {retry_ms}\n\n").into());
        }
        let end = if self.first { "[]\n" } else { "]\n" };
        (self.form == Form::Array).then(|| Bytes::from_static(end.as_bytes()))
    }

    /// The last frame of a stream that failed. An array stays open: what was cut off is no JSON.
    fn failure(&mut self, status: &Status) -> Bytes {
        let error = self.errors.in_band(status, &self.request_id);
        let (before, after) = match self.form {
            Form::Json | Form::Events => ("event: stream-error\ndata: ", "\n\n"),
            Form::Lines => ("", "\n"),
            Form::Array => (self.lead(), "\n"),
        };
        [before.as_bytes(), &error, after.as_bytes()].concat().into()
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
        // Before the items: some never pause.
        if self.is_late(context) {
            self.ended = true;
            return Poll::Ready(Some(Ok(self.framing.failure(&late().into()))));
        }
        match self.items.as_mut().poll_next(context) {
            Poll::Ready(Some(Ok(item))) => Poll::Ready(Some(Ok(self.framing.item(&item)))),
            Poll::Ready(Some(Err(status))) => {
                self.ended = true;
                Poll::Ready(Some(Ok(self.framing.failure(&status))))
            }
            Poll::Ready(None) => {
                self.ended = true;
                Poll::Ready(self.framing.end().map(Ok))
            }
            Poll::Pending => self.poll_ping(context),
        }
    }
}

impl<S, T: Stream + Unpin> Frames<S, T> {
    fn is_late(&mut self, context: &mut Context<'_>) -> bool {
        self.deadline.as_mut().is_some_and(|deadline| deadline.as_mut().poll(context).is_ready())
    }

    fn poll_ping(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Infallible>>> {
        while let Poll::Ready(Some(_)) = self.ticks.poll_next_unpin(context) {
            if let Some(ping) = self.framing.ping() {
                return Poll::Ready(Some(Ok(ping)));
            }
        }
        Poll::Pending
    }
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

    use super::{super::json, *};

    impl Event for String {
        fn write_item(&self, out: &mut Vec<u8>) {
            json::append(self, out);
        }
    }

    #[tokio::test]
    async fn a_silent_stream_tells_at_each_tick_that_it_lives() {
        for (form, expected) in [
            (Form::Events, "data: \"a\"\n\n: ping\n\n: ping\n\n"),
            (Form::Lines, "{\"result\":\"a\"}\n"),
            (Form::Array, "[\"a\"\n\n"),
        ] {
            let item = Ok::<_, Status>("a".to_owned());
            let mut frames = frames(form, stream::iter([item]).chain(stream::pending()));
            let mut text = Vec::new();
            while let Poll::Ready(Some(Ok(frame))) = futures::poll!(frames.next()) {
                text.extend_from_slice(&frame);
            }
            assert_eq!(String::from_utf8(text).unwrap(), expected);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_late_stream_ends_in_its_own_form() {
        for (form, begins, ends) in [
            (Form::Events, "event: stream-error\ndata: {", "}\n\n"),
            (Form::Lines, "{\"error\":{", "}}\n"),
            (Form::Array, "[{\"error\":{", "}}\n"),
        ] {
            let mut frames = frames(form, stream::pending::<Result<String, Status>>());
            frames.deadline = Some(Box::pin(sleep_until(Instant::now() + Duration::from_secs(1))));
            let all: Vec<_> = frames.map(Result::unwrap).collect().await;
            let all = String::from_utf8(all.concat()).unwrap();
            let said =
                all.rsplit_once(": ping\n\n").map_or(all.as_str(), |(_, last)| last).trim_start();
            assert!(said.starts_with(begins) && said.ends_with(ends), "{all}");
            assert!(said.contains("request_timeout"), "{all}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_never_pauses_ends_at_its_deadline_too() {
        let item = || Ok::<_, Status>("a".to_owned());
        let mut frames = frames(Form::Lines, stream::repeat_with(item));
        frames.deadline = Some(Box::pin(sleep_until(Instant::now() + Duration::from_secs(1))));
        assert!(frames.next().await.unwrap().unwrap().starts_with(b"{\"result\""));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(frames.next().await.unwrap().unwrap().starts_with(b"{\"error\""));
        assert!(frames.next().await.is_none());
    }

    fn frames<S>(form: Form, items: S) -> Frames<S, impl Stream<Item = ()> + Unpin> {
        let (errors, request_id) = (ErrorForm::Envelope, String::new());
        let farewell = Farewell { ending: CancellationToken::new(), retry_ms: 500 };
        Frames {
            framing: Framing { form, errors, request_id, first: true, farewell },
            opening: None,
            items: Box::pin(items),
            ticks: stream::iter([(), ()]).chain(stream::pending()),
            deadline: None,
            ended: false,
        }
    }
}
