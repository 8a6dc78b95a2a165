//! Every metric of the table, on the page and at a collector, with the right figure.

use std::collections::{BTreeMap, BTreeSet};

use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use runplane::kernel::telemetry::table;
use serde_json::json;

use super::{SAMPLED, admin, agent, models, page, provider, run};
use crate::harness::collector::{Collector, texts};
use crate::harness::databases::postgres_copy;
use crate::harness::process::Program;
use crate::harness::redis::Redis;
use crate::harness::tools::Tools;

const ADMIN: &str = "[auth]\npepper = 'shared'\n[admin]\nlisten = '127.0.0.1:0'\n";

/// The sum of all lines that have these parts.
fn sum(page: &BTreeMap<String, f64>, name: &str, parts: &[&str]) -> f64 {
    let fits = |line: &str| {
        line.split('{').next() == Some(name) && parts.iter().all(|part| line.contains(part))
    };
    page.iter().filter(|(line, _)| fits(line)).map(|(_, value)| value).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_metric_is_on_the_page_and_at_the_collector_and_counts_rightly() {
    let (collector, tools, provider) = (Collector::start().await, Tools::start().await, provider());
    let (provider, redis) = (provider.await, Redis::start());
    let (config, _place) = postgres_copy().await;
    let changes = [ADMIN, &collector.config("grpc"), &models(&provider), &redis.config()].concat();
    let mut program = Program::on(&config.url, &changes);
    let api = program.start().await;
    let admin = admin(&program.logged).await;
    let agent_id = api.agent(&agent(&tools)).await;
    let run_id = run(&api, &agent_id, SAMPLED).await;
    assert_eq!(api.settled(&run_id).await["status"], "completed");
    for _ in 0..3 {
        assert_eq!(api.get(&format!("/v1/agents/{agent_id}")).await.0, 200);
    }
    assert_eq!(api.get("/v1/agents/agt_nobody").await.0, 404);
    assert_eq!(api.get("/nothing").await.0, 404);
    let (text, page) = page(&admin).await;
    for row in table::ALL {
        let kind = format!("# TYPE {} ", row.page);
        assert!(text.contains(&kind), "{} is not on the page:\n{text}", row.page);
        assert!(text.contains(&format!("# HELP {} ", row.page)));
    }
    counts_calls(&page);
    counts_runs(&page, &text);
    is_at(&collector).await;
}

fn counts_calls(page: &BTreeMap<String, f64>) {
    let got = ["method=\"runplane.v1.AgentsService/GetAgent\"", "dialect=\"rest\""];
    let count = "runplane_request_duration_seconds_count";
    assert_eq!(sum(page, count, &[got[0], got[1], "status=\"200\""]), 3.0);
    assert_eq!(sum(page, count, &[got[0], "status=\"404\""]), 1.0);
    assert_eq!(sum(page, count, &["method=\"none\"", "status=\"404\""]), 1.0);
    let limits = "runplane_limits_decisions_total";
    assert_eq!(sum(page, limits, &["limit=\"sustained\"", "outcome=\"allowed\""]), 7.0);
    assert_eq!(sum(page, limits, &["limit=\"unauthenticated\"", "allowed"]), 1.0);
    assert!(sum(page, "runplane_cache_lookups_total", &["cache=\"keys\"", "hit"]) >= 5.0);
}

/// Not the queue, which may have been asked for by a push while there was something in it.
fn counts_runs(page: &BTreeMap<String, f64>, text: &str) {
    let operations = "gen_ai_client_operation_duration_seconds_count";
    for (name, parts, expected) in [
        ("runplane_runs_created_total", &[][..], 1.0),
        ("runplane_runs_ended_total", &["status=\"completed\""], 1.0),
        ("runplane_run_duration_seconds_count", &["completed"], 1.0),
        ("runplane_claim_latency_seconds_count", &[], 1.0),
        ("runplane_step_duration_seconds_count", &["kind=\"llm\"", "outcome=\"ok\""], 2.0),
        ("runplane_step_duration_seconds_count", &["kind=\"tool\"", "outcome=\"ok\""], 1.0),
        ("gen_ai_client_token_usage_sum", &["gen_ai_token_type=\"input\""], 22.0),
        ("gen_ai_client_token_usage_sum", &["gen_ai_token_type=\"output\""], 14.0),
        (operations, &["gen_ai_request_model=\"gpt-test\""], 2.0),
        ("runplane_runs_active", &[], 0.0),
        ("runplane_runs_slots", &[], 256.0),
        ("runplane_requests_active", &[], 0.0),
        ("runplane_redis_up", &[], 1.0),
        ("runplane_workers", &[], 1.0),
        ("runplane_stream_followers", &[], 0.0),
        ("runplane_build_info", &[env!("CARGO_PKG_VERSION")], 1.0),
    ] {
        assert_eq!(sum(page, name, parts), expected, "{name} {parts:?}\n{text}");
    }
    let transactions = "runplane_store_transaction_duration_seconds_count";
    assert!(sum(page, transactions, &["name=\"engine.commit\""]) >= 2.0, "{text}");
    assert!(sum(page, "runplane_store_pool_wait_seconds_count", &[]) >= 2.0);
}

/// Checks that every metric comes, with its unit and no label but its own.
async fn is_at(collector: &Collector) {
    let names = |collector: &Collector| -> BTreeSet<String> {
        collector.metrics().into_iter().map(|metric| metric.name).collect()
    };
    let expected: BTreeSet<String> = table::ALL.iter().map(|row| row.name.to_owned()).collect();
    collector.until(|collector| names(collector) == expected).await;
    for metric in collector.metrics() {
        let row = table::find(&metric.name).expect("a row");
        assert_eq!(metric.unit, row.unit, "{}", row.name);
        let points: Vec<_> = match metric.data.expect("data") {
            Data::Gauge(gauge) => gauge.data_points.into_iter().map(|p| p.attributes).collect(),
            Data::Sum(sum) => sum.data_points.into_iter().map(|p| p.attributes).collect(),
            Data::Histogram(all) => all.data_points.into_iter().map(|p| p.attributes).collect(),
            other => panic!("{other:?}"),
        };
        for label in points.iter().flat_map(|point| texts(point).into_keys()) {
            assert!(row.labels.contains(&label.as_str()), "{} has {label}", row.name);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_queue_is_asked_for_when_somebody_looks_and_not_each_time() {
    let (config, _place) = postgres_copy().await;
    let mut program = Program::on(&config.url, &format!("{ADMIN}[server]\nrole = 'server'\n"));
    let api = program.start().await;
    let admin = admin(&program.logged).await;
    let echo = json!({"name": "echo", "model": "sim", "sim": {"turns": [{"text": "hi"}]}});
    let agent_id = api.agent(&echo).await;
    for session in [None, Some("talk"), Some("talk")] {
        let body = json!({"agent_id": agent_id, "session_id": session});
        assert_eq!(api.post("/v1/runs", &body).await.0, 202);
    }
    for _ in 0..2 {
        let (text, found) = page(&admin).await;
        let depth = |state: &str| sum(&found, "runplane_queue_depth", &[state]);
        assert_eq!((depth("ready"), depth("behind"), depth("leased")), (2.0, 1.0, 0.0), "{text}");
        assert!(sum(&found, "runplane_queue_oldest_seconds", &[]) > 0.0, "{text}");
        assert_eq!(sum(&found, "runplane_runs_slots", &[]), 0.0);
        // Not seen the second time: it was asked a moment ago.
        api.start(&agent_id, &json!("more")).await;
    }
}
