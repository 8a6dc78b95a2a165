//! An OpenTelemetry collector on a loopback port, over gRPC and over HTTP: remembers every span and
//! every metric, and the bytes that they came in. It may also hang, as one that is in trouble does.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::Metric;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use runplane::kernel::call::hex;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tonic::service::Routes;
use tonic::{Request, Response, Status};

/// Longest wait for what should come.
const WAIT: Duration = Duration::from_secs(30);

/// A running collector.
pub struct Collector {
    /// Its URL, as `telemetry.otlp_endpoint` has it.
    pub url: String,
    seen: Arc<Seen>,
    server: JoinHandle<()>,
}

/// A span that came.
#[derive(Debug, Clone)]
pub struct Came {
    /// Trace, in hexadecimal.
    pub trace: String,
    /// Id, in hexadecimal.
    pub id: String,
    /// Id of its parent; empty: none.
    pub parent: String,
    /// Name.
    pub name: String,
    /// Attributes as text.
    pub attributes: BTreeMap<String, String>,
    /// Ids of the spans that it is linked with.
    pub links: Vec<String>,
    /// 1 internal, 2 server, 3 client.
    pub kind: i32,
    /// 0 unset, 1 ok, 2 error.
    pub status: i32,
    /// `service.instance.id` of who sent it.
    pub sender: String,
    /// When it began and ended, in nanoseconds.
    pub times: (u64, u64),
}

#[derive(Default)]
struct Seen {
    hangs: bool,
    spans: Mutex<Vec<Came>>,
    metrics: Mutex<Vec<Metric>>,
    bytes: Mutex<Vec<u8>>,
    headers: Mutex<Vec<HeaderMap>>,
    changed: watch::Sender<u64>,
}

#[derive(Clone)]
struct Service(Arc<Seen>);

impl Collector {
    /// One that works.
    pub async fn start() -> Self {
        Self::of(Seen::default()).await
    }

    /// One that takes what it is sent, and never answers.
    pub async fn hanging() -> Self {
        Self::of(Seen { hangs: true, ..Seen::default() }).await
    }

    async fn of(seen: Seen) -> Self {
        let seen = Arc::new(seen);
        let service = Service(Arc::clone(&seen));
        let grpc = Routes::new(TraceServiceServer::new(service.clone()))
            .add_service(MetricsServiceServer::new(service.clone()))
            .prepare()
            .into_axum_router();
        let app = Router::new()
            .route("/v1/traces", post(traces))
            .route("/v1/metrics", post(metrics))
            .with_state(service)
            .merge(grpc);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let server = tokio::spawn(async move {
            axum::serve(listener, app).await.expect("the collector serves");
        });
        Self { url, seen, server }
    }

    /// What a configuration says to send everything here.
    pub fn config(&self, protocol: &str) -> String {
        format!(
            "[telemetry]\notlp_endpoint = {:?}\notlp_protocol = {protocol:?}\n\
             metrics_seconds = 1\notlp_headers = 'x-tenant=a-tenant'\n",
            self.url
        )
    }

    /// Every span so far.
    pub fn spans(&self) -> Vec<Came> {
        self.seen.spans.lock().expect("spans").clone()
    }

    /// Every metric so far, each push anew.
    pub fn metrics(&self) -> Vec<Metric> {
        self.seen.metrics.lock().expect("metrics").clone()
    }

    /// The headers of every request.
    pub fn headers(&self) -> Vec<HeaderMap> {
        self.seen.headers.lock().expect("headers").clone()
    }

    /// True when these bytes came, anywhere.
    pub fn has(&self, text: &str) -> bool {
        let bytes = self.seen.bytes.lock().expect("bytes");
        bytes.windows(text.len()).any(|window| window == text.as_bytes())
    }

    /// How many bytes came.
    pub fn len(&self) -> usize {
        self.seen.bytes.lock().expect("bytes").len()
    }

    /// Waits until what came is as it should be.
    pub async fn until(&self, right: impl Fn(&Self) -> bool) {
        let mut changed = self.seen.changed.subscribe();
        let came = timeout(WAIT, changed.wait_for(|_| right(self))).await.is_ok();
        assert!(came, "it does not come:\n{}", tree(&self.spans()));
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Service {
    async fn take(&self, headers: HeaderMap, bytes: &[u8]) {
        self.0.headers.lock().expect("headers").push(headers);
        self.0.bytes.lock().expect("bytes").extend_from_slice(bytes);
        if self.0.hangs {
            self.0.changed.send_modify(|n| *n += 1);
            std::future::pending::<()>().await;
        }
    }

    fn spans(&self, request: ExportTraceServiceRequest) {
        let mut spans = self.0.spans.lock().expect("spans");
        for resource in request.resource_spans {
            let of = texts(&resource.resource.unwrap_or_default().attributes);
            let sender = of.get("service.instance.id").cloned().unwrap_or_default();
            let all = resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
            spans.extend(all.map(|span| came(span, &sender)));
        }
        drop(spans);
        self.0.changed.send_modify(|n| *n += 1);
    }

    fn metrics(&self, request: ExportMetricsServiceRequest) {
        let scopes = request.resource_metrics.into_iter().flat_map(|all| all.scope_metrics);
        let metrics = scopes.flat_map(|scope| scope.metrics);
        self.0.metrics.lock().expect("metrics").extend(metrics);
        self.0.changed.send_modify(|n| *n += 1);
    }
}

#[tonic::async_trait]
impl TraceService for Service {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let (metadata, _, request) = request.into_parts();
        self.take(metadata.into_headers(), &request.encode_to_vec()).await;
        self.spans(request);
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl MetricsService for Service {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        let (metadata, _, request) = request.into_parts();
        self.take(metadata.into_headers(), &request.encode_to_vec()).await;
        self.metrics(request);
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}

async fn traces(State(service): State<Service>, headers: HeaderMap, body: Bytes) -> Vec<u8> {
    service.take(headers, &body).await;
    service.spans(ExportTraceServiceRequest::decode(body).expect("protobuf"));
    ExportTraceServiceResponse::default().encode_to_vec()
}

async fn metrics(State(service): State<Service>, headers: HeaderMap, body: Bytes) -> Vec<u8> {
    service.take(headers, &body).await;
    service.metrics(ExportMetricsServiceRequest::decode(body).expect("protobuf"));
    ExportMetricsServiceResponse::default().encode_to_vec()
}

fn came(span: Span, sender: &str) -> Came {
    Came {
        trace: hex(&span.trace_id),
        id: hex(&span.span_id),
        parent: hex(&span.parent_span_id),
        attributes: texts(&span.attributes),
        links: span.links.iter().map(|link| hex(&link.span_id)).collect(),
        kind: span.kind,
        status: span.status.map_or(0, |status| status.code),
        sender: sender.to_owned(),
        times: (span.start_time_unix_nano, span.end_time_unix_nano),
        name: span.name,
    }
}

/// Attributes as text.
pub fn texts(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |pair: &KeyValue| (pair.key.clone(), pair.value.as_ref().map_or("".into(), text));
    attributes.iter().map(text).collect()
}

fn text(value: &AnyValue) -> String {
    match value.value.as_ref() {
        Some(Any::StringValue(text)) => text.clone(),
        Some(Any::IntValue(number)) => number.to_string(),
        Some(Any::DoubleValue(number)) => number.to_string(),
        Some(Any::BoolValue(is)) => is.to_string(),
        Some(Any::ArrayValue(list)) => list.values.iter().map(text).collect::<Vec<_>>().join(","),
        other => format!("{other:?}"),
    }
}

/// Spans as a tree, for people: who called whom, in which process, and how long it took.
pub fn tree(spans: &[Came]) -> String {
    let mut out = String::new();
    let is_root = |span: &&Came| spans.iter().all(|other| other.id != span.parent);
    let mut roots: Vec<&Came> = spans.iter().filter(is_root).collect();
    roots.sort_by_key(|span| span.times);
    for root in roots {
        branch(&mut out, spans, root, 0);
    }
    out
}

fn branch(out: &mut String, spans: &[Came], span: &Came, depth: usize) {
    let took_us = (span.times.1.saturating_sub(span.times.0)) / 1000;
    let process = span.sender.rsplit('-').next().unwrap_or_default();
    writeln!(out, "{}{}  [{process}] {took_us} us", "  ".repeat(depth), span.name)
        .expect("a string grows");
    let mut children: Vec<&Came> = spans.iter().filter(|other| other.parent == span.id).collect();
    children.sort_by_key(|span| span.times);
    for child in children {
        branch(out, spans, child, depth + 1);
    }
}
