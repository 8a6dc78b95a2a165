//! The port and its limits: what `[server]` says. Read by `gateway/` and `serve/`; data only.

use std::net::SocketAddr;

use ipnet::IpNet;
use serde::Deserialize;

/// The port and its limits.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerConfig {
    /// What the process is there for.
    pub role: Role,
    /// Address of the port.
    pub listen: SocketAddr,
    /// Connections at once.
    pub connections_max: usize,
    /// Seconds that a connection is kept on which nothing goes on.
    pub idle_seconds_max: u64,
    /// Seconds that a stream is kept of which its caller takes nothing.
    pub stream_stalled_seconds: u64,
    /// Most bytes of a request body.
    pub body_bytes_max: usize,
    /// Most seconds of one call.
    pub deadline_seconds_max: u64,
    /// Seconds that the server goes on, not ready, when it is told to stop.
    pub drain_notice_seconds: u64,
    /// Seconds that calls in flight get when the server stops.
    pub drain_seconds: u64,
    /// Origins whose pages may call; `*` is any.
    pub cors_origins: Vec<String>,
    /// True refuses calls that come in the clear.
    pub require_https: bool,
    /// Networks of proxies whose word is taken for who calls.
    pub trusted_proxies: Vec<IpNet>,
    /// Which headers they write.
    pub proxy_headers: ProxyHeaders,
    /// Seconds for which browsers shall call over HTTPS only; 0: as they like.
    pub hsts_seconds: u32,
}

/// What a process is there for, of several on one Postgres.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// To answer calls and to drive runs.
    #[default]
    All,
    /// To answer calls.
    Server,
    /// To drive runs.
    Worker,
}

/// Headers in which a proxy says who called it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProxyHeaders {
    /// `X-Forwarded-For` and `X-Forwarded-Proto`.
    #[default]
    XForwarded,
    /// `Forwarded`, RFC 7239.
    Forwarded,
}

impl ServerConfig {
    /// Hands on what is right or wrong, with what to say of it.
    pub(super) fn check(&self, check: &mut impl FnMut(bool, String)) {
        check(
            (1..=1 << 20).contains(&self.connections_max),
            format!("server.connections_max is {}, must be 1 to 2^20", self.connections_max),
        );
        check(
            (1..=86400).contains(&self.idle_seconds_max),
            format!("server.idle_seconds_max is {}, must be 1 to 86400", self.idle_seconds_max),
        );
        check(
            (1..=86400).contains(&self.stream_stalled_seconds),
            format!(
                "server.stream_stalled_seconds is {}, must be 1 to 86400",
                self.stream_stalled_seconds
            ),
        );
        check(
            (1024..=1 << 30).contains(&self.body_bytes_max),
            format!("server.body_bytes_max is {}, must be 1024 to 2^30", self.body_bytes_max),
        );
        check(
            self.drain_notice_seconds <= 300,
            format!(
                "server.drain_notice_seconds is {}, must be 0 to 300",
                self.drain_notice_seconds
            ),
        );
        check(
            self.deadline_seconds_max > 0,
            "server.deadline_seconds_max must be 1 or more".into(),
        );
        for origin in &self.cors_origins {
            check(
                is_origin(origin),
                format!(
                    "server.cors_origins has {origin}, must be * or an origin as browsers write \
                     it: https://app.example.com"
                ),
            );
        }
        for network in &self.trusted_proxies {
            let mapped = matches!(network, IpNet::V6(v6) if v6.addr().to_ipv4_mapped().is_some());
            check(
                !mapped,
                format!("server.trusted_proxies has {network}, must be written as one of IPv4"),
            );
        }
    }
}

/// True for `*` and for scheme, host and port as a browser writes them: lower case, no path, no
/// default port. Anything else would never be equal to what is sent.
fn is_origin(text: &str) -> bool {
    let Some((scheme, host)) = text.split_once("://") else { return text == "*" };
    let default = match scheme {
        "http" => ":80",
        "https" => ":443",
        _ => "",
    };
    let plain = |c: char| !c.is_ascii_uppercase() && !c.is_whitespace() && !"/?#@*,".contains(c);
    !scheme.is_empty()
        && !host.is_empty()
        && text.is_ascii()
        && host.chars().all(plain)
        && (default.is_empty() || !host.ends_with(default))
}
