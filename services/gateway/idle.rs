//! Whether anything goes on on a connection. `port.rs` asks, so that callers that only keep their
//! connection do not take a place for ever, whatever pings they answer.
//!
//! Something goes on while a call is answered and while an answer waits for what comes next. It
//! does not while all there is to send waits for a caller that does not take it. An answer of which
//! a caller takes nothing for long is dropped, and with it whatever makes it: the connection holds
//! what was handed out before, and no more.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::Future;
use std::io;
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
    /// Answers whose end is not there yet, by number.
    open: HashMap<u64, Arc<Mutex<Source>>>,
    /// How many there were.
    opened: u64,
}

/// What makes an answer.
struct Source {
    /// None after it was dropped.
    body: Option<Body>,
    /// Since when nobody has asked for more: what was handed out waits for the caller.
    since: Option<Instant>,
}

/// As long as this is there, something goes on.
struct Busy(Activity);

/// An answer whose end is not there yet.
struct Watched {
    source: Arc<Mutex<Source>>,
    number: u64,
    activity: Activity,
    /// While the next frame is not there.
    busy: Option<Busy>,
}

impl Activity {
    /// Of a connection that begins now.
    pub(super) fn new() -> Self {
        let (busy, ended) = (0, Instant::now());
        Self(Arc::new(Mutex::new(State { busy, ended, open: HashMap::new(), opened: 0 })))
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
                None => response.map(|body| Body::new(busy.0.watch(body))),
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

    /// Drops every answer of which the caller has taken nothing for so long; done when nothing else
    /// goes on then.
    pub(super) async fn stalled(&self, max: Duration) {
        while let Some(next) = self.look(max) {
            sleep_until(next).await;
        }
    }

    /// Drops stalled answers: when to look again; none when nothing is left but what was dropped.
    fn look(&self, max: Duration) -> Option<Instant> {
        let state = self.state();
        let (open, busy): (Vec<_>, _) = (state.open.values().cloned().collect(), state.busy);
        drop(state);
        let now = Instant::now();
        let (mut dropped, mut next) = (Vec::new(), now + max);
        for source in &open {
            let mut source = lock(source);
            match source.since {
                _ if source.body.is_none() => dropped.push(None),
                Some(since) if since + max <= now => dropped.push(source.body.take()),
                Some(since) => next = next.min(since + max),
                None => {}
            }
        }
        let all = !open.is_empty() && dropped.len() == open.len() && busy == 0;
        (!all).then_some(next)
    }

    fn watch(&self, body: Body) -> Watched {
        let source = Source { body: Some(body), since: Some(Instant::now()) };
        let source = Arc::new(Mutex::new(source));
        let mut state = self.state();
        state.opened += 1;
        let number = state.opened;
        state.open.insert(number, Arc::clone(&source));
        drop(state);
        Watched { source, number, activity: self.clone(), busy: None }
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
        let mut source = lock(&this.source);
        let Some(body) = &mut source.body else {
            let stalled = io::Error::new(io::ErrorKind::TimedOut, "nothing was taken for long");
            return Poll::Ready(Some(Err(axum::Error::new(stalled))));
        };
        let frame = Pin::new(body).poll_frame(cx);
        source.since = frame.is_ready().then(Instant::now);
        drop(source);
        if frame.is_pending() {
            this.busy = Some(busy);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        lock(&self.source).body.as_ref().is_some_and(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        lock(&self.source).body.as_ref().map(Body::size_hint).unwrap_or_default()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.activity.state().open.remove(&self.number);
    }
}

fn lock(source: &Mutex<Source>) -> MutexGuard<'_, Source> {
    source.lock().unwrap_or_else(PoisonError::into_inner)
}
