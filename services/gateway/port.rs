//! The port: accepts connections, as many as there may be, speaks HTTP/1.1 and HTTP/2 on each, over
//! TLS or in the clear, ends those on which nothing goes on, and lets calls in flight end when told
//! to stop. Owns every connection's task.

use std::convert::Infallible;
use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use futures::TryFutureExt;
use http::{HeaderValue, Version, header};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::{Service, ServiceExt};

use super::https::Clear;
use super::idle::Activity;
use super::limits::FIELD_BYTES_MAX;
use super::peer::Peer;
use super::tls::Tls;
use super::wire::{self, Spoken};
use super::{Request, Response};

/// Longest time to shake hands and to begin with HTTP, to send the head of a request, and for an
/// HTTP/1.1 connection to be idle.
const HEADER_TIMEOUT: Duration = Duration::from_secs(15);

/// Most bytes of the head of an HTTP/1.1 request. Above what `limits.rs` refuses, which says why.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// Most bytes of the head of an HTTP/2 request, in frames that continue it too. Above what
/// `limits.rs` refuses.
const HEADER_LIST_BYTES_MAX: u32 = 2 * FIELD_BYTES_MAX as u32;

/// Most streams at once on one HTTP/2 connection.
const STREAMS_MAX: u32 = 256;

/// Streams that a caller may reset before we have looked at them, and that we may have reset for
/// its mistakes: the connection of one that goes on ends with `ENHANCE_YOUR_CALM`.
const RESETS_MAX: usize = 100;

/// Bytes of an answer that wait for a slow reader on one HTTP/2 stream.
const SEND_BYTES_MAX: usize = 128 * 1024;

/// Pings that tell whether an HTTP/2 caller is still there: how often, and how long for an answer.
const PING_EVERY: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// What the last answer of a connection says.
const CLOSE: HeaderValue = HeaderValue::from_static("close");

/// Pause after a failed accept: the process is out of file descriptors, say.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Connections of one kind, each a task.
struct Connections<S> {
    http: Builder<TokioExecutor>,
    stack: S,
    tls: Option<Tls>,
    idle_max: Duration,
    stalled_max: Duration,
    tasks: TaskTracker,
    room: Arc<Semaphore>,
    /// The server is about to stop.
    notice: CancellationToken,
    /// Calls in flight may end, and then the connection does.
    ends: CancellationToken,
    /// They may not.
    cut: CancellationToken,
}

/// What the port may do.
#[derive(Debug, Clone, Copy)]
pub struct PortLimits {
    /// Connections at once.
    pub connections_max: usize,
    /// How long a connection is kept on which nothing goes on.
    pub idle_max: Duration,
    /// How long an answer is kept of which its caller takes nothing.
    pub stalled_max: Duration,
    /// How long calls in flight may take when it stops.
    pub drain: Duration,
}

/// How the port is told to stop.
#[derive(Debug)]
pub struct Stop<F> {
    /// The server is about to stop: answers over HTTP/1.1 say so, and their callers connect anew,
    /// elsewhere if there is somebody who sends them there.
    pub notice: CancellationToken,
    /// It stops.
    pub end: F,
}

impl<F> Stop<F> {
    /// It stops without notice.
    pub fn at(end: F) -> Self {
        Self { notice: CancellationToken::new(), end }
    }
}

/// Serves until `stop` is done, then gives calls in flight `drain` to end, and cuts what is left.
/// Until they have ended, whoever connects still gets an answer to one request, so that `/readyz`
/// can tell of the drain. With TLS, callers that speak none are served too: they are told so.
pub async fn serve<S>(
    listener: TcpListener,
    stack: S,
    stop: Stop<impl Future<Output = ()>>,
    limits: PortLimits,
    tls: Option<Tls>,
) where
    S: Service<Request, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    let mut calls = Connections::new(builder(), stack.clone(), limits, tls.clone());
    calls.notice = stop.notice;
    tokio::select! {
        never = calls.accept(&listener) => match never {},
        () = stop.end => {}
    }
    let mut once = builder();
    once.http1().keep_alive(false);
    let late = Connections::new(once, stack, limits, tls);
    let ended = async {
        tokio::select! {
            never = late.accept(&listener) => match never {},
            () = calls.end() => {}
        }
        drop(listener);
        late.end().await;
    };
    if timeout(limits.drain, ended).await.is_err() {
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
    fn new(http: Builder<TokioExecutor>, stack: S, limits: PortLimits, tls: Option<Tls>) -> Self {
        let (ends, cut) = (CancellationToken::new(), CancellationToken::new());
        let PortLimits { connections_max, idle_max, stalled_max, .. } = limits;
        let (room, tasks) = (Arc::new(Semaphore::new(connections_max)), TaskTracker::new());
        let notice = CancellationToken::new();
        Self { http, stack, tls, idle_max, stalled_max, tasks, room, notice, ends, cut }
    }

    async fn accept(&self, listener: &TcpListener) -> Infallible {
        loop {
            let place = self.place().await;
            match listener.accept().await {
                Ok((stream, peer)) => {
                    let connection = self.connection(stream, peer.ip());
                    self.tasks.spawn(async move {
                        connection.await;
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "accept failed");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// A place for one more connection; the next callers wait in the queue of the system.
    async fn place(&self) -> Option<OwnedSemaphorePermit> {
        if let Ok(place) = Arc::clone(&self.room).try_acquire_owned() {
            return Some(place);
        }
        tracing::warn!("all connections are taken; the next callers wait");
        Arc::clone(&self.room).acquire_owned().await.ok()
    }

    fn connection(
        &self,
        stream: TcpStream,
        address: IpAddr,
    ) -> impl Future<Output = ()> + Send + 'static + use<S> {
        // Small frames of live text must not wait for more.
        let _best_effort = stream.set_nodelay(true);
        let (http, stack, tls) = (self.http.clone(), self.stack.clone(), self.tls.clone());
        let (ends, cut, notice) = (self.ends.clone(), self.cut.clone(), self.notice.clone());
        let (idle_max, stalled_max) = (self.idle_max, self.stalled_max);
        async move {
            // hyper's limits begin once it knows which HTTP is spoken; until then this one holds.
            let opening = wire::open(stream, address, tls.as_ref());
            let spoken = tokio::select! {
                spoken = timeout(HEADER_TIMEOUT, opening) => spoken,
                () = ends.cancelled() => return,
            };
            let Ok(Some(Spoken { wire, peer, clear })) = spoken else { return };
            let activity = Activity::new();
            let service = watched(stack, (activity.clone(), notice), peer, clear);
            let served =
                http.serve_connection(TokioIo::new(wire), TowerToHyperService::new(service));
            tokio::pin!(served);
            let ending = async {
                tokio::select! {
                    () = ends.cancelled() => {}
                    () = activity.idle(idle_max) => {}
                }
            };
            let stalled = activity.stalled(stalled_max);
            tokio::pin!(stalled);
            let outcome = tokio::select! {
                outcome = served.as_mut() => outcome,
                () = stalled.as_mut() => return,
                () = ending => {
                    served.as_mut().graceful_shutdown();
                    tokio::select! {
                        outcome = served => outcome,
                        () = stalled => return,
                        () = cut.cancelled() => return,
                        // It is told, and does not take what is there for it.
                        () = activity.idle(idle_max) => return,
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

/// What answers the calls of one connection.
fn watched<S>(
    stack: S,
    (activity, notice): (Activity, CancellationToken),
    peer: Peer,
    clear: bool,
) -> impl Service<http::Request<Incoming>, Response = Response, Error = Infallible, Future: Send>
+ Clone
+ Send
+ 'static
where
    S: Service<Request, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    let stack = stack.map_future(move |call| activity.during(call));
    tower::service_fn(move |mut request: http::Request<Incoming>| {
        request.extensions_mut().insert(peer.clone());
        if clear {
            request.extensions_mut().insert(Clear);
        }
        let last = notice.is_cancelled() && request.version() < Version::HTTP_2;
        let answer = stack.clone().oneshot(request.map(Body::new));
        answer.map_ok(move |mut response| {
            if last {
                response.headers_mut().insert(header::CONNECTION, CLOSE);
            }
            response
        })
    })
}

fn builder() -> Builder<TokioExecutor> {
    let mut http = Builder::new(TokioExecutor::new());
    http.http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(HEAD_BYTES_MAX);
    http.http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_TIMEOUT)
        .max_concurrent_streams(STREAMS_MAX)
        .max_pending_accept_reset_streams(RESETS_MAX)
        .max_local_error_reset_streams(RESETS_MAX)
        .max_header_list_size(HEADER_LIST_BYTES_MAX)
        .max_send_buf_size(SEND_BYTES_MAX);
    http
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::sleep;

    use super::super::wire::PREFACE;
    use super::*;

    /// As long as some wait in the tests.
    const IDLE: Duration = Duration::from_secs(100);
    /// How far time goes on at once, so that what crosses the wire meanwhile is not late.
    const TICK: Duration = Duration::from_millis(250);

    const DATA: u8 = 0;
    const HEADERS: u8 = 1;
    const PING: u8 = 6;
    const GOAWAY: u8 = 7;
    /// Settings that give a stream no room, and `GET http /` as the first stream.
    const NO_ROOM: &[u8] = b"\0\0\x06\x04\0\0\0\0\0\0\x04\0\0\0\0";
    const ROOM: &[u8] = b"\0\0\0\x04\0\0\0\0\0";
    const GET: &[u8] = b"\0\0\x03\x01\x05\0\0\0\x01\x82\x86\x84";

    /// It is not told to stop.
    fn never() -> Stop<std::future::Pending<()>> {
        Stop::at(std::future::pending())
    }

    /// Answers after a while, with a body of so many bytes; none: one that never comes.
    fn slow(
        wait: Duration,
        length: Option<usize>,
    ) -> impl Service<Request, Response = Response, Error = Infallible, Future: Send>
    + Clone
    + Send
    + 'static {
        tower::service_fn(move |_: Request| async move {
            sleep(wait).await;
            let silence = futures::stream::pending::<Result<bytes::Bytes, Infallible>>();
            Ok(Response::new(match length {
                Some(length) => Body::from(vec![b'x'; length]),
                None => Body::from_stream(silence),
            }))
        })
    }

    /// Serves a caller with a service until the caller has what it waits for.
    async fn with<S>(service: S, calling: impl AsyncFnOnce(TcpStream))
    where
        S: Service<Request, Response = Response, Error = Infallible> + Clone + Send + 'static,
        S::Future: Send,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let drain = Duration::from_secs(1);
        let limits = PortLimits { connections_max: 9, idle_max: IDLE, stalled_max: IDLE, drain };
        let ticking = async {
            let mut ticks = tokio::time::interval(TICK);
            loop {
                ticks.tick().await;
            }
        };
        tokio::select! {
            () = serve(listener, service, never(), limits, None) => unreachable!(),
            () = ticking => {}
            () = async { calling(TcpStream::connect(address).await.unwrap()).await } => {}
        }
    }

    /// Answers pings and tells of other frames, with their seconds, until the connection ends or a
    /// time has passed.
    async fn frames(mut stream: TcpStream, seconds: u64) -> Vec<(u8, u64)> {
        let begun = tokio::time::Instant::now();
        let mut seen = Vec::new();
        let reading = async {
            let mut head = [0; 9];
            while stream.read_exact(&mut head).await.is_ok() {
                let length = usize::from(u16::from_be_bytes([head[1], head[2]]));
                let mut payload = vec![0; length];
                stream.read_exact(&mut payload).await.unwrap();
                seen.push((head[3], begun.elapsed().as_secs()));
                if (head[3], head[4]) == (PING, 0) {
                    head[4] = 1;
                    let _gone = stream.write_all(&[&head[..], &payload].concat()).await;
                }
            }
            seen.push((u8::MAX, begun.elapsed().as_secs()));
        };
        let _late = timeout(Duration::from_secs(seconds), reading).await;
        seen
    }

    fn when(seen: &[(u8, u64)], kind: u8) -> Option<u64> {
        seen.iter().find(|(known, _)| *known == kind).map(|(_, at)| *at)
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_that_only_answers_pings_is_left() {
        with(slow(Duration::ZERO, Some(0)), async |mut stream| {
            stream.write_all(&[PREFACE, ROOM].concat()).await.unwrap();
            let seen = frames(stream, 1000).await;
            assert!(seen.iter().filter(|(kind, _)| *kind == PING).count() >= 3, "{seen:?}");
            assert!(matches!(when(&seen, GOAWAY), Some(100..103)), "{seen:?}");
            assert!(matches!(when(&seen, u8::MAX), Some(100..105)), "{seen:?}");
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_is_not_idle_however_long_its_answer_takes() {
        for length in [Some(5), None] {
            with(slow(3 * IDLE, length), async |mut stream| {
                stream.write_all(&[PREFACE, ROOM, GET].concat()).await.unwrap();
                let seen = frames(stream, 700).await;
                assert!(matches!(when(&seen, HEADERS), Some(300..303)), "{seen:?}");
                // After a whole answer nothing goes on; one that waits for more may wait.
                let left = when(&seen, GOAWAY);
                assert_eq!(left.is_some(), length.is_some(), "{seen:?}");
                assert!(left.is_none_or(|at| (400..403).contains(&at)), "{seen:?}");
            })
            .await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_that_does_not_take_its_answer_is_left() {
        with(slow(Duration::ZERO, Some(9000)), async |mut stream| {
            stream.write_all(&[PREFACE, NO_ROOM, GET].concat()).await.unwrap();
            let seen = frames(stream, 1000).await;
            assert!(when(&seen, HEADERS).is_some() && when(&seen, DATA).is_none(), "{seen:?}");
            assert!(matches!(when(&seen, GOAWAY), Some(100..103)), "{seen:?}");
            assert!(matches!(when(&seen, u8::MAX), Some(200..205)), "{seen:?}");
        })
        .await;
    }

    /// Answers the first call with a stream that never pauses, and each other with silence; tells
    /// when the first is dropped.
    fn endless(
        dropped: &CancellationToken,
    ) -> impl Service<Request, Response = Response, Error = Infallible, Future: Send>
    + Clone
    + Send
    + 'static {
        let first = Arc::new(std::sync::Mutex::new(Some(dropped.clone().drop_guard())));
        tower::service_fn(move |_: Request| {
            let guard = first.lock().unwrap().take();
            let body = match guard {
                Some(guard) => Body::from_stream(futures::stream::repeat_with(move || {
                    let _until_dropped = &guard;
                    Ok::<_, Infallible>(bytes::Bytes::from_static(&[b'x'; 32 * 1024]))
                })),
                None => {
                    let silence = futures::stream::pending::<Result<bytes::Bytes, Infallible>>();
                    Body::from_stream(silence)
                }
            };
            std::future::ready(Ok(Response::new(body)))
        })
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_of_which_nothing_is_taken_ends_with_its_connection() {
        let dropped = CancellationToken::new();
        with(endless(&dropped), async |mut stream| {
            stream.write_all(&[PREFACE, NO_ROOM, GET].concat()).await.unwrap();
            let seen = frames(stream, 1000).await;
            assert!(when(&seen, HEADERS).is_some() && when(&seen, DATA).is_none(), "{seen:?}");
            assert!(matches!(when(&seen, u8::MAX), Some(100..105)), "{seen:?}");
            assert!(dropped.is_cancelled());
        })
        .await;
        let dropped = CancellationToken::new();
        with(endless(&dropped), async |mut stream| {
            stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
            // The buffers of the system take much, and time runs on meanwhile.
            timeout(50 * IDLE, dropped.cancelled()).await.unwrap();
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_of_which_nothing_is_taken_leaves_the_others_of_its_connection_alone() {
        const SECOND: &[u8] = b"\0\0\x03\x01\x05\0\0\0\x03\x82\x86\x84";
        let dropped = CancellationToken::new();
        with(endless(&dropped), async |mut stream| {
            stream.write_all(&[PREFACE, NO_ROOM, GET, SECOND].concat()).await.unwrap();
            let seen = frames(stream, 500).await;
            assert!(dropped.is_cancelled());
            let left = [when(&seen, GOAWAY), when(&seen, u8::MAX)];
            assert_eq!(left, [None, None], "{seen:?}");
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_of_http_1_is_kept_for_a_moment_between_calls() {
        with(slow(3 * IDLE, Some(0)), async |mut stream| {
            let begun = tokio::time::Instant::now();
            stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
            let mut rest = Vec::new();
            stream.read_to_end(&mut rest).await.unwrap();
            assert!(rest.starts_with(b"HTTP/1.1 200 "));
            let kept = begun.elapsed() - 3 * IDLE;
            assert!(kept < HEADER_TIMEOUT + 4 * TICK, "{kept:?}");
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_given_notice_is_answered_once_more() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stack = tower::service_fn(|_: Request| async { Ok(Response::default()) });
        let drain = Duration::from_secs(1);
        let limits = PortLimits { connections_max: 9, idle_max: IDLE, stalled_max: IDLE, drain };
        let stop = never();
        let notice = stop.notice.clone();
        let calling = async {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let get = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";
            stream.write_all(get).await.unwrap();
            let mut answer = vec![0; 512];
            let length = stream.read(&mut answer).await.unwrap();
            assert!(!String::from_utf8_lossy(&answer[..length]).contains("connection: close"));
            notice.cancel();
            for mut stream in [stream, TcpStream::connect(address).await.unwrap()] {
                stream.write_all(get).await.unwrap();
                let mut rest = String::new();
                stream.read_to_string(&mut rest).await.unwrap();
                assert!(rest.starts_with("HTTP/1.1 200 "), "{rest}");
                assert!(rest.contains("connection: close"), "{rest}");
            }
        };
        tokio::select! {
            () = serve(listener, stack, stop, limits, None) => unreachable!("it has no end"),
            () = calling => {}
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_that_does_not_say_what_it_speaks_is_left() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stack = tower::service_fn(|_: Request| async { Ok(Response::default()) });
        let drain = Duration::from_secs(1);
        let limits = PortLimits { connections_max: 9, idle_max: IDLE, stalled_max: IDLE, drain };
        let serving = serve(listener, stack, never(), limits, None);
        let calling = async {
            for begun in [&b""[..], b"P", &PREFACE[..23], b"GET / HT"] {
                let mut stream = TcpStream::connect(address).await.unwrap();
                stream.write_all(begun).await.unwrap();
                let mut rest = Vec::new();
                // Time runs on while nothing else happens. What was sent and never read resets.
                let _ended = stream.read_to_end(&mut rest).await;
                assert!(rest.is_empty(), "{begun:?}");
            }
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(PREFACE).await.unwrap();
            assert_eq!(stream.read_u8().await.unwrap(), 0, "a frame of settings");
        };
        tokio::select! {
            () = serving => unreachable!("it is not told to stop"),
            () = calling => {}
        }
    }

    /// TLS with a certificate of its own, and a caller that trusts it.
    async fn tls() -> (Tls, tokio_rustls::TlsConnector) {
        let folder = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let (certificate, key) = (folder.path().join("crt"), folder.path().join("key"));
        std::fs::write(&certificate, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        let text = format!("[tls]\ncertificate = {certificate:?}\nkey = {key:?}");
        let config = crate::kernel::config::Config::with(&text).unwrap();
        let (tls, _) = crate::gateway::tls::load(&config.tls).await.unwrap().unwrap();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(made.cert.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        (tls, Arc::new(config).into())
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_shake_hands_takes_no_place_for_long() {
        let (tls, connector) = tls().await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stack = tower::service_fn(|_: Request| async { Ok(Response::default()) });
        let drain = Duration::from_secs(1);
        // One place: the next is heard when the one before has gone.
        let limits = PortLimits { connections_max: 1, idle_max: IDLE, stalled_max: IDLE, drain };
        let serving = serve(listener, stack, never(), limits, Some(tls));
        let calling = async {
            let begun = tokio::time::Instant::now();
            let name = || "localhost".try_into().unwrap();
            for record in [&b""[..], b"\x16", b"\x16\x03\x01\x02\x00\x01\x00\x01"] {
                let mut stream = TcpStream::connect(address).await.unwrap();
                stream.write_all(record).await.unwrap();
                let _ended = stream.read_to_end(&mut Vec::new()).await;
            }
            for word in [&b""[..], b"PRI * HTTP/2.0\r\n"] {
                let stream = TcpStream::connect(address).await.unwrap();
                let mut stream = connector.connect(name(), stream).await.unwrap();
                stream.write_all(word).await.unwrap();
                let _ended = stream.read_to_end(&mut Vec::new()).await;
            }
            let waited = begun.elapsed();
            assert!(waited >= 4 * HEADER_TIMEOUT && waited < 6 * HEADER_TIMEOUT, "{waited:?}");
            let stream = TcpStream::connect(address).await.unwrap();
            let mut stream = connector.connect(name(), stream).await.unwrap();
            stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
            assert_eq!(stream.read_u8().await.unwrap(), b'H');
        };
        let ticking = async {
            let mut ticks = tokio::time::interval(TICK);
            loop {
                ticks.tick().await;
            }
        };
        tokio::select! {
            () = serving => unreachable!("it is not told to stop"),
            () = ticking => {}
            () = calling => {}
        }
    }
}
