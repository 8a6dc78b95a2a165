//! The admin port: metrics and health, in the clear, for those who operate the server. Run by
//! `serve` where it is configured. Knows no caller and no key, answers three paths, and keeps few
//! connections for a short time: whoever reaches it shall not be able to do harm by it.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use futures::future::BoxFuture;
use http::{HeaderValue, Method, StatusCode, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Response;
use super::health::Health;

/// Connections at once; more wait.
const CONNECTIONS_MAX: usize = 32;
/// Longest time to send the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest time of a connection, which answers once: those that do not read hold no place that a
/// probe waits for.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(10);
/// Most bytes of the head of a request.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Pause after a failed accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Writes the page of metrics.
pub type Page = Arc<dyn Fn() -> BoxFuture<'static, String> + Send + Sync>;

/// What the port tells.
#[derive(Clone)]
pub struct Admin {
    /// Whether the process lives, and may be sent work.
    pub health: Health,
    /// The metrics.
    pub page: Page,
}

impl Admin {
    /// Answers on the listener until `stop`; no connection is open then.
    pub async fn serve(self, listener: TcpListener, stop: &CancellationToken) {
        let (tasks, room) = (TaskTracker::new(), Arc::new(Semaphore::new(CONNECTIONS_MAX)));
        let accepting = async {
            while let Some((stream, place)) = accept(&listener, &room).await {
                tasks.spawn(self.clone().connection(stream, stop.clone(), place));
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = accepting => {}
        }
        tasks.close();
        tasks.wait().await;
    }

    /// One connection, for as long as it may take its place.
    async fn connection(
        self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        stop: CancellationToken,
        _place: OwnedSemaphorePermit,
    ) {
        let mut builder = Builder::new();
        builder.keep_alive(false);
        builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
        builder.max_buf_size(HEAD_BYTES_MAX);
        let service = service_fn(|request: http::Request<Incoming>| {
            let this = self.clone();
            async move { Ok::<_, Infallible>(this.answer(request).await) }
        });
        let serving = builder.serve_connection(TokioIo::new(stream), service);
        tokio::select! {
            // Whoever went away will not be told.
            _ = timeout(CONNECTION_TIMEOUT, serving) => {}
            () = stop.cancelled() => {}
        }
    }

    async fn answer<B>(&self, request: http::Request<B>) -> Response {
        let path = request.uri().path();
        if let Some(answer) = self.health.answer(request.method(), path).await {
            return answer.map(|body| bodiless(request.method(), body));
        }
        if path != "/metrics" || !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut nothing = Response::default();
            *nothing.status_mut() = StatusCode::NOT_FOUND;
            return nothing;
        }
        let page = Body::from((self.page)().await);
        let mut answer = Response::new(bodiless(request.method(), page));
        let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
        answer.headers_mut().insert(header::CONTENT_TYPE, kind);
        answer
    }
}

/// The next connection, once there is a place for it. Always some: the semaphore is never closed.
async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> Option<(TcpStream, OwnedSemaphorePermit)> {
    let place = Arc::clone(room).acquire_owned().await.ok()?;
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return Some((stream, place)),
            Err(error) => {
                tracing::warn!(%error, "the admin port cannot accept");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn bodiless(method: &Method, body: Body) -> Body {
    if *method == Method::HEAD { Body::new(http_body_util::Empty::new().boxed()) } else { body }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio::time::Instant;

    use super::*;

    /// A connection with a request on it, whose page has so many bytes; and its place.
    fn asked(bytes: usize) -> (impl Future<Output = ()>, tokio::io::DuplexStream, Arc<Semaphore>) {
        let page: Page = Arc::new(move || -> BoxFuture<'static, String> {
            Box::pin(async move { "x".repeat(bytes) })
        });
        let health =
            Health::new(Arc::new(|| -> BoxFuture<'static, bool> { Box::pin(async { true }) }));
        let (ours, theirs) = duplex(256);
        let room = Arc::new(Semaphore::new(1));
        let place = Arc::clone(&room).try_acquire_owned().unwrap();
        let connection = Admin { health, page }.connection(ours, CancellationToken::new(), place);
        (connection, theirs, room)
    }

    const REQUEST: &[u8] = b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n";

    #[tokio::test(start_paused = true)]
    async fn a_caller_that_does_not_read_holds_its_place_for_ten_seconds() {
        let (connection, mut caller, room) = asked(1 << 20);
        caller.write_all(REQUEST).await.unwrap();
        let begun = Instant::now();
        connection.await;
        assert_eq!((begun.elapsed().as_secs(), room.available_permits()), (10, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_ends_with_its_answer() {
        let (connection, mut caller, _room) = asked(1);
        caller.write_all(REQUEST).await.unwrap();
        let (begun, mut answer) = (Instant::now(), String::new());
        let (read, ()) = tokio::join!(caller.read_to_string(&mut answer), connection);
        read.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with('x'), "{answer}");
        assert_eq!(begun.elapsed(), Duration::ZERO, "it waits for no other request");
    }
}
