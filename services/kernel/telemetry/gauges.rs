//! What is asked when somebody reads the metrics, and not before: how many runs are driven, how
//! many wait. Handed in by `serve`, which knows the parts; used by `meters.rs`.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use opentelemetry::KeyValue;
use opentelemetry::metrics::Meter;
use tokio::time::{Instant, timeout};

use super::table::{self, Row};

/// Least time between two questions to the database.
const ASK_EVERY: Duration = Duration::from_secs(10);
/// How long its answer is waited for: a database in trouble keeps nobody from the other figures.
const PATIENCE: Duration = Duration::from_secs(1);

/// A figure that is at hand; `None`: there is none now.
pub type Figure = Box<dyn Fn() -> Option<u64> + Send + Sync>;

/// Asks the database how long the queue is; `None` when it does not answer.
pub type Ask = Box<dyn Fn() -> BoxFuture<'static, Option<Queue>> + Send + Sync>;

/// How many runs have not ended, of all processes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Queue {
    /// May be claimed.
    pub ready: u64,
    /// Are driven.
    pub leased: u64,
    /// Wait for their caller.
    pub waiting: u64,
    /// Wait behind another run of their conversation.
    pub behind: u64,
    /// For how long the oldest ready one has been so, in microseconds.
    pub oldest_us: u64,
}

/// Where the figures come from.
pub struct Gauges {
    /// Runs that this process drives.
    pub runs_active: Figure,
    /// Runs that it can drive at once.
    pub runs_slots: Figure,
    /// Streams and waits that are open here.
    pub followers: Figure,
    /// 1 while Redis answers.
    pub redis_up: Figure,
    /// Processes on the database.
    pub workers: Figure,
    /// The queue.
    pub queue: Ask,
}

/// The queue as it was last told, and whom to ask.
#[derive(Default)]
pub(super) struct Known {
    figures: Mutex<Vec<Arc<Slot>>>,
    ask: Mutex<Option<Arc<Ask>>>,
    asked: Mutex<Option<Instant>>,
    queue: Arc<Mutex<Option<Queue>>>,
}

/// A figure, until it is forgotten.
type Slot = Mutex<Option<Figure>>;

impl Known {
    /// Registers the figures.
    pub(super) fn observe(&self, meter: &Meter, gauges: Gauges) {
        let Gauges { runs_active, runs_slots, followers, redis_up, workers, queue } = gauges;
        for (row, figure) in [
            (&table::RUNS_ACTIVE, runs_active),
            (&table::RUNS_SLOTS, runs_slots),
            (&table::STREAM_FOLLOWERS, followers),
            (&table::REDIS_UP, redis_up),
            (&table::WORKERS, workers),
        ] {
            let slot = Arc::new(Mutex::new(Some(figure)));
            lock(&self.figures).push(Arc::clone(&slot));
            observe(meter, row, Box::new(move || lock(&slot).as_ref().and_then(|ask| ask())));
        }
        *lock(&self.ask) = Some(Arc::new(queue));
        let known = Arc::clone(&self.queue);
        let depth = meter.u64_observable_gauge(table::QUEUE_DEPTH.name);
        let _depth = depth
            .with_unit(table::QUEUE_DEPTH.unit)
            .with_description(table::QUEUE_DEPTH.about)
            .with_callback(move |observer| {
                let Some(queue) = *lock(&known) else { return };
                let Queue { ready, leased, waiting, behind, .. } = queue;
                for (state, runs) in
                    [("ready", ready), ("leased", leased), ("waiting", waiting), ("behind", behind)]
                {
                    observer.observe(runs, &[KeyValue::new("state", state)]);
                }
            })
            .build();
        let known = Arc::clone(&self.queue);
        let oldest = meter.f64_observable_gauge(table::QUEUE_OLDEST.name);
        let _oldest = oldest
            .with_unit(table::QUEUE_OLDEST.unit)
            .with_description(table::QUEUE_OLDEST.about)
            .with_callback(move |observer| {
                if let Some(queue) = *lock(&known) {
                    let oldest = Duration::from_micros(queue.oldest_us);
                    observer.observe(oldest.as_secs_f64(), &[]);
                }
            })
            .build();
    }

    /// Asks nobody any more. Those that are asked hold the meters, and the meters hold them: without
    /// this neither would ever be let go.
    pub(super) fn forget(&self) {
        let figures = std::mem::take(&mut *lock(&self.figures));
        let forgotten: Vec<_> = figures.iter().map(|slot| lock(slot).take()).collect();
        let ask = lock(&self.ask).take();
        *lock(&self.queue) = None;
        drop((forgotten, ask));
    }

    /// Asks the database, unless it was asked just now.
    pub(super) async fn refresh(&self) {
        let now = Instant::now();
        let Some(ask) = lock(&self.ask).clone() else { return };
        {
            let mut asked = lock(&self.asked);
            if asked.is_some_and(|asked| now < asked + ASK_EVERY) {
                return;
            }
            *asked = Some(now);
        }
        let queue = timeout(PATIENCE, ask()).await.unwrap_or_default();
        *lock(&self.queue) = queue;
    }
}

/// Registers a figure that is at hand.
pub(super) fn observe(meter: &Meter, row: &'static Row, figure: Figure) {
    let gauge = meter.u64_observable_gauge(row.name);
    let _gauge = gauge
        .with_unit(row.unit)
        .with_description(row.about)
        .with_callback(move |observer| {
            if let Some(value) = figure() {
                observer.observe(value, &[]);
            }
        })
        .build();
}

/// Registers counts that are kept elsewhere, each with its labels.
pub(super) fn count(
    meter: &Meter,
    row: &'static Row,
    counts: Vec<(Vec<KeyValue>, Arc<AtomicU64>)>,
) {
    let counter = meter.u64_observable_counter(row.name);
    let _counter = counter
        .with_unit(row.unit)
        .with_description(row.about)
        .with_callback(move |observer| {
            for (labels, count) in &counts {
                observer.observe(count.load(Ordering::Relaxed), labels);
            }
        })
        .build();
}

/// The figure of a count that goes up and down.
pub(super) fn level(level: &Arc<AtomicI64>) -> Figure {
    let level = Arc::clone(level);
    Box::new(move || Some(u64::try_from(level.load(Ordering::Relaxed)).unwrap_or(0)))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::Weak;
    use std::sync::atomic::AtomicBool;

    use super::super::Meters;
    use super::*;
    use crate::kernel::config::Config;

    /// Meters of figures that hold what is returned; the queue is told until `hangs`.
    fn meters(hangs: &Arc<AtomicBool>) -> (Meters, Gauges, Weak<()>) {
        let config = Config::with("[admin]\nlisten = '127.0.0.1:0'\n").unwrap();
        let held = Arc::new(());
        let weak = Arc::downgrade(&held);
        let figure = |value| {
            let held = Arc::clone(&held);
            Box::new(move || Some(value * u64::try_from(Arc::strong_count(&held)).ok()?)) as Figure
        };
        let hangs = Arc::clone(hangs);
        let gauges = Gauges {
            runs_active: figure(1),
            runs_slots: figure(1),
            followers: figure(1),
            redis_up: figure(1),
            workers: figure(1),
            queue: Box::new(move || {
                let (hangs, held) = (hangs.load(Ordering::Relaxed), Arc::clone(&held));
                Box::pin(async move {
                    if hangs {
                        std::future::pending::<()>().await;
                    }
                    drop(held);
                    Some(Queue { ready: 3, ..Queue::default() })
                })
            }),
        };
        (Meters::new(&config), gauges, weak)
    }

    #[tokio::test(start_paused = true)]
    async fn a_database_that_does_not_answer_keeps_nobody_from_the_other_figures() {
        let hangs = Arc::new(AtomicBool::new(false));
        let (meters, gauges, _) = meters(&hangs);
        let _observed = meters.observe(gauges);
        assert!(meters.page().await.contains("runplane_queue_depth{state=\"ready\"} 3"));
        hangs.store(true, Ordering::Relaxed);
        tokio::time::advance(ASK_EVERY).await;
        let begun = Instant::now();
        let page = meters.page().await;
        assert_eq!(begun.elapsed().as_secs(), PATIENCE.as_secs());
        assert!(page.contains("runplane_runs_active "), "{page}");
        assert!(!page.contains("runplane_queue_depth{"), "what is not known is not told: {page}");
    }

    #[tokio::test]
    async fn what_was_asked_is_let_go_when_the_server_ends() {
        let (meters, gauges, held) = meters(&Arc::default());
        let observed = meters.observe(gauges);
        assert!(meters.page().await.contains("runplane_runs_slots "));
        drop(observed);
        assert!(held.upgrade().is_none(), "nothing holds it");
        let page = meters.page().await;
        assert!(!page.contains("runplane_runs_slots ") && !page.contains("queue_depth{"), "{page}");
    }
}
