//! The way of spans to the collector: a bounded queue that nobody waits at, and a task that sends
//! what is in it, some hundred at a time. What does not fit is lost and counted. A collector that
//! fails is told of once, and once more when it is back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use opentelemetry::{Context, KeyValue, Value};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Span, SpanData, SpanExporter, SpanProcessor};
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::exporter::PATIENCE;

/// Spans that wait at most, and their bytes: with what people say in them they may be large.
const QUEUE_SPANS: usize = 4096;
const QUEUE_BYTES: usize = 32 << 20;
/// Spans that are sent at once, and their bytes: collectors take 4 MiB.
const BATCH_SPANS: usize = 512;
const BATCH_BYTES: usize = 2 << 20;
/// Bytes of a span without its texts, about.
const SPAN_BYTES: usize = 512;
/// How long a span waits for others to be sent with.
const LINGER: Duration = Duration::from_millis(500);
/// How long the last spans may take when the process ends.
const LAST: Duration = Duration::from_secs(1);

/// Where spans go when they end.
#[derive(Debug)]
pub(super) struct Queue {
    spans: Sender<SpanData>,
    counts: Arc<Counts>,
}

/// Sends what is in the queue.
pub(super) struct Shipper<E> {
    exporter: E,
    spans: Receiver<SpanData>,
    counts: Arc<Counts>,
    /// How many spans are on their way.
    sending: u64,
    /// The last batch could not be sent.
    failing: bool,
}

#[derive(Debug, Default)]
struct Counts {
    /// Spans that were not sent and will not be.
    lost: AtomicU64,
    /// Bytes that wait or are being sent.
    bytes: AtomicUsize,
}

/// What is sent at once.
#[derive(Default)]
struct Batch {
    spans: Vec<SpanData>,
    bytes: usize,
}

/// A queue and what empties it.
pub(super) fn pair<E: SpanExporter>(exporter: E) -> (Queue, Shipper<E>) {
    let (sender, spans) = mpsc::channel(QUEUE_SPANS);
    let counts = Arc::<Counts>::default();
    let queue = Queue { spans: sender, counts: Arc::clone(&counts) };
    (queue, Shipper { exporter, spans, counts, sending: 0, failing: false })
}

impl SpanProcessor for Queue {
    fn on_start(&self, _span: &mut Span, _context: &Context) {}

    fn on_end(&self, span: SpanData) {
        if !span.span_context.is_sampled() {
            return;
        }
        let bytes = bytes(&span);
        let fits = self.counts.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes <= QUEUE_BYTES;
        if !fits || self.spans.try_send(span).is_err() {
            self.counts.bytes.fetch_sub(bytes, Ordering::Relaxed);
            self.counts.lost.fetch_add(1, Ordering::Relaxed);
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
    /// Sends until `stop`, and then what is left, within a second; what has not been sent by then is
    /// lost.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let late = async {
            stop.cancelled().await;
            sleep(LAST).await;
        };
        tokio::select! {
            () = self.ship(&stop) => {}
            () = late => {
                tracing::warn!("the last spans could not be sent in time");
                self.give_up();
            }
        }
        let lost = self.counts.lost.load(Ordering::Relaxed);
        if lost > 0 {
            tracing::warn!(lost, "spans did not reach the collector");
        }
    }

    async fn ship(&mut self, stop: &CancellationToken) {
        while let Some(batch) = self.next(stop).await {
            self.send(batch).await;
        }
    }

    /// Counts what is left as lost.
    fn give_up(&mut self) {
        self.spans.close();
        let mut left = self.sending;
        while self.spans.try_recv().is_ok() {
            left += 1;
        }
        self.counts.lost.fetch_add(left, Ordering::Relaxed);
    }

    /// What is to be sent; `None` when there will be nothing any more.
    async fn next(&mut self, stop: &CancellationToken) -> Option<Batch> {
        let first = tokio::select! {
            biased;
            first = self.spans.recv() => first,
            () = stop.cancelled() => {
                self.spans.close();
                self.spans.recv().await
            }
        };
        let mut batch = Batch::default();
        batch.push(first?);
        if !stop.is_cancelled() {
            tokio::select! {
                () = stop.cancelled() => {}
                () = sleep(LINGER), if self.spans.len() < BATCH_SPANS => {}
                () = std::future::ready(()), if self.spans.len() >= BATCH_SPANS => {}
            }
        }
        while !batch.is_full() {
            let Ok(span) = self.spans.try_recv() else { break };
            batch.push(span);
        }
        Some(batch)
    }

    async fn send(&mut self, Batch { spans, bytes }: Batch) {
        let count = u64::try_from(spans.len()).unwrap_or(u64::MAX);
        self.sending = count;
        let failure = match timeout(PATIENCE, self.exporter.export(spans)).await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(_late) => Some("no answer in time".to_owned()),
        };
        self.sending = 0;
        self.counts.bytes.fetch_sub(bytes, Ordering::Relaxed);
        let failed = failure.is_some();
        let lost = self.counts.lost.fetch_add(if failed { count } else { 0 }, Ordering::Relaxed);
        match failure {
            Some(why) if !self.failing => tracing::warn!(why, "the collector takes no spans"),
            None if self.failing => tracing::info!(lost, "the collector takes spans again"),
            _ => {}
        }
        self.failing = failed;
    }
}

impl Batch {
    fn push(&mut self, span: SpanData) {
        self.bytes += bytes(&span);
        self.spans.push(span);
    }

    fn is_full(&self) -> bool {
        self.spans.len() >= BATCH_SPANS || self.bytes >= BATCH_BYTES
    }
}

fn bytes(span: &SpanData) -> usize {
    let text = |attribute: &KeyValue| match &attribute.value {
        Value::String(text) => text.as_str().len(),
        _ => 0,
    };
    SPAN_BYTES + span.attributes.iter().map(text).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use opentelemetry::trace::{Span as _, Tracer, TracerProvider};
    use opentelemetry_sdk::trace::SdkTracerProvider;

    use super::*;

    /// Keeps the sizes of the batches that it is sent.
    #[derive(Debug, Clone, Default)]
    struct Sizes(Arc<Mutex<Vec<usize>>>);

    impl SpanExporter for Sizes {
        async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
            self.0.lock().unwrap().push(batch.len());
            Ok(())
        }
    }

    /// Makes so many spans with a text of so many bytes, while nobody sends; how many are lost, and
    /// how they are sent then.
    async fn sent(count: usize, bytes: usize) -> (u64, Vec<usize>) {
        let sizes = Sizes::default();
        let (queue, shipper) = pair(sizes.clone());
        let counts = Arc::clone(&shipper.counts);
        let provider = SdkTracerProvider::builder().with_span_processor(queue).build();
        let tracer = provider.tracer("test");
        let text = "x".repeat(bytes);
        for _ in 0..count {
            let mut span = tracer.start("a span");
            span.set_attribute(KeyValue::new("text", text.clone()));
        }
        let lost = counts.lost.load(Ordering::Relaxed);
        let stop = CancellationToken::new();
        stop.cancel();
        shipper.run(stop).await;
        assert_eq!(counts.bytes.load(Ordering::Relaxed), 0);
        let sizes = sizes.0.lock().unwrap().clone();
        (lost, sizes)
    }

    #[tokio::test]
    async fn what_does_not_fit_is_lost_and_counted_and_the_rest_is_sent_in_pieces() {
        let (lost, sizes) = sent(QUEUE_SPANS + 7, 1).await;
        assert_eq!((lost, sizes), (7, vec![BATCH_SPANS; QUEUE_SPANS / BATCH_SPANS]));
        let (lost, sizes) = sent(100, 1 << 20).await;
        assert_eq!(lost, 69, "31 and a little are 32 MiB");
        assert_eq!((sizes[0], sizes.iter().sum::<usize>()), (2, 31), "{sizes:?}");
        assert_eq!(sent(3, 1).await, (0, vec![3]));
    }

    /// Takes what it is sent, and never answers.
    #[derive(Debug)]
    struct Hanging;

    impl SpanExporter for Hanging {
        async fn export(&self, _batch: Vec<SpanData>) -> OTelSdkResult {
            std::future::pending().await
        }
    }

    #[tokio::test(start_paused = true)]
    async fn at_the_end_a_collector_that_hangs_is_given_a_second_and_what_it_has_not_taken_is_counted()
     {
        let (queue, shipper) = pair(Hanging);
        let counts = Arc::clone(&shipper.counts);
        let provider = SdkTracerProvider::builder().with_span_processor(queue).build();
        let tracer = provider.tracer("test");
        let stop = CancellationToken::new();
        let running = tokio::spawn(shipper.run(stop.clone()));
        let begin = |count| (0..count).for_each(|_| drop(tracer.start("a span")));
        begin(BATCH_SPANS);
        // The batch is on its way, and these wait behind it.
        tokio::time::sleep(Duration::from_secs(1)).await;
        begin(7);
        stop.cancel();
        let begun = tokio::time::Instant::now();
        running.await.unwrap();
        assert_eq!(begun.elapsed().as_millis(), LAST.as_millis());
        assert_eq!(counts.lost.load(Ordering::Relaxed), u64::try_from(BATCH_SPANS + 7).unwrap());
    }
}
