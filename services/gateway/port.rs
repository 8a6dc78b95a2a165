//! The port: accepts connections, speaks HTTP/1.1 and cleartext HTTP/2 on each, and lets calls in
//! flight end when told to stop. Owns every connection's task.

use std::convert::Infallible;
use std::future::Future;
use std::time::Duration;

use axum::body::Body;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
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

/// Serves until `stop` is done, then gives calls in flight `drain` to end.
pub async fn serve<S>(
    listener: TcpListener,
    stack: S,
    stop: impl Future<Output = ()>,
    drain: Duration,
) where
    S: Service<Request, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    let connections = TaskTracker::new();
    let graceful = GracefulShutdown::new();
    let cut = CancellationToken::new();
    let http = builder();
    tokio::pin!(stop);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut stop => break,
        };
        let stream = match accepted {
            Ok((stream, _peer)) => stream,
            Err(error) => {
                tracing::warn!(%error, "accept failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let serving = connection(http.clone(), stream, stack.clone(), graceful.watcher());
        connections.spawn(cut.clone().run_until_cancelled_owned(serving));
    }
    drop(listener);
    connections.close();
    let ended = async {
        graceful.shutdown().await;
        connections.wait().await;
    };
    if tokio::time::timeout(drain, ended).await.is_err() {
        tracing::warn!(left = connections.len(), "connections are cut at the end of the drain");
        cut.cancel();
        connections.wait().await;
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

async fn connection<S>(
    http: Builder<TokioExecutor>,
    stream: TcpStream,
    stack: S,
    watcher: hyper_util::server::graceful::Watcher,
) where
    S: Service<Request, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    // Small frames of live text must not wait for more.
    let _best_effort = stream.set_nodelay(true);
    let service = stack.map_request(|r: http::Request<hyper::body::Incoming>| r.map(Body::new));
    let served = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
    if let Err(error) = watcher.watch(served.into_owned()).await {
        tracing::debug!(%error, "a connection broke");
    }
}
