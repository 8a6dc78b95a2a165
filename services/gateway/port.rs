//! The port: accepts connections, speaks HTTP/1.1 and cleartext HTTP/2 on each, and lets calls in
//! flight end when told to stop. Owns every connection's task.

use std::convert::Infallible;
use std::future::Future;
use std::time::Duration;

use axum::body::Body;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::{Service, ServiceExt};

use super::{Request, Response};

/// Longest time to send the head of a request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(15);

/// Most bytes of the head of a request.
const HEADER_BYTES_MAX: usize = 16 * 1024;

/// Most streams at once on one HTTP/2 connection.
const STREAMS_MAX: u32 = 256;

/// Pause after a failed accept: the process is out of file descriptors, say.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Connections of one kind, each a task.
struct Connections<S> {
    http: Builder<TokioExecutor>,
    stack: S,
    tasks: TaskTracker,
    /// Calls in flight may end, and then the connection does.
    ends: CancellationToken,
    /// They may not.
    cut: CancellationToken,
}

/// Serves until `stop` is done, then gives calls in flight `drain` to end, and cuts what is left.
/// Until they have ended, whoever connects still gets an answer to one request, so that `/readyz`
/// can tell of the drain.
pub async fn serve<S>(
    listener: TcpListener,
    stack: S,
    stop: impl Future<Output = ()>,
    drain: Duration,
) where
    S: Service<Request, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    let calls = Connections::new(builder(), stack.clone());
    tokio::select! {
        never = calls.accept(&listener) => match never {},
        () = stop => {}
    }
    let mut once = builder();
    once.http1().keep_alive(false);
    let late = Connections::new(once, stack);
    let ended = async {
        tokio::select! {
            never = late.accept(&listener) => match never {},
            () = calls.end() => {}
        }
        drop(listener);
        late.end().await;
    };
    if tokio::time::timeout(drain, ended).await.is_err() {
        let left = calls.tasks.len() + late.tasks.len();
        tracing::warn!(left, "connections were cut at the end of the drain");
    }
    calls.cut().await;
    late.cut().await;
}

impl<S> Connections<S>
where
    S: Service<Request, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    fn new(http: Builder<TokioExecutor>, stack: S) -> Self {
        let (ends, cut) = (CancellationToken::new(), CancellationToken::new());
        Self { http, stack, tasks: TaskTracker::new(), ends, cut }
    }

    async fn accept(&self, listener: &TcpListener) -> Infallible {
        loop {
            match listener.accept().await {
                Ok((stream, _peer)) => {
                    self.tasks.spawn(self.connection(stream));
                }
                Err(error) => {
                    tracing::warn!(%error, "accept failed");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn connection(&self, stream: TcpStream) -> impl Future<Output = ()> + Send + 'static + use<S> {
        // Small frames of live text must not wait for more.
        let _best_effort = stream.set_nodelay(true);
        let (http, stack) = (self.http.clone(), self.stack.clone());
        let (ends, cut) = (self.ends.clone(), self.cut.clone());
        async move {
            let service =
                stack.map_request(|r: http::Request<hyper::body::Incoming>| r.map(Body::new));
            let served =
                http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
            tokio::pin!(served);
            let outcome = tokio::select! {
                outcome = served.as_mut() => outcome,
                () = ends.cancelled() => {
                    served.as_mut().graceful_shutdown();
                    tokio::select! {
                        outcome = served => outcome,
                        () = cut.cancelled() => return,
                    }
                }
            };
            if let Err(error) = outcome {
                tracing::debug!(%error, "a connection broke");
            }
        }
    }

    async fn end(&self) {
        self.ends.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    async fn cut(&self) {
        self.cut.cancel();
        self.end().await;
    }
}

fn builder() -> Builder<TokioExecutor> {
    let mut http = Builder::new(TokioExecutor::new());
    http.http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(HEADER_BYTES_MAX.max(64 * 1024));
    http.http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(Duration::from_secs(30))
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEADER_BYTES_MAX as u32);
    http
}
