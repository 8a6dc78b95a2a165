//! Streams over real connections, HTTP/1.1 and HTTP/2: pieces that cross while both sides go on,
//! and what each side learns of the other's end.

use std::time::Duration;

use axum::body::Bytes;
use futures::{StreamExt, channel::mpsc};
use runplane::gateway::port::{self, PortLimits, Stop};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{behaviours::server, *};
use crate::probe::standard::Prober as Standard;

/// The stack over the probe on a port of its own, until it is dropped.
struct Served {
    url: String,
    stop: CancellationToken,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn served(prober: Standard) -> Served {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let stop = CancellationToken::new();
    let stopped = stop.clone().cancelled_owned();
    let idle_max = Duration::from_secs(300);
    let (stalled_max, drain) = (idle_max, Duration::ZERO);
    let limits = PortLimits { connections_max: 16, idle_max, stalled_max, drain };
    tokio::spawn(port::serve(listener, server(prober, false), Stop::at(stopped), limits, None));
    Served { url, stop }
}

/// A client that speaks HTTP/1.1, or HTTP/2 without asking.
fn client(two: bool) -> reqwest::Client {
    let _installed = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().no_proxy();
    let client = if two { client.http2_prior_knowledge() } else { client.http1_only() };
    client.build().unwrap()
}

#[tokio::test]
async fn documents_cross_on_one_connection() {
    for two in [false, true] {
        let served = served(Standard::default()).await;
        let (sender, pieces) = mpsc::unbounded();
        let body = pieces.map(|piece: &str| Ok::<_, std::io::Error>(Bytes::from(piece)));
        sender.unbounded_send("{\"name\":\"a\"}\n").unwrap();
        let call = client(two).post(format!("{}/v1/chat", served.url));
        let call = call.header("content-type", "application/x-ndjson");
        let mut answer = call.body(reqwest::Body::wrap_stream(body)).send().await.unwrap();
        let first = answer.chunk().await.unwrap().unwrap();
        assert!(first.starts_with(b"id: 0\nevent: heard\n"), "{first:?}");
        sender.unbounded_send("{\"name\":\"b\"}\n").unwrap();
        drop(sender);
        let second = answer.chunk().await.unwrap().unwrap();
        assert!(second.starts_with(b"id: 1\nevent: heard\n"), "{second:?}");
        assert!(answer.chunk().await.unwrap().is_none_or(|last| last.is_empty()));
    }
}

#[tokio::test]
async fn a_client_that_goes_ends_the_call() {
    for two in [false, true] {
        let prober = Standard::default();
        let served = served(prober.clone()).await;
        let url = format!("{}/v1/watch/started", served.url);
        let mut answer = client(two).get(url).send().await.unwrap();
        assert!(answer.chunk().await.unwrap().unwrap().starts_with(b"id: 1\n"));
        assert!(!prober.dropped.is_cancelled());
        drop(answer);
        let gone = tokio::time::timeout(Duration::from_secs(9), prober.dropped.cancelled()).await;
        assert!(gone.is_ok(), "HTTP/2 {two}");
    }
}

#[tokio::test]
async fn what_fails_on_its_way_is_seen_by_the_client() {
    for two in [false, true] {
        let served = served(Standard::default()).await;
        let answer = client(two).get(format!("{}/v1/raw/late:stream", served.url)).send().await;
        assert!(answer.unwrap().bytes().await.is_err(), "bytes are cut, HTTP/2 {two}");
        let call = client(two).get(format!("{}/v1/watch/late", served.url));
        let text = call.header("accept", "application/json").send().await.unwrap().text().await;
        let text = text.unwrap();
        assert!(
            serde_json::from_str::<Value>(&text).is_err() && text.contains("\"error\""),
            "{text}"
        );
    }
}
