//! The demo's tool: a small HTTP handler over a data file, as a team would write one in any
//! language.

use std::future::Future;

use axum::routing::post;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

/// The data: one day of payments, some of them failed.
const PAYMENTS: &str = include_str!("../../examples/payments.json");

/// What the model may ask for.
#[derive(Debug, Deserialize)]
struct Search {
    #[serde(default)]
    status: Option<String>,
    #[serde(default)]
    limit: Option<usize>,
}

/// A row of the data.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Payment {
    id: String,
    at: String,
    customer: String,
    amount_cents: u64,
    currency: String,
    status: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    failure_code: Option<String>,
}

/// What the model is told.
#[derive(Debug, Serialize)]
struct Found {
    count: usize,
    total_cents: u64,
    payments: Vec<Payment>,
}

/// Serves the tool until `stop` is done.
pub(super) async fn serve(
    listener: TcpListener,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let router = Router::new().route("/payments/search", post(search));
    axum::serve(listener, router).with_graceful_shutdown(stop).await
}

async fn search(Json(search): Json<Search>) -> Result<Json<Found>, String> {
    let all: Vec<Payment> = serde_json::from_str(PAYMENTS).map_err(|e| e.to_string())?;
    let wanted = |p: &Payment| search.status.as_ref().is_none_or(|status| p.status == *status);
    let mut payments: Vec<Payment> = all.into_iter().filter(wanted).collect();
    let (count, total_cents) = (payments.len(), payments.iter().map(|p| p.amount_cents).sum());
    payments.sort_by_key(|p| std::cmp::Reverse(p.amount_cents));
    payments.truncate(search.limit.unwrap_or(20));
    Ok(Json(Found { count, total_cents, payments }))
}
