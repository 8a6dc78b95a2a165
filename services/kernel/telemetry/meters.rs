//! The instruments of one server: made once by `serve`, handed to every part that measures. Without
//! an admin port and a collector they are off, and a measurement is one look at a pointer. Counts
//! that every call changes are kept in atomics of our own; the rest is the SDK's.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Histogram, Meter, MeterProvider};
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::reader::MetricReader;

use super::gauges::{self, Gauges, Known};
use super::models::Models;
use super::reader::Pull;
use super::table::{self, Row};
use super::{page, resource};
use crate::kernel::config::Config;

/// Seconds, from a cached read to a run that takes its hour.
const SECONDS: &[f64] = &[
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
    60.0, 300.0, 1800.0,
];
/// As the GenAI conventions give them.
const TOKENS: &[f64] = &[
    1.0,
    4.0,
    16.0,
    64.0,
    256.0,
    1024.0,
    4096.0,
    16384.0,
    65536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
];
/// As the GenAI conventions give them.
const OPERATION_SECONDS: &[f64] =
    &[0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92];

/// The limits that decide about calls.
const LIMITS: [&str; 5] =
    ["sustained", "project", "run_creations", "unauthenticated", "failed_logins"];
/// The caches that are counted.
const CACHES: [&str; 3] = ["keys", "specs", "pictures"];

/// The instruments, or nothing. Cheap to clone.
#[derive(Clone, Default)]
pub struct Meters(Option<Arc<Instruments>>);

/// One try of a model call.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// Kind of the provider.
    pub provider: &'a str,
    /// Model.
    pub model: &'a str,
    /// Why it has failed.
    pub error: Option<&'static str>,
    /// How long it took.
    pub time: Duration,
    /// Tokens read and written.
    pub tokens: Option<(i32, i32)>,
}

struct Instruments {
    reader: Pull,
    /// Lives as long as its instruments are to be read.
    _provider: SdkMeterProvider,
    meter: Meter,
    trusts: bool,
    known: Known,
    models: Models,
    active: Arc<AtomicI64>,
    decisions: Pairs,
    lookups: Pairs,
    request: Histogram<f64>,
    created: Counter<u64>,
    ended: Counter<u64>,
    repeats: Counter<u64>,
    claim: Histogram<f64>,
    step: Histogram<f64>,
    run: Histogram<f64>,
    tokens: Histogram<u64>,
    operation: Histogram<f64>,
    pool: Histogram<f64>,
    transaction: Histogram<f64>,
}

/// Counts of two outcomes, by name.
struct Pairs(BTreeMap<&'static str, [Arc<AtomicU64>; 2]>);

/// A call whose answer has not begun; it has when this is dropped.
pub struct Active(Option<Arc<AtomicI64>>);

/// Figures that are asked for, as long as this lives.
#[must_use]
pub struct Observed(Meters);

impl Meters {
    /// The instruments of a server, when somebody reads them.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let is_read = config.telemetry.is_on() || config.admin.address().is_some();
        Self(is_read.then(|| Arc::new(Instruments::new(config))))
    }

    /// True when somebody reads them.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// True when a call goes on with its caller's trace: no measure, but the calls' accounts have all
    /// else from here.
    #[must_use]
    pub fn trusts_callers(&self) -> bool {
        self.0.as_ref().is_none_or(|on| on.trusts)
    }

    /// A call has come.
    #[must_use]
    pub fn call(&self) -> Active {
        let Some(on) = &self.0 else { return Active(None) };
        on.active.fetch_add(1, Ordering::Relaxed);
        Active(Some(Arc::clone(&on.active)))
    }

    /// A call was answered.
    pub fn answered(
        &self,
        (method, dialect): (&'static str, &'static str),
        status: impl Into<opentelemetry::Value>,
        time: Duration,
    ) {
        let Some(on) = &self.0 else { return };
        let labels = [
            KeyValue::new("method", method),
            KeyValue::new("dialect", dialect),
            KeyValue::new("status", status.into()),
        ];
        on.request.record(time.as_secs_f64(), &labels);
    }

    /// A limit has decided about a call.
    pub fn decided(&self, limit: &str, is_allowed: bool) {
        if let Some(on) = &self.0 {
            on.decisions.add(limit, is_allowed);
        }
    }

    /// A cache was looked into.
    pub fn looked_up(&self, cache: &str, is_hit: bool) {
        if let Some(on) = &self.0 {
            on.lookups.add(cache, is_hit);
        }
    }

    /// A run was created.
    pub fn created(&self) {
        if let Some(on) = &self.0 {
            on.created.add(1, &[]);
        }
    }

    /// A run has ended, so long after its creation.
    pub fn ended(&self, status: &'static str, time: Duration) {
        let Some(on) = &self.0 else { return };
        let labels = [KeyValue::new("status", status)];
        on.ended.add(1, &labels);
        on.run.record(time.as_secs_f64(), &labels);
    }

    /// A run was taken, so long after it was ready.
    pub fn claimed(&self, time: Duration) {
        if let Some(on) = &self.0 {
            on.claim.record(time.as_secs_f64(), &[]);
        }
    }

    /// A step has ended.
    pub fn stepped(&self, kind: &'static str, outcome: &'static str, time: Duration) {
        let Some(on) = &self.0 else { return };
        let labels = [KeyValue::new("kind", kind), KeyValue::new("outcome", outcome)];
        on.step.record(time.as_secs_f64(), &labels);
    }

    /// A model was asked.
    pub fn asked(&self, asked: &Asked<'_>) {
        let Some(on) = &self.0 else { return };
        let mut labels = vec![
            KeyValue::new("gen_ai.operation.name", "chat"),
            KeyValue::new("gen_ai.provider.name", asked.provider.to_owned()),
            KeyValue::new("gen_ai.request.model", on.models.named(asked.model)),
        ];
        for (kind, count) in asked.tokens.iter().flat_map(|(i, o)| [("input", *i), ("output", *o)])
        {
            labels.push(KeyValue::new("gen_ai.token.type", kind));
            on.tokens.record(u64::try_from(count).unwrap_or(0), &labels);
            labels.pop();
        }
        labels.extend(asked.error.map(|error| KeyValue::new("error.type", error)));
        on.operation.record(asked.time.as_secs_f64(), &labels);
    }

    /// Somebody has waited for a connection to the database.
    pub fn waited(&self, time: Duration) {
        if let Some(on) = &self.0 {
            on.pool.record(time.as_secs_f64(), &[]);
        }
    }

    /// A transaction is over.
    pub fn transacted(&self, name: &'static str, time: Duration) {
        if let Some(on) = &self.0 {
            on.transaction.record(time.as_secs_f64(), &[KeyValue::new("name", name)]);
        }
    }

    /// A transaction is done again.
    pub fn repeated(&self) {
        if let Some(on) = &self.0 {
            on.repeats.add(1, &[]);
        }
    }

    /// Until that is dropped these are asked whenever the metrics are read.
    pub fn observe(&self, gauges: Gauges) -> Observed {
        if let Some(on) = &self.0 {
            on.known.observe(&on.meter, gauges);
        }
        Observed(self.clone())
    }

    /// The page, as Prometheus reads it.
    pub async fn page(&self) -> String {
        self.refresh().await;
        self.collect().map_or_else(String::new, |metrics| page::write(&metrics))
    }

    /// Brings the figures up to date that have to be asked for.
    pub(super) async fn refresh(&self) {
        if let Some(on) = &self.0 {
            on.known.refresh().await;
        }
    }

    /// All metrics as they are now.
    pub(super) fn collect(&self) -> Option<ResourceMetrics> {
        let on = self.0.as_ref()?;
        let mut metrics = ResourceMetrics::default();
        on.reader.collect(&mut metrics).ok()?;
        Some(metrics)
    }
}

impl fmt::Debug for Meters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Meters({})", if self.is_on() { "on" } else { "off" })
    }
}

impl Drop for Observed {
    fn drop(&mut self) {
        if let Some(on) = &self.0.0 {
            on.known.forget();
        }
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        if let Some(active) = &self.0 {
            active.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Instruments {
    fn new(config: &Config) -> Self {
        let reader = Pull::default();
        let builder = SdkMeterProvider::builder().with_resource(resource(&config.telemetry));
        let provider = builder.with_reader(reader.clone()).build();
        let meter = provider.meter("runplane");
        let active = Arc::new(AtomicI64::new(0));
        gauges::observe(&meter, &table::REQUESTS_ACTIVE, gauges::level(&active));
        build(&meter);
        let seconds = |row| histogram(&meter, row, SECONDS);
        Self {
            trusts: config.telemetry.traces_trust,
            known: Known::default(),
            models: Models::default(),
            active,
            decisions: Pairs::new(
                &meter,
                &table::LIMITS_DECISIONS,
                (&LIMITS, ["allowed", "refused"]),
            ),
            lookups: Pairs::new(&meter, &table::CACHE_LOOKUPS, (&CACHES, ["hit", "miss"])),
            request: seconds(&table::REQUEST_DURATION),
            created: counter(&meter, &table::RUNS_CREATED),
            ended: counter(&meter, &table::RUNS_ENDED),
            repeats: counter(&meter, &table::STORE_REPEATS),
            claim: seconds(&table::CLAIM_LATENCY),
            step: seconds(&table::STEP_DURATION),
            run: seconds(&table::RUN_DURATION),
            tokens: tokens(&meter),
            operation: histogram(&meter, &table::OPERATION_DURATION, OPERATION_SECONDS),
            pool: seconds(&table::POOL_WAIT),
            transaction: seconds(&table::TRANSACTION_DURATION),
            reader,
            _provider: provider,
            meter,
        }
    }
}

impl Pairs {
    fn new(
        meter: &Meter,
        row: &'static Row,
        (names, outcomes): (&[&'static str], [&'static str; 2]),
    ) -> Self {
        let [first, second] = row.labels else { return Self(BTreeMap::new()) };
        let pairs: BTreeMap<_, _> = names.iter().map(|name| (*name, Default::default())).collect();
        let labelled = pairs.iter().flat_map(|(name, counts): (_, &[Arc<AtomicU64>; 2])| {
            counts.iter().zip(outcomes).map(|(count, outcome)| {
                let labels = [KeyValue::new(*first, *name), KeyValue::new(*second, outcome)];
                (labels.to_vec(), Arc::clone(count))
            })
        });
        gauges::count(meter, row, labelled.collect());
        Self(pairs)
    }

    fn add(&self, name: &str, is_first: bool) {
        if let Some([first, second]) = self.0.get(name) {
            if is_first { first } else { second }.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn histogram(meter: &Meter, row: &Row, bounds: &[f64]) -> Histogram<f64> {
    let builder = meter.f64_histogram(row.name).with_unit(row.unit).with_description(row.about);
    builder.with_boundaries(bounds.to_vec()).build()
}

fn tokens(meter: &Meter) -> Histogram<u64> {
    let row = &table::TOKEN_USAGE;
    let builder = meter.u64_histogram(row.name).with_unit(row.unit).with_description(row.about);
    builder.with_boundaries(TOKENS.to_vec()).build()
}

fn counter(meter: &Meter, row: &Row) -> Counter<u64> {
    let builder = meter.u64_counter(row.name).with_unit(row.unit);
    let counter = builder.with_description(row.about).build();
    if row.labels.is_empty() {
        // One that has counted nothing is there too.
        counter.add(0, &[]);
    }
    counter
}

fn build(meter: &Meter) {
    let gauge = meter.u64_observable_gauge(table::BUILD.name);
    let _gauge = gauge
        .with_unit(table::BUILD.unit)
        .with_description(table::BUILD.about)
        .with_callback(|observer| {
            observer.observe(1, &[KeyValue::new("version", env!("CARGO_PKG_VERSION"))]);
        })
        .build();
}
