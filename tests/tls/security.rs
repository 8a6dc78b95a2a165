//! What answers tell browsers of their safety.

use reqwest::header::HeaderMap;
use serde_json::json;

use super::{Files, https};
use crate::harness::app::{App, Options};
use crate::harness::doors::Door;

const TRANSPORT: &str = "strict-transport-security";
const ALWAYS: [(&str, &str); 3] = [
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("x-frame-options", "DENY"),
];

fn told(headers: &HeaderMap, name: &str) -> String {
    let values: Vec<_> = headers.get_all(name).iter().map(|v| v.to_str().expect("text")).collect();
    values.join(" and ")
}

async fn get(client: &reqwest::Client, url: &str, headers: &[(&str, &str)]) -> HeaderMap {
    let mut call = client.get(url);
    for (name, value) in headers {
        call = call.header(*name, *value);
    }
    call.send().await.expect("an answer").headers().clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_answer_of_rest_and_every_page_has_them_once() {
    let app = App::start().await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let bearer = format!("Bearer {}", app.admin);
    for (path, headers) in [
        ("/v1/agents", &[("authorization", bearer.as_str())][..]),
        ("/v1/agents", &[]),
        ("/v1/nothing", &[]),
        ("/healthz", &[]),
        ("/docs", &[]),
        ("/openapi.json", &[("if-none-match", "*")]),
        ("/v1/agents", &[("origin", "https://elsewhere.example")]),
        ("/v1/agents", &[("x-server-timeout", "soon")]),
    ] {
        let answer = get(&client, &format!("{}{path}", app.url), headers).await;
        for (name, value) in ALWAYS {
            assert_eq!(told(&answer, name), value, "{path} {headers:?}");
        }
        assert_eq!(told(&answer, TRANSPORT), "", "not in the clear: {path}");
    }
    let docs = get(&client, &format!("{}/docs", app.url), &[]).await;
    assert!(told(&docs, "content-security-policy").contains("script-src 'self'"));
    let grpc = app.door(Door::Grpc).answer("AgentsService/ListAgents", json!({})).await.unwrap();
    assert!(ALWAYS.iter().all(|(name, _)| !grpc.headers.contains_key(*name)), "{grpc:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_https_browsers_are_told_to_stay_there() {
    let files = Files::new();
    for (more, expected) in [
        ("", "max-age=31536000"),
        ("[server]\nhsts_seconds = 60", "max-age=60"),
        ("[server]\nhsts_seconds = 0", ""),
    ] {
        let app = files.app(more).await;
        let client = files.authority.http(None).build().unwrap();
        for path in ["/v1/agents", "/docs", "/healthz"] {
            let answer = get(&client, &(https(&app) + path), &[]).await;
            assert_eq!(told(&answer, TRANSPORT), expected, "{path}");
        }
        let plain = reqwest::Client::builder().no_proxy().build().unwrap();
        let answer = get(&plain, &format!("{}/docs", app.url), &[]).await;
        assert_eq!(told(&answer, TRANSPORT), "", "anybody could have written it");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_a_proxy_its_word_counts() {
    let config = "[server]\ntrusted_proxies = [\"127.0.0.1/32\"]".to_owned();
    let app = App::with(Options { config, ..Options::default() }).await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!("{}/docs", app.url);
    let answer = get(&client, &url, &[("x-forwarded-proto", "https")]).await;
    assert_eq!(told(&answer, TRANSPORT), "max-age=31536000");
    assert_eq!(told(&get(&client, &url, &[]).await, TRANSPORT), "");
}
