//! The metrics as a page of text, as Prometheus reads them. Used by `meters.rs` alone. Names come
//! from the table; nothing is made of the names that OpenTelemetry has.

use std::fmt::{Display, Write};

use opentelemetry::KeyValue;
use opentelemetry_sdk::metrics::data::{AggregatedMetrics, MetricData, ResourceMetrics};

use super::table;

/// The page.
pub(super) fn write(metrics: &ResourceMetrics) -> String {
    let mut text = String::with_capacity(16 << 10);
    let all = metrics.scope_metrics().flat_map(|scope| scope.metrics());
    for metric in all {
        let Some(row) = table::find(metric.name()) else { continue };
        let page = Page { name: row.page, about: row.about };
        match metric.data() {
            AggregatedMetrics::F64(data) => page.metric(&mut text, data, |value| value),
            #[expect(clippy::cast_precision_loss, reason = "a sum of counts, for a chart")]
            AggregatedMetrics::U64(data) => page.metric(&mut text, data, |value| value as f64),
            #[expect(clippy::cast_precision_loss, reason = "a sum of counts, for a chart")]
            AggregatedMetrics::I64(data) => page.metric(&mut text, data, |value| value as f64),
        }
    }
    text
}

struct Page {
    name: &'static str,
    about: &'static str,
}

impl Page {
    fn metric<T: Copy + Display>(
        &self,
        text: &mut String,
        data: &MetricData<T>,
        number: impl Fn(T) -> f64,
    ) {
        match data {
            MetricData::Gauge(gauge) => {
                self.head(text, "gauge");
                for point in gauge.data_points() {
                    self.line(text, "", point.attributes(), point.value());
                }
            }
            MetricData::Sum(sum) => {
                self.head(text, if sum.is_monotonic() { "counter" } else { "gauge" });
                for point in sum.data_points() {
                    self.line(text, "", point.attributes(), point.value());
                }
            }
            MetricData::Histogram(histogram) => {
                self.head(text, "histogram");
                for point in histogram.data_points() {
                    let mut below = 0;
                    let bounds = point.bounds().map(Some).chain([None]);
                    for (bound, count) in bounds.zip(point.bucket_counts()) {
                        below += count;
                        let bound = bound.map_or_else(|| "+Inf".to_owned(), |b| b.to_string());
                        let le = KeyValue::new("le", bound);
                        self.line(text, "_bucket", point.attributes().chain([&le]), below);
                    }
                    self.line(text, "_sum", point.attributes(), number(point.sum()));
                    self.line(text, "_count", point.attributes(), point.count());
                }
            }
            // We have none.
            MetricData::ExponentialHistogram(_) => {}
        }
    }

    fn head(&self, text: &mut String, kind: &str) {
        let Self { name, about } = self;
        put(text, format_args!("# HELP {name} {}\n# TYPE {name} {kind}\n", escaped(about)));
    }

    fn line<'a>(
        &self,
        text: &mut String,
        suffix: &str,
        labels: impl Iterator<Item = &'a KeyValue>,
        value: impl Display,
    ) {
        put(text, format_args!("{}{suffix}", self.name));
        // The SDK has them in any order, which would differ from page to page.
        let mut labels: Vec<&KeyValue> = labels.collect();
        labels.sort_by_key(|label| (label.key.as_str() == "le", label.key.as_str()));
        let mut open = '{';
        for label in labels {
            let name = label.key.as_str().replace('.', "_");
            let quoted = escaped(&label.value.as_str()).replace('"', "\\\"");
            put(text, format_args!("{open}{name}=\"{quoted}\""));
            open = ',';
        }
        put(text, format_args!("{} {value}\n", if open == ',' { "}" } else { "" }));
    }
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\n', "\\n")
}

fn put(text: &mut String, what: std::fmt::Arguments<'_>) {
    // A string takes all.
    let _written = text.write_fmt(what);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::{Asked, Meters};
    use crate::kernel::config::Config;

    #[tokio::test]
    async fn what_was_measured_stands_on_the_page() {
        let config = Config::with("[admin]\nlisten = \"127.0.0.1:0\"").unwrap();
        let meters = Meters::new(&config);
        meters.answered(("none", "rest"), 404, Duration::from_millis(3));
        meters.answered(("none", "rest"), 404, Duration::from_millis(30));
        meters.decided("sustained", false);
        let _active = meters.call();
        meters.asked(&Asked {
            provider: "openai",
            model: "a \"quoted\"\\one",
            error: None,
            time: Duration::from_secs(1),
            tokens: Some((7, 9)),
        });
        let page = meters.page().await;
        let label = r#"gen_ai_request_model="a \"quoted\"\\one""#;
        let sum = r#"seconds_sum{dialect="rest",method="none",status="404"} 0.033"#;
        for line in [
            "# TYPE runplane_request_duration_seconds histogram",
            r#"{dialect="rest",method="none",status="404",le="0.0025"} 0"#,
            r#"{dialect="rest",method="none",status="404",le="0.005"} 1"#,
            r#"{dialect="rest",method="none",status="404",le="+Inf"} 2"#,
            sum,
            r#"runplane_limits_decisions_total{limit="sustained",outcome="refused"} 1"#,
            "runplane_requests_active 1\n",
            "# TYPE runplane_build_info gauge",
            label,
        ] {
            assert!(page.contains(line), "{line}\n{page}");
        }
    }

    #[tokio::test]
    async fn nothing_is_measured_that_nobody_reads() {
        let meters = Meters::new(&Config::with("").unwrap());
        meters.answered(("none", "rest"), 404, Duration::from_millis(3));
        assert_eq!(meters.page().await, "");
    }
}
