//! Whether anything goes on on a connection. `port.rs` asks, so that callers that only keep their
//! connection do not take a place for ever, whatever pings they answer.
//!
//! Something goes on while a call is answered and while an answer waits for what comes next. It
//! does not while all there is to send waits for a caller that does not take it.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use tokio::time::{Instant, sleep_until};

use super::Response;

/// What goes on on one connection.
#[derive(Clone)]
pub(super) struct Activity(Arc<Mutex<State>>);

struct State {
    busy: usize,
    /// When something ended last.
    ended: Instant,
}

/// As long as this is there, something goes on.
struct Busy(Activity);

/// An answer whose end is not there yet.
struct Watched {
    inner: Body,
    activity: Activity,
    /// While the next frame is not there.
    busy: Option<Busy>,
}

impl Activity {
    /// Of a connection that begins now.
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(State { busy: 0, ended: Instant::now() })))
    }

    /// The answer to a call, which is busy until it has all that it sends.
    pub(super) fn during<F>(&self, call: F) -> impl Future<Output = F::Output> + use<F>
    where
        F: Future<Output = Result<Response, Infallible>>,
    {
        let busy = self.begin();
        async move {
            let Ok(response) = call.await;
            Ok(match response.body().size_hint().exact() {
                Some(_) => response,
                None => response.map(|inner| {
                    Body::new(Watched { inner, activity: busy.0.clone(), busy: None })
                }),
            })
        }
    }

    /// Done when nothing has gone on for so long, counted from now at the earliest.
    pub(super) async fn idle(&self, max: Duration) {
        let mut end = Instant::now() + max;
        loop {
            sleep_until(end).await;
            let state = self.state();
            let now = Instant::now();
            end = if state.busy > 0 { now } else { state.ended } + max;
            if end <= now {
                return;
            }
        }
    }

    fn begin(&self) -> Busy {
        self.state().busy += 1;
        Busy(self.clone())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.busy -= 1;
        state.ended = Instant::now();
    }
}

impl http_body::Body for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        let busy = this.busy.take().unwrap_or_else(|| this.activity.begin());
        let frame = Pin::new(&mut this.inner).poll_frame(cx);
        if frame.is_pending() {
            this.busy = Some(busy);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
