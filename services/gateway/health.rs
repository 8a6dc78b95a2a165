//! `/healthz` or `/livez` (the process lives) and `/readyz` (it may be sent work). gRPC has its own
//! health service.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::body::Body;
use futures::future::BoxFuture;
use http::{HeaderValue, Method, StatusCode, header};

use super::Response;

/// Asks the store whether it answers.
pub type Probe = Arc<dyn Fn() -> BoxFuture<'static, bool> + Send + Sync>;

/// Whether the server may be sent work.
#[derive(Clone)]
pub struct Health {
    draining: Arc<AtomicBool>,
    probe: Probe,
}

impl Health {
    /// Ready as long as the probe succeeds and [`Health::drain`] was not called.
    #[must_use]
    pub fn new(probe: Probe) -> Self {
        Self { draining: Arc::default(), probe }
    }

    /// From now on not ready: the server is about to stop.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// The answer to a health path; `None` for any other.
    pub async fn answer(&self, method: &Method, path: &str) -> Option<Response> {
        if !is_health(path) || !matches!(*method, Method::GET | Method::HEAD) {
            return None;
        }
        if path != "/readyz" {
            return Some(plain(StatusCode::OK, r#"{"status":"ok"}"#));
        }
        if self.draining.load(Ordering::Relaxed) {
            return Some(plain(StatusCode::SERVICE_UNAVAILABLE, r#"{"status":"draining"}"#));
        }
        if !(self.probe)().await {
            return Some(plain(
                StatusCode::SERVICE_UNAVAILABLE,
                r#"{"status":"store unavailable"}"#,
            ));
        }
        Some(plain(StatusCode::OK, r#"{"status":"ready"}"#))
    }
}

/// True for the paths that tell how the process is.
pub(super) fn is_health(path: &str) -> bool {
    matches!(path, "/healthz" | "/livez" | "/readyz")
}

fn plain(status: StatusCode, body: &'static str) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}
