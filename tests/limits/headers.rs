//! What callers are told of their limits: the same at every door, exact to the second, on
//! successes, failures and streams.

use std::collections::BTreeMap;
use std::time::Duration;

use runplane::kernel::Clock;
use runplane::proto::runplane::v1::CreateRunRequest;
use runplane::proto::runplane::v1::runs_service_client::RunsServiceClient;
use serde_json::json;
use tonic::transport::Endpoint;

use crate::harness::app::{App, Options};
use crate::harness::contract::method;
use crate::harness::databases::START;
use crate::harness::doors::{Client, Door, Failure};
use crate::harness::raw::{metadata, texts};
use crate::harness::web::WebPart;

/// The keys have 3 calls at once and one more every 20 seconds; 2 of them may create runs.
const PLAN: &str = r#"
[plans.enterprise]
requests = { limit = 3, per = "1m", burst = 3 }
run_creations = { limit = 2, per = "1h", burst = 2 }
"#;

/// Seconds since 1970 at which the clock stands.
const START_S: i64 = START.0 / 1_000_000;

pub async fn app(config: &str) -> App {
    let clock = Clock::manual(START);
    App::with(Options { clock, config: config.to_owned(), ..Options::default() }).await
}

/// The headers that tell of limits, as `limit remaining reset`, and the lists.
pub fn told(headers: &BTreeMap<String, String>) -> (String, String, String) {
    let get = |name: &str| headers.get(name).map_or("-", String::as_str).to_owned();
    let [limit, remaining, reset] =
        ["limit", "remaining", "reset"].map(|name| get(&format!("x-ratelimit-{name}")));
    assert!(!headers.contains_key("x-ratelimit-degraded"), "{headers:?}");
    (format!("{limit} {remaining} {reset}"), get("ratelimit-policy"), get("ratelimit"))
}

fn expected(remaining: i64, reset_s: i64, next_s: i64) -> (String, String, String) {
    (
        format!("3 {remaining} {}", START_S + reset_s),
        r#""sustained";q=3;w=60"#.to_owned(),
        format!(r#""sustained";r={remaining};t={next_s}"#),
    )
}

async fn get(client: &Client, id: &str) -> Result<BTreeMap<String, String>, Failure> {
    client.answer("AgentsService/GetAgent", json!({"id": id})).await.map(|answer| answer.headers)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_door_tells_the_same_exact_limits() {
    for door in Door::ALL {
        let app = app(PLAN).await;
        let client = app.door(door);
        let agents = client.answer("AgentsService/ListAgents", json!({})).await.expect("a list");
        assert_eq!(told(&agents.headers), expected(2, 20, 20), "{door:?}");
        app.advance(Duration::from_millis(500));
        let failure = get(&client, "agt_none").await.expect_err("no such agent");
        assert_eq!(failure.code, "agent_not_found");
        assert_eq!(told(&failure.headers), expected(1, 40, 20), "{door:?}");
        let failure = get(&client, "agt_none").await.expect_err("no such agent");
        assert_eq!(told(&failure.headers), expected(0, 60, 20), "{door:?}");

        let refused = get(&client, "agt_none").await.expect_err("too many");
        assert_eq!(refused.code, "rate_limited", "{door:?}");
        assert_eq!(told(&refused.headers), expected(0, 60, 20), "{door:?}");
        let details = [("limit", "3"), ("retry_after_s", "20"), ("violated_policies", "sustained")];
        let details = details.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(refused.details, details.into(), "{door:?}");
        if door == Door::Rest {
            assert_eq!(refused.headers["retry-after"], "20");
        }

        // One emission after the first call, and not before.
        app.advance(Duration::from_millis(19_499));
        assert_eq!(get(&client, "agt_none").await.expect_err("too many").code, "rate_limited");
        app.advance(Duration::from_millis(1));
        let failure = get(&client, "agt_none").await.expect_err("no such agent");
        assert_eq!(failure.code, "agent_not_found", "{door:?}");
        // Another key has limits of its own.
        let other = app.client(door, &app.reader);
        assert_eq!(get(&other, "agt_none").await.expect_err("none").code, "agent_not_found");
        app.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_lacks_its_scope_counts_and_is_told() {
    for door in Door::ALL {
        let app = app(PLAN).await;
        let client = app.client(door, &app.reader);
        let create = || client.answer("AgentsService/CreateAgent", json!({"agent": {"name": "x"}}));
        for left in [2, 1, 0] {
            let failure = create().await.expect_err("a reader makes no agent");
            assert_eq!(failure.code, "insufficient_scope", "{door:?}");
            assert_eq!(told(&failure.headers), expected(left, (3 - left) * 20, 20), "{door:?}");
        }
        assert_eq!(create().await.expect_err("too many").code, "rate_limited", "{door:?}");
        app.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn run_creations_and_the_project_are_counted_beside_the_key() {
    let plan = format!("{PLAN}project_requests = {{ limit = 10, per = \"1s\", burst = 4 }}");
    let app = app(&plan).await;
    let client = app.client(Door::Rest, &app.runner);
    let create = || {
        let run = json!({"agent_id": "agt_none", "input": {}});
        client.answer("RunsService/CreateRun", run)
    };
    let failure = create().await.expect_err("no such agent");
    let (_, policies, states) = told(&failure.headers);
    assert_eq!(policies, r#""sustained";q=3;w=60, "project";q=4;w=1, "run_creations";q=2;w=3600"#);
    assert_eq!(states, r#""sustained";r=2;t=20, "project";r=3;t=1, "run_creations";r=1;t=1800"#);
    // The tightest of the three.
    assert_eq!(told(&failure.headers).0, format!("2 1 {}", START_S + 1800));
    assert_eq!(create().await.expect_err("no such agent").code, "agent_not_found");

    let refused = create().await.expect_err("too many");
    assert_eq!(refused.code, "rate_limited");
    assert_eq!(refused.details["violated_policies"], "run_creations");
    assert_eq!(refused.headers["retry-after"], "1800");
    // What one bucket refuses is taken from none, and other calls go on.
    let states = told(&refused.headers).2;
    assert_eq!(states, r#""sustained";r=1;t=20, "project";r=2;t=1, "run_creations";r=0;t=1800"#);
    assert_eq!(get(&client, "agt_none").await.expect_err("none").code, "agent_not_found");

    // All keys of the project's environment share its bucket; the other environment has its own.
    let other = app.client(Door::Rest, &app.admin);
    assert_eq!(get(&other, "agt_none").await.expect_err("none").code, "agent_not_found");
    let refused = get(&other, "agt_none").await.expect_err("the project's limit");
    assert_eq!(refused.details["violated_policies"], "project");
    let test = app.client(Door::Rest, &app.test_admin);
    assert_eq!(get(&test, "agt_none").await.expect_err("none").code, "agent_not_found");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_tells_them_at_its_head() {
    let app = app("[plans.enterprise]\nrequests = { limit = 60, per = \"1m\", burst = 60 }").await;
    let agent = json!({"name": "x", "model": "ollama/none", "instructions": "x"});
    let client = app.door(Door::GrpcWeb);
    let agent = client.call("AgentsService/CreateAgent", json!({"agent": agent})).await;
    let agent_id = agent.expect("an agent")["id"].as_str().expect("an id").to_owned();
    let input = json!({"agent_id": agent_id, "input": {"text": "x"}});

    let mut answer = client.begin(&method("RunsService/StreamRun"), &input);
    let Some(Ok(WebPart::Headers(_, headers))) = answer.next().await else { panic!("no head") };
    assert_eq!(told(&headers).2, r#""sustained";r=58;t=1"#);

    let http = reqwest::Client::builder().no_proxy().build().expect("a client");
    let url = format!("{}/v1/runs", app.url);
    let request = http.post(url).bearer_auth(&app.admin).header("accept", "text/event-stream");
    let response = request.json(&input).send().await.expect("an answer");
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    assert_eq!(told(&texts(response.headers())).2, r#""sustained";r=57;t=1"#);

    let channel = Endpoint::from_shared(app.url.clone()).expect("a URL").connect_lazy();
    let mut grpc = RunsServiceClient::new(channel);
    let mut request = tonic::Request::new(CreateRunRequest { agent_id, ..Default::default() });
    let key = format!("Bearer {}", app.admin).parse().expect("a value");
    request.metadata_mut().insert("authorization", key);
    let response = grpc.stream_run(request).await.expect("a stream");
    assert_eq!(told(&metadata(response.metadata())).2, r#""sustained";r=56;t=1"#);
    drop((answer, response));
    app.stop().await;
}
