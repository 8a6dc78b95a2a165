//! Who a call is said to come from: over sockets, through the port and the whole stack, with a
//! service that answers with whom it sees.

use std::convert::Infallible;

use axum::body::Body;
use runplane::gateway::peer::Peer;
use runplane::gateway::port::{self, PortLimits, Stop};
use runplane::gateway::{Answer, Request, Response, stack, tls};
use runplane::kernel::Clock;
use runplane::kernel::config::Config;
use runplane::kernel::telemetry::Meters;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};
use tower::layer::util::Identity;

use super::Files;
use crate::harness::doors::crypto;

/// A server whose answers say who calls: address, scheme, certificate.
pub struct Echo {
    url: String,
    _stop: DropGuard,
}

impl Echo {
    /// With this configuration.
    pub async fn with(changes: &str) -> Self {
        Self::at("127.0.0.1:0", changes).await
    }

    async fn at(listen: &str, changes: &str) -> Self {
        crypto();
        let config = Config::with(changes).expect("a right configuration");
        let tls = tls::load(&config.tls).await.expect("right files").map(|(tls, _)| tls);
        let listener = TcpListener::bind(listen).await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let inner = tower::service_fn(|request: Request| -> Answer {
            let shown = shown(&Peer::of(request.extensions()));
            Box::pin(async move { Ok::<_, Infallible>(Response::new(Body::from(shown))) })
        });
        let stack = stack::stack(
            &config.server,
            (Clock::system(), Meters::default()),
            Identity::new(),
            inner,
        );
        let limits = PortLimits {
            connections_max: 16,
            idle_max: Duration::from_secs(300),
            stalled_max: Duration::from_secs(60),
            drain: Duration::ZERO,
        };
        let stop = CancellationToken::new();
        tokio::spawn(port::serve(
            listener,
            stack,
            Stop::at(stop.clone().cancelled_owned()),
            limits,
            tls,
        ));
        Self { url: format!("{scheme}://127.0.0.1:{port}/"), _stop: stop.drop_guard() }
    }

    /// Whom it sees.
    pub async fn ask(&self, client: reqwest::ClientBuilder, headers: &[(&str, &str)]) -> String {
        let client = client.no_proxy().build().expect("a client");
        let mut call = client.get(&self.url);
        for (name, value) in headers {
            call = call.header(*name, *value);
        }
        call.send().await.expect("an answer").text().await.expect("a body")
    }

    async fn plain(&self, headers: &[(&str, &str)]) -> String {
        self.ask(reqwest::Client::builder(), headers).await
    }
}

fn shown(peer: &Peer) -> String {
    let scheme = if peer.secure { "https" } else { "http" };
    let certificate = peer.certificate.map_or_else(|| "-".to_owned(), |c| c.to_string());
    format!("{} {scheme} {certificate}", peer.address)
}

/// What anybody may write.
const SAID: &[(&str, &str)] = &[
    ("x-forwarded-for", "203.0.113.9"),
    ("x-forwarded-proto", "https"),
    ("forwarded", "for=198.51.100.7;proto=https"),
    ("x-real-ip", "192.0.2.4"),
];

#[tokio::test]
async fn what_a_caller_says_of_itself_means_nothing() {
    for changes in ["", "[server]\ntrusted_proxies = [\"10.0.0.0/8\", \"127.0.0.2/32\"]"] {
        let echo = Echo::with(changes).await;
        assert_eq!(echo.plain(SAID).await, "127.0.0.1 http -", "{changes}");
    }
}

#[tokio::test]
async fn a_trusted_proxy_says_who_calls() {
    let echo = Echo::with("[server]\ntrusted_proxies = [\"127.0.0.0/8\", \"10.0.0.0/8\"]").await;
    assert_eq!(echo.plain(&[]).await, "127.0.0.1 http -");
    assert_eq!(echo.plain(SAID).await, "203.0.113.9 https -");
    for (chain, proto, expected) in [
        ("198.51.100.7, 203.0.113.9", "http", "203.0.113.9 http -"),
        ("198.51.100.7, 203.0.113.9, 10.0.0.3", "https", "203.0.113.9 https -"),
        ("198.51.100.7, 203.0.113.9, ::ffff:10.0.0.3", "https", "203.0.113.9 https -"),
        ("2001:db8::7", "https", "2001:db8::7 https -"),
        // What cannot be read says nothing, of the scheme neither.
        ("203.0.113.9, nobody", "https", "127.0.0.1 http -"),
        ("", "https", "127.0.0.1 http -"),
    ] {
        let said = [("x-forwarded-for", chain), ("x-forwarded-proto", proto)];
        assert_eq!(echo.plain(&said).await, expected, "{said:?}");
    }
    let lines = [("x-forwarded-for", "203.0.113.9"), ("x-forwarded-for", "10.9.9.9")];
    assert_eq!(echo.plain(&lines).await, "203.0.113.9 http -");
}

#[tokio::test]
async fn only_the_headers_that_the_proxy_writes_are_read() {
    let changes = "[server]\ntrusted_proxies = [\"127.0.0.1/32\"]\nproxy_headers = \"forwarded\"";
    let echo = Echo::with(changes).await;
    assert_eq!(echo.plain(SAID).await, "198.51.100.7 https -");
    assert_eq!(echo.plain(&SAID[..2]).await, "127.0.0.1 http -");
    let chain = [("forwarded", "for=1.1.1.1;proto=https, for=\"[2001:db8::7]:1\";proto=http")];
    assert_eq!(echo.plain(&chain).await, "2001:db8::7 http -");
}

#[tokio::test]
async fn an_ipv4_caller_of_an_ipv6_socket_has_its_own_address() {
    let proxied = "[server]\ntrusted_proxies = [\"127.0.0.1/32\"]";
    for (changes, expected) in [("", "127.0.0.1 http -"), (proxied, "203.0.113.9 https -")] {
        let echo = Echo::at("[::]:0", changes).await;
        assert_eq!(echo.plain(SAID).await, expected);
    }
}

#[tokio::test]
async fn a_proxy_over_tls_says_how_its_caller_came() {
    let files = Files::new();
    let more = format!(
        "client_ca = {:?}\nclient_auth = \"required\"\n[server]\ntrusted_proxies = \
         [\"127.0.0.0/8\"]\n",
        files.roots()
    );
    let echo = Echo::with(&files.config(&more)).await;
    let proxy = files.authority.issue("proxy");
    let over = |proto| [("x-forwarded-for", "203.0.113.9"), ("x-forwarded-proto", proto)];
    // Its certificate is not its caller's.
    let secure = echo.ask(files.authority.http(Some(&proxy)), &over("https")).await;
    assert_eq!(secure, "203.0.113.9 https -");
    let clear = echo.ask(files.authority.http(Some(&proxy)), &over("http")).await;
    assert_eq!(clear, "203.0.113.9 http -");
    let own = echo.ask(files.authority.http(Some(&proxy)), &[]).await;
    assert!(own.starts_with("127.0.0.1 https ") && own.len() > 64, "{own}");
}
