//! What a process is there for: servers answer and drive nothing, workers drive and answer nothing
//! but how they are.

use std::time::Duration;

use runplane::proto::runplane::v1::GetRunRequest;
use runplane::proto::runplane::v1::runs_service_client::RunsServiceClient;
use serde_json::json;
use tokio::time::timeout;
use tonic::Code;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::harness::databases::postgres_copy;
use crate::harness::process::{Api, Program};

const CHANGES: &str = "[auth]\npepper = 'shared'\n[engine]\npoll_ms = 100\n";

fn program(url: &str, role: &str) -> Program {
    Program::on(url, &format!("{CHANGES}[server]\nrole = {role:?}\n"))
}

fn agent() -> serde_json::Value {
    json!({"name": "echo", "model": "sim", "sim": {"turns": [{"text": "{{ input }}!"}]}})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_drives_nothing_and_a_worker_does_it() {
    let (config, _place) = postgres_copy().await;
    let (mut server, mut worker) = (program(&config.url, "server"), program(&config.url, "worker"));
    let api = server.start().await;
    let agent_id = api.agent(&agent()).await;
    let run_id = api.start(&agent_id, &json!("hello")).await;
    // Longer than several looks for work.
    let (status, run) = api.get(&format!("/v1/runs/{run_id}?wait=2")).await;
    assert_eq!((status, &run["status"]), (200, &json!("queued")), "{run}");
    worker.start_with(&api.key).await;
    let run = api.settled(&run_id).await;
    assert_eq!(run["status"], "completed", "{run}");
    assert_eq!(run["output"]["result"], "hello!");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_tells_how_it_is_and_nothing_else() {
    let (config, _place) = postgres_copy().await;
    let mut worker = program(&config.url, "worker");
    let api: Api = worker.start_with("sk_live_whatever").await;
    assert_eq!(api.get("/healthz").await.0, 200);
    assert_eq!(api.get("/readyz").await.0, 200);
    for path in ["/v1/runs", "/v1/me", "/nothing", "/docs", "/openapi.json"] {
        let (status, refused) = api.get(path).await;
        assert_eq!((status, &refused["error"]["code"]), (503, &json!("unavailable")), "{path}");
        assert!(refused["error"]["message"].as_str().expect("words").contains("server.role"));
    }
    let channel = Channel::from_shared(api.url.clone()).expect("a URL").connect().await;
    let channel = channel.expect("a connection");
    let health = HealthClient::new(channel.clone()).check(HealthCheckRequest::default()).await;
    assert_eq!(health.expect("health").into_inner().status(), ServingStatus::Serving);
    let refused = RunsServiceClient::new(channel).get_run(GetRunRequest::default()).await;
    assert_eq!(refused.expect_err("no API").code(), Code::Unavailable);
    worker.terminate();
    let ended = timeout(Duration::from_secs(30), worker.ended()).await.expect("it ends");
    assert!(ended.success());
}

#[tokio::test]
async fn sqlite_has_one_process_for_all() {
    let refused = Program::new("[server]\nrole = 'worker'").command(&["check"]).await;
    assert!(String::from_utf8_lossy(&refused.stderr).contains("server.role"), "{refused:?}");
}
