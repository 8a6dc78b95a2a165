//! Who calls: the address, whether over HTTPS, and the certificate shown. The port tells what it
//! sees of a connection; this layer, the topmost, puts in its place what a trusted proxy says of
//! the caller behind it. From anybody else such headers mean nothing. Every request below has a
//! [`Peer`] in its extensions.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Extensions, HeaderMap};
use ipnet::IpNet;
use tower::{Layer, Service};

use super::{Request, forwarded};
use crate::kernel::config::{ProxyHeaders, ServerConfig};

/// Who calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Address of the caller; an IPv4 address is one, also where the socket is of IPv6.
    pub address: IpAddr,
    /// True when the call came over HTTPS.
    pub secure: bool,
    /// The certificate that the caller has shown and that was verified. Nobody's behind a proxy:
    /// the proxy's own says nothing of its callers.
    pub certificate: Option<Fingerprint>,
}

/// SHA-256 of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub [u8; 32]);

/// Makes [`Known`] services.
#[derive(Debug, Clone)]
pub struct PeerLayer {
    proxies: Arc<Proxies>,
}

/// Knows who calls.
#[derive(Debug, Clone)]
pub struct Known<S> {
    inner: S,
    proxies: Arc<Proxies>,
}

/// Whose word is taken, and where it is written.
#[derive(Debug)]
struct Proxies {
    trusted: Vec<IpNet>,
    headers: ProxyHeaders,
}

impl Peer {
    /// A caller with this address, in the clear, without a certificate.
    #[must_use]
    pub fn plain(address: IpAddr) -> Self {
        Self { address: address.to_canonical(), secure: false, certificate: None }
    }

    /// Who makes this request; of one that came by no port, nobody is known.
    #[must_use]
    pub fn of(extensions: &Extensions) -> Self {
        let known = extensions.get::<Self>().cloned();
        known.unwrap_or_else(|| Self::plain(Ipv4Addr::UNSPECIFIED.into()))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl PeerLayer {
    /// Takes the word of the proxies that are configured.
    #[must_use]
    pub fn new(config: &ServerConfig) -> Self {
        let (trusted, headers) = (config.trusted_proxies.clone(), config.proxy_headers);
        Self { proxies: Arc::new(Proxies { trusted, headers }) }
    }
}

impl<S> Layer<S> for PeerLayer {
    type Service = Known<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Known { inner, proxies: Arc::clone(&self.proxies) }
    }
}

impl<S: Service<Request>> Service<Request> for Known<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request) -> S::Future {
        let proxy = request.extensions().get::<Peer>();
        let peer = match proxy {
            Some(peer) => self.proxies.caller(peer, request.headers()),
            None => Some(Peer::of(request.extensions())),
        };
        if let Some(peer) = peer {
            request.extensions_mut().insert(peer);
        }
        self.inner.call(request)
    }
}

impl Proxies {
    /// Who calls through this peer; `None`: it calls itself, as far as can be known.
    fn caller(&self, peer: &Peer, headers: &HeaderMap) -> Option<Peer> {
        if !self.trusts(peer.address) {
            return None;
        }
        let trusts = |address| self.trusts(address);
        let said = match self.headers {
            ProxyHeaders::XForwarded => forwarded::by_x_forwarded(headers, trusts),
            ProxyHeaders::Forwarded => forwarded::by_forwarded(headers, trusts),
        }?;
        Some(Peer {
            address: said.address.unwrap_or(peer.address),
            secure: said.secure.unwrap_or(peer.secure),
            certificate: peer.certificate.filter(|_| said.address.is_none()),
        })
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.trusted.iter().any(|network| network.contains(&address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEEN: Fingerprint = Fingerprint([7; 32]);

    fn through(socket: &str, headers: &[(&'static str, &str)]) -> Peer {
        let trusted = vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
        let proxies = Proxies { trusted, headers: ProxyHeaders::XForwarded };
        let address = socket.parse::<IpAddr>().unwrap();
        let peer = Peer { secure: true, certificate: Some(SEEN), ..Peer::plain(address) };
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        proxies.caller(&peer, &map).unwrap_or(peer)
    }

    #[test]
    fn only_a_trusted_proxy_says_who_calls() {
        let said = [("x-forwarded-for", "203.0.113.9"), ("x-forwarded-proto", "http")];
        let caller = through("10.1.2.3", &said);
        assert_eq!((caller.address.to_string().as_str(), caller.secure), ("203.0.113.9", false));
        assert_eq!(caller.certificate, None, "the certificate is the proxy's");
        // A socket of IPv6 that an IPv4 proxy has called.
        assert_eq!(through("::ffff:10.1.2.3", &said), caller);
        for stranger in ["192.0.2.1", "::1", "::ffff:11.0.0.1"] {
            let peer = through(stranger, &said);
            assert_eq!(peer.address, stranger.parse::<IpAddr>().unwrap().to_canonical());
            assert_eq!((peer.secure, peer.certificate), (true, Some(SEEN)));
        }
    }

    #[test]
    fn a_proxy_that_says_nothing_calls_itself() {
        for said in [&[][..], &[("x-forwarded-for", "unknown")], &[("forwarded", "for=1.2.3.4")]] {
            let peer = through("fd00::1", said);
            let expected = ("fd00::1".parse().unwrap(), true, Some(SEEN));
            assert_eq!((peer.address, peer.secure, peer.certificate), expected, "{said:?}");
        }
    }

    #[test]
    fn a_fingerprint_is_written_in_hexadecimal() {
        assert_eq!(SEEN.to_string(), "07".repeat(32));
    }
}
