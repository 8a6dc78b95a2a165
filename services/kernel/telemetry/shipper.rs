//! The way of spans to the collector: a bounded queue that nobody waits at, and a task that sends
//! what is in it, some hundred at a time. What does not fit is lost and counted. A collector that
//! fails is told of once, and once more when it is back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use opentelemetry::Context;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Span, SpanData, SpanExporter, SpanProcessor};
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::exporter::PATIENCE;

/// Spans that wait at most.
const QUEUE_SPANS: usize = 4096;
/// Spans that are sent at once.
const BATCH_SPANS: usize = 512;
/// How long a span waits for others to be sent with.
const LINGER: Duration = Duration::from_millis(500);

/// Where spans go when they end.
#[derive(Debug)]
pub(super) struct Queue {
    spans: Sender<SpanData>,
    lost: Arc<AtomicU64>,
}

/// Sends what is in the queue.
pub(super) struct Shipper<E> {
    exporter: E,
    spans: Receiver<SpanData>,
    lost: Arc<AtomicU64>,
    /// The last batch could not be sent.
    failing: bool,
}

/// A queue and what empties it.
pub(super) fn pair<E: SpanExporter>(exporter: E) -> (Queue, Shipper<E>) {
    let (sender, spans) = mpsc::channel(QUEUE_SPANS);
    let lost = Arc::new(AtomicU64::new(0));
    let queue = Queue { spans: sender, lost: Arc::clone(&lost) };
    (queue, Shipper { exporter, spans, lost, failing: false })
}

impl SpanProcessor for Queue {
    fn on_start(&self, _span: &mut Span, _context: &Context) {}

    fn on_end(&self, span: SpanData) {
        if span.span_context.is_sampled() && self.spans.try_send(span).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
        Ok(())
    }
}

impl<E: SpanExporter> Shipper<E> {
    /// Sends until `stop`, and then what is left.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let mut batch = Vec::with_capacity(BATCH_SPANS);
        while self.next(&mut batch, &stop).await {
            let spans = std::mem::take(&mut batch);
            self.send(spans).await;
        }
        let lost = self.lost.load(Ordering::Relaxed);
        if lost > 0 {
            tracing::warn!(lost, "spans did not reach the collector");
        }
    }

    /// Fills the batch; false when there will be none any more.
    async fn next(&mut self, batch: &mut Vec<SpanData>, stop: &CancellationToken) -> bool {
        let some = tokio::select! {
            biased;
            some = self.spans.recv_many(batch, BATCH_SPANS) => some,
            () = stop.cancelled() => {
                self.spans.close();
                self.spans.recv_many(batch, BATCH_SPANS).await
            }
        };
        if some == 0 {
            return false;
        }
        if !stop.is_cancelled() && batch.len() < BATCH_SPANS {
            tokio::select! {
                () = stop.cancelled() => {}
                () = sleep(LINGER) => {}
            }
        }
        while let Some(span) = self.more(batch.len()) {
            batch.push(span);
        }
        true
    }

    fn more(&mut self, len: usize) -> Option<SpanData> {
        if len < BATCH_SPANS { self.spans.try_recv().ok() } else { None }
    }

    async fn send(&mut self, spans: Vec<SpanData>) {
        let count = u64::try_from(spans.len()).unwrap_or(u64::MAX);
        let failure = match timeout(PATIENCE, self.exporter.export(spans)).await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(_late) => Some("no answer in time".to_owned()),
        };
        let failed = failure.is_some();
        let lost = self.lost.fetch_add(if failed { count } else { 0 }, Ordering::Relaxed);
        match failure {
            Some(why) if !self.failing => tracing::warn!(why, "the collector takes no spans"),
            None if self.failing => tracing::info!(lost, "the collector takes spans again"),
            _ => {}
        }
        self.failing = failed;
    }
}
