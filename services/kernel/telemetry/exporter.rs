//! Speaks OTLP to the collector, over gRPC or HTTP. Made by `mod.rs` for spans and by `serve` for
//! metrics; waits for an answer no longer than [`PATIENCE`].

use std::collections::HashMap;
use std::time::Duration;

use http::HeaderMap;
use opentelemetry_otlp::{
    ExporterBuildError, MetricExporter, Protocol, SpanExporter, WithExportConfig, WithHttpConfig,
    WithTonicConfig,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SpanExporter as _;
use tokio::time::{Instant, interval_at, timeout};
use tokio_util::sync::CancellationToken;
use tonic::metadata::MetadataMap;
use tonic::transport::ClientTlsConfig;

use super::Meters;
use crate::kernel::config::{OtlpProtocol, TelemetryConfig};

/// How long an answer is waited for.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// How long the last push of metrics may take when the server ends.
const LAST: Duration = Duration::from_secs(1);

/// Pushes metrics.
pub struct Metrics {
    exporter: MetricExporter,
    every: Duration,
}

/// Sends spans.
pub(super) fn spans(config: &TelemetryConfig, of: &Resource) -> Result<SpanExporter, String> {
    let builder = SpanExporter::builder();
    let built = match config.otlp_protocol {
        OtlpProtocol::Grpc => tonic(builder.with_tonic(), config).build(),
        OtlpProtocol::Http => http(builder.with_http(), config, "v1/traces")?.build(),
    };
    let mut exporter = built.map_err(refused)?;
    exporter.set_resource(of);
    Ok(exporter)
}

fn tonic<B: WithTonicConfig + WithExportConfig>(builder: B, config: &TelemetryConfig) -> B {
    let headers = HeaderMap::from_iter(config.headers().unwrap_or_default());
    let endpoint = config.otlp_endpoint.clone();
    let tls = endpoint.starts_with("https:").then(|| ClientTlsConfig::new().with_native_roots());
    let builder = builder.with_metadata(MetadataMap::from_headers(headers));
    let builder = match tls {
        Some(tls) => builder.with_tls_config(tls),
        None => builder,
    };
    builder.with_endpoint(endpoint).with_timeout(PATIENCE)
}

fn http<B: WithHttpConfig + WithExportConfig>(
    builder: B,
    config: &TelemetryConfig,
    path: &str,
) -> Result<B, String> {
    let headers = config.headers().unwrap_or_default().into_iter();
    let text = |value: http::HeaderValue| value.to_str().map(str::to_owned).unwrap_or_default();
    let headers: HashMap<_, _> =
        headers.map(|(name, value)| (name.to_string(), text(value))).collect();
    let endpoint = format!("{}/{path}", config.otlp_endpoint.trim_end_matches('/'));
    let builder = builder.with_http_client(client()?).with_headers(headers);
    Ok(builder.with_protocol(Protocol::HttpBinary).with_endpoint(endpoint).with_timeout(PATIENCE))
}

/// A client of its own: what it sends is not traced. Goes nowhere but where the operator says, for it
/// carries the headers. On a machine without any CA certificate it
/// refuses every HTTPS peer.
fn client() -> Result<reqwest::Client, String> {
    let builder =
        || reqwest::Client::builder().timeout(PATIENCE).redirect(reqwest::redirect::Policy::none());
    let built = builder().build().or_else(|_| builder().tls_certs_only([]).build());
    built.map_err(|error| format!("telemetry.otlp_endpoint: {error}"))
}

fn refused(error: ExporterBuildError) -> String {
    format!("telemetry.otlp_endpoint: {error}")
}

impl Metrics {
    /// Pushes to the collector of the configuration; `None` when it names none.
    ///
    /// # Errors
    /// When its address cannot be used.
    pub fn new(config: &TelemetryConfig) -> Result<Option<Self>, String> {
        if !config.is_on() {
            return Ok(None);
        }
        let builder = MetricExporter::builder();
        let exporter = match config.otlp_protocol {
            OtlpProtocol::Grpc => tonic(builder.with_tonic(), config).build(),
            OtlpProtocol::Http => http(builder.with_http(), config, "v1/metrics")?.build(),
        };
        let every = Duration::from_secs(config.metrics_seconds);
        Ok(Some(Self { exporter: exporter.map_err(refused)?, every }))
    }

    /// Pushes every few seconds until `stop`, and once more then, within a second. A collector that
    /// fails is told of once.
    pub async fn run(self, meters: &Meters, stop: &CancellationToken) {
        let mut due = interval_at(Instant::now() + self.every, self.every);
        let mut failing = false;
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                _ = due.tick() => {}
            }
            let pushed = tokio::select! {
                () = stop.cancelled() => break,
                pushed = self.push(meters) => pushed,
            };
            match &pushed {
                Err(why) if !failing => tracing::warn!(why, "the collector takes no metrics"),
                Ok(()) if failing => tracing::info!("the collector takes metrics again"),
                _ => {}
            }
            failing = pushed.is_err();
        }
        if timeout(LAST, self.send(meters)).await.is_err() {
            tracing::warn!("the last metrics could not be sent in time");
        }
    }

    async fn push(&self, meters: &Meters) -> Result<(), String> {
        meters.refresh().await;
        timeout(PATIENCE, self.send(meters)).await.unwrap_or(Err("no answer in time".to_owned()))
    }

    async fn send(&self, meters: &Meters) -> Result<(), String> {
        use opentelemetry_sdk::metrics::exporter::PushMetricExporter;

        let Some(metrics) = meters.collect() else { return Ok(()) };
        self.exporter.export(&metrics).await.map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_collector_that_sends_its_caller_elsewhere_is_not_followed() {
        let _installed = rustls::crypto::ring::default_provider().install_default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let answer = format!(
            "HTTP/1.1 307 Elsewhere\r\nLocation: {url}/elsewhere\r\nContent-Length: 0\r\n\r\n"
        );
        let answering = async {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let _head = stream.read(&mut [0; 4096]).await.unwrap();
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        };
        let client = client().unwrap();
        tokio::select! {
            got = client.post(&url).body("spans").send() => assert_eq!(got.unwrap().status(), 307),
            () = answering => {}
        }
    }
}
