//! Calls in the clear where only HTTPS is answered, in every dialect.

use serde_json::json;
use tonic::transport::Endpoint;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use super::{Files, https};
use crate::harness::app::{App, Options};
use crate::harness::doors::{Client, Door};

const LIST: &str = "AgentsService/ListAgents";

async fn app(proxies: &str, headers: &str) -> App {
    let config = format!(
        "[server]\nrequire_https = true\ntrusted_proxies = [{proxies:?}]\nproxy_headers = \
         {headers:?}\n"
    );
    App::with(Options { config, ..Options::default() }).await
}

/// The code of a failure, or `ok`.
async fn code(client: &Client) -> String {
    client.call(LIST, json!({})).await.map_or_else(|failure| failure.code, |_| "ok".to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_in_the_clear_is_refused_before_its_key_is_looked_at() {
    let app = app("127.0.0.0/8", "x_forwarded").await;
    for door in Door::ALL {
        let wrong = app.client(door, "sk_live_0000");
        for client in [app.door(door), app.stranger(door), wrong.clone()] {
            assert_eq!(code(&client).await, "https_required", "{door:?}");
            let clear = client.with_header("x-forwarded-proto", "http");
            assert_eq!(code(&clear).await, "https_required", "{door:?}");
        }
        let over = |client: Client| client.with_header("x-forwarded-proto", "https");
        assert_eq!(code(&over(app.door(door))).await, "ok", "{door:?}");
        assert_eq!(code(&over(app.stranger(door))).await, "missing_api_key", "{door:?}");
        assert_eq!(code(&over(wrong)).await, "invalid_api_key", "{door:?}");
        let other = app.door(door).with_header("forwarded", "for=203.0.113.9;proto=https");
        assert_eq!(code(&other).await, "https_required", "{door:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_that_writes_forwarded_is_heard_where_it_is_said_to() {
    let app = app("127.0.0.0/8", "forwarded").await;
    for door in Door::ALL {
        let over = app.door(door).with_header("forwarded", "for=203.0.113.9;proto=https");
        assert_eq!(code(&over).await, "ok", "{door:?}");
        let other = app.door(door).with_header("x-forwarded-proto", "https");
        assert_eq!(code(&other).await, "https_required", "{door:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_not_trusted_cannot_say_that_it_came_over_https() {
    let app = app("10.0.0.0/8", "x_forwarded").await;
    for door in Door::ALL {
        for (name, value) in [
            ("x-forwarded-proto", "https"),
            ("forwarded", "for=10.0.0.1;proto=https"),
            ("x-forwarded-for", "10.0.0.1"),
            ("x-forwarded-ssl", "on"),
            ("front-end-https", "on"),
        ] {
            let liar = app.door(door).with_header(name, value);
            assert_eq!(code(&liar).await, "https_required", "{door:?}: {name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_is_told_in_the_clear_and_nothing_else_is() {
    let app = app("10.0.0.0/8", "x_forwarded").await;
    let status = async |path: &str| {
        reqwest::get(format!("{}{path}", app.url)).await.expect("an answer").status().as_u16()
    };
    assert_eq!((status("/healthz").await, status("/readyz").await), (200, 200));
    for path in ["/", "/docs", "/openapi.json", "/v1/agents", "/healthz/", "/v1/nothing"] {
        assert_eq!(status(path).await, 403, "{path}");
    }
    assert_eq!(status("/grpc.health.v1.Health/Check").await, 403, "that is no gRPC");
    let channel = Endpoint::from_shared(app.url.clone()).unwrap().connect().await.unwrap();
    let health = HealthClient::new(channel).check(HealthCheckRequest::default()).await;
    assert_eq!(health.expect("its health").get_ref().status, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_over_tls_needs_nobodys_word() {
    let files = Files::new();
    let app = files.app("[server]\nrequire_https = true").await;
    let client = files.authority.http(None).build().unwrap();
    for said in ["http", "https"] {
        let call = client.get(https(&app) + "/v1/agents").bearer_auth(&app.admin);
        let answer = call.header("x-forwarded-proto", said).send().await.unwrap();
        assert_eq!(answer.status(), 200);
    }
}
