//! What is told of the process to whoever operates it: the admin port, and where traces and metrics
//! are sent. Read by `kernel/telemetry` and `serve/`; data only.

use std::net::SocketAddr;

use http::{HeaderName, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use url::Url;

/// The admin port.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdminConfig {
    /// Its address; empty: there is none.
    pub listen: String,
}

/// Where traces and metrics are sent.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TelemetryConfig {
    /// URL of the collector; empty: nothing is sent.
    pub otlp_endpoint: String,
    /// How it is spoken to.
    pub otlp_protocol: OtlpProtocol,
    /// Headers of every request to it, `name=value,name=value`.
    pub otlp_headers: SecretString,
    /// `service.name` of everything that is sent.
    pub service_name: String,
    /// Share of the traces begun here that are sent.
    pub traces_ratio: f64,
    /// True goes on from traces that callers have begun, and leaves the decision about them to them.
    pub traces_trust: bool,
    /// Seconds between two pushes of metrics.
    pub metrics_seconds: u64,
    /// True sends prompts, inputs and outputs too.
    pub capture_content: bool,
}

/// How the collector is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OtlpProtocol {
    /// gRPC.
    Grpc,
    /// Protobuf over HTTP.
    Http,
}

impl AdminConfig {
    /// The address of the port; `None`: there is none.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.listen.parse().ok()
    }

    /// Hands on what is right or wrong, with what to say of it.
    pub(super) fn check(&self, check: &mut impl FnMut(bool, String)) {
        check(
            self.listen.is_empty() || self.address().is_some(),
            format!("admin.listen is {}, must be an address such as 0.0.0.0:9090", self.listen),
        );
    }
}

impl TelemetryConfig {
    /// True when traces and metrics are sent.
    #[must_use]
    pub fn is_on(&self) -> bool {
        !self.otlp_endpoint.is_empty()
    }

    /// The headers; `None` when what stands there are none.
    #[must_use]
    pub fn headers(&self) -> Option<Vec<(HeaderName, HeaderValue)>> {
        let text = self.otlp_headers.expose_secret();
        let pairs = text.split(',').filter(|pair| !pair.trim().is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=')?;
            let mut value = HeaderValue::from_str(value.trim()).ok()?;
            value.set_sensitive(true);
            Some((name.trim().to_ascii_lowercase().parse().ok()?, value))
        });
        pairs.collect()
    }

    /// Hands on what is right or wrong, with what to say of it.
    pub(super) fn check(&self, check: &mut impl FnMut(bool, String)) {
        let url = Url::parse(&self.otlp_endpoint);
        let known = |url: Url| {
            let is_http = matches!(url.scheme(), "http" | "https") && url.has_host();
            is_http && url.username().is_empty() && url.password().is_none()
        };
        check(
            !self.is_on() || url.is_ok_and(known),
            // Not shown: there may be a password in it.
            "telemetry.otlp_endpoint must be a URL that begins with http:// or https://, and have \
             no password: that belongs into otlp_headers"
                .into(),
        );
        check(
            self.headers().is_some(),
            "telemetry.otlp_headers must be name=value,name=value".into(),
        );
        check(!self.service_name.is_empty(), "telemetry.service_name must not be empty".into());
        check(
            (0.0..=1.0).contains(&self.traces_ratio),
            format!("telemetry.traces_ratio is {}, must be 0 to 1", self.traces_ratio),
        );
        check(
            (1..=3600).contains(&self.metrics_seconds),
            format!("telemetry.metrics_seconds is {}, must be 1 to 3600", self.metrics_seconds),
        );
    }
}

#[cfg(test)]
mod tests {
    use crate::kernel::config::Config;

    #[test]
    fn what_cannot_be_right_is_told_and_no_secret_with_it() {
        let changes = "[admin]\nlisten = \"9090\"\n[log]\nfilter = \"a=b=c\"\n[telemetry]\n\
            otlp_endpoint = \"collector:4317\"\notlp_headers = \"hunter2\"\nservice_name = \"\"\n\
            traces_ratio = 1.5\nmetrics_seconds = 0\n";
        let mistakes = Config::with(changes).unwrap_err();
        for name in ["otlp_endpoint", "otlp_headers", "service_name", "traces_ratio"]
            .map(|name| format!("telemetry.{name}"))
            .into_iter()
            .chain(["telemetry.metrics_seconds", "admin.listen", "log.filter"].map(str::to_owned))
        {
            assert!(mistakes.contains(&name), "{name}: {mistakes}");
        }
        assert!(!mistakes.contains("hunter2"), "{mistakes}");
    }

    #[test]
    fn headers_are_read_and_never_printed() {
        let changes = "[telemetry]\notlp_headers = \"Authorization=Bearer hunter2=, x-a = b\"\n";
        let config = Config::with(changes).unwrap();
        let headers = config.telemetry.headers().unwrap();
        assert_eq!(headers[0].0, "authorization");
        assert_eq!(headers[0].1, "Bearer hunter2=");
        assert_eq!(headers[1], ("x-a".parse().unwrap(), "b".parse().unwrap()));
        assert!(!format!("{config:?}{headers:?}").contains("hunter2"));
    }
}
