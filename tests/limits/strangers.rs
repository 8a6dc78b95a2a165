//! Callers without a key, and callers who guess keys.

use std::time::Duration;

use serde_json::json;

use super::headers::{app, told};
use crate::harness::app::App;
use crate::harness::databases::START;
use crate::harness::doors::{Client, Door, Failure};

const LIMITS: &str = r#"
[limits]
unauthenticated = { limit = 60, per = "1m", burst = 2 }
failed_logins = { limit = 6, per = "1m", burst = 2 }
"#;

async fn list(client: &Client) -> Result<(), Failure> {
    client.call("AgentsService/ListAgents", json!({})).await.map(|_| ())
}

async fn refused(client: &Client) -> Failure {
    list(client).await.expect_err("no right key")
}

/// A key that is well-formed and was never made.
fn unknown(app: &App) -> String {
    use runplane::keys::secret::{Kind, fresh};
    use secrecy::ExposeSecret;
    let key =
        fresh(Kind::Secret, runplane::kernel::Environment::Live).secret.expose_secret().to_owned();
    assert_ne!(key, app.admin);
    key
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_without_a_key_are_counted_by_address() {
    for door in Door::ALL {
        let app = app(LIMITS).await;
        let stranger = app.stranger(door);
        let first = refused(&stranger).await;
        assert_eq!(first.code, "missing_api_key", "{door:?}");
        let reset_s = START.0 / 1_000_000 + 1;
        assert_eq!(told(&first.headers).0, format!("2 1 {reset_s}"), "{door:?}");
        assert_eq!(refused(&stranger).await.code, "missing_api_key");
        let limited = refused(&stranger).await;
        assert_eq!(limited.code, "rate_limited", "{door:?}");
        assert_eq!(limited.details["violated_policies"], "unauthenticated");
        list(&app.door(door)).await.expect("who has a key is not concerned");
        app.advance(Duration::from_secs(1));
        assert_eq!(refused(&stranger).await.code, "missing_api_key", "{door:?}");
        app.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn paths_of_no_method_count_and_probes_do_not() {
    let listed = "[server]\ncors_origins = [\"https://page.example\"]";
    let app = app(&format!("{LIMITS}{listed}")).await;
    let http = reqwest::Client::builder().no_proxy().build().expect("a client");
    let get = async |path: &str| {
        let response = http.get(format!("{}{path}", app.url)).send().await.expect("an answer");
        response.status().as_u16()
    };
    for _ in 0..2 {
        assert_eq!(get("/v1/nothing").await, 404);
    }
    for path in ["/v1/nothing", "/healthzz", "/docsx"] {
        assert_eq!(get(path).await, 429, "{path}");
    }
    for path in ["/healthz", "/readyz", "/openapi.json", "/docs"] {
        for _ in 0..4 {
            assert_eq!(get(path).await, 200, "{path}");
        }
    }
    let preflight = http.request(reqwest::Method::OPTIONS, format!("{}/v1/agents", app.url));
    let preflight = preflight.header("access-control-request-method", "GET");
    let preflight =
        preflight.header("origin", "https://page.example").send().await.expect("an answer");
    assert_eq!(preflight.status().as_u16(), 204);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_guesses_keys_is_shut_out_and_known_keys_are_not() {
    for door in Door::ALL {
        let app = app(LIMITS).await;
        let known = app.client(door, &app.reader);
        list(&known).await.expect("a right key");
        let wrong = app.client(door, &unknown(&app));
        let malformed = app.client(door, "sk_live_not_a_key");
        assert_eq!(refused(&wrong).await.code, "invalid_api_key", "{door:?}");
        assert_eq!(refused(&malformed).await.code, "invalid_api_key", "{door:?}");

        let (another, fresh) = (unknown(&app), app.client(door, &app.runner));
        for key in [&wrong, &malformed, &app.client(door, &another)] {
            let limited = refused(key).await;
            assert_eq!(limited.code, "rate_limited", "{door:?}");
            assert_eq!(limited.details["violated_policies"], "failed_logins");
            assert_eq!(limited.details["retry_after_s"], "10");
        }
        assert_eq!(refused(&fresh).await.code, "rate_limited", "a key that nobody knows yet");
        list(&known).await.expect("a key that was right before");
        assert_eq!(refused(&app.stranger(door)).await.code, "missing_api_key");

        app.advance(Duration::from_secs(10));
        list(&fresh).await.expect("a right key, looked up again");
        app.stop().await;
    }
}
