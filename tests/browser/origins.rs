//! Which pages may call: in the browser, which keeps a stranger's page from reading; and by hand,
//! for a server that refuses does not lean on the browser.

use reqwest::header::HeaderMap;
use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};

use super::app;
use crate::harness::app::{App, Options};
use crate::harness::browser::{Client as With, Console, Origin};
use crate::harness::contract::method;
use crate::harness::doors::{Client, Door};
use crate::harness::web::WebPart;

const STRANGER: &str = "https://elsewhere.example";

/// Every header of an answer that we send and that browsers hide, those that gRPC-Web is told by
/// first.
const PROMISED: &str = "grpc-status grpc-message grpc-status-details-bin x-request-id allow etag \
    retry-after www-authenticate accept-encoding deprecation sunset link x-ratelimit-limit \
    x-ratelimit-remaining x-ratelimit-reset x-ratelimit-degraded ratelimit ratelimit-policy \
    idempotent-replayed idempotency-expires";

/// A request by hand, with the admin key unless another header says who calls.
async fn ask(app: &App, line: &str, headers: &[(&str, &str)]) -> Response {
    let (verb, path) = line.split_once(' ').expect("a verb and a path");
    let http = reqwest::Client::builder().no_proxy().build().expect("an HTTP client");
    let mut request =
        http.request(verb.parse().expect("a verb"), format!("{}{path}", app.url)).body("");
    if !headers.iter().any(|(name, _)| *name == "authorization") {
        request = request.bearer_auth(&app.admin);
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.send().await.expect("an answer")
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).map_or("", |value| value.to_str().expect("a text"))
}

/// True when caches are told that the answer depends on the origin.
fn varies(headers: &HeaderMap) -> bool {
    headers.get_all("vary").iter().any(|value| value == "origin")
}

/// True when nothing tells a browser that the page may go on.
fn tells_nothing(headers: &HeaderMap) -> bool {
    !headers.keys().any(|name| name.as_str().starts_with("access-control-"))
}

async fn is_refused(response: Response) {
    let (status, headers) = (response.status(), response.headers().clone());
    assert_eq!(status, StatusCode::FORBIDDEN, "{headers:?}");
    assert!(tells_nothing(&headers), "{headers:?}");
    assert!(varies(&headers), "{headers:?}");
    let body: Value = response.json().await.expect("JSON");
    assert_eq!(body["error"]["code"], "origin_not_allowed", "{body}");
    assert_eq!(body["error"]["request_id"], text(&headers, "x-request-id"), "{body}");
}

async fn agents(app: &App) -> usize {
    let page = app.door(Door::Rest).call("AgentsService/ListAgents", json!({})).await;
    page.expect("agents")["data"].as_array().expect("data").len()
}

#[tokio::test]
async fn a_page_of_a_stranger_reaches_no_method_whatever_its_key() {
    let (_console, app) = (Console::watch(), app().await);
    let agent = json!({"agent": {"name": "x", "model": "sim",
        "sim": {"turns": [{"text": "Hi."}]}}});
    for with in With::ALL {
        let page = Client::in_page(with.of_a_stranger(), &app.url, Some(&app.admin));
        let mut answer = page.begin(&method("AgentsService/CreateAgent"), &agent);
        let error = loop {
            match answer.next().await.expect("no success") {
                Ok(WebPart::Headers(_, headers)) if headers.is_empty() => {}
                other => break other.expect_err("a stranger"),
            }
        };
        assert_eq!(error.reason, None, "{with:?}: the browser hides even why: {error:?}");
    }
    let url = format!("{}/v1/agents", app.url);
    let headers = json!({"authorization": format!("Bearer {}", app.admin),
        "content-type": "application/json"});
    let body = agent["agent"].to_string();
    let posts = json!({"method": "POST", "headers": headers, "body": body});
    for init in [posts, json!({ "headers": headers }), json!({})] {
        let seen = With::Plain.of_a_stranger().fetch(&url, &init).all().await;
        assert!(seen.is_err(), "{init}: {seen:?}");
    }
    assert_eq!(agents(&app).await, 0);
    // The same page, at a friend's.
    let page = Client::in_page(With::Connect.of_a_friend(), &app.url, Some(&app.admin));
    page.call("AgentsService/CreateAgent", agent).await.expect("an agent");
}

#[tokio::test]
async fn a_foreign_origin_is_refused_at_every_door_before_the_key_is_looked_at() {
    let app = app().await;
    let agent = json!({"agent": {"name": "x", "model": "sim",
        "sim": {"turns": [{"text": "Hi."}]}}});
    for door in Door::ALL {
        for caller in [app.door(door), app.stranger(door), app.client(door, "sk_live_nobody")] {
            let caller = caller.with_header("origin", STRANGER);
            let made = caller.call("AgentsService/CreateAgent", agent.clone()).await;
            let failure = made.expect_err("a stranger");
            assert_eq!(failure.code, "origin_not_allowed", "{door:?}: {failure:?}");
            assert_eq!(failure.details["origin"], STRANGER, "{door:?}");
            let told = failure.headers.keys().find(|name| name.starts_with("access-control-"));
            assert_eq!(told, None, "{door:?}");
        }
    }
    assert_eq!(agents(&app).await, 0);
    for line in ["GET /v1/agents", "GET /v1/nothing", "DELETE /v1/agents/x", "GET /healthz"] {
        is_refused(ask(&app, line, &[("origin", STRANGER)]).await).await;
    }
}

#[tokio::test]
async fn an_origin_that_is_none_or_several_is_foreign() {
    let app = app().await;
    let friend = Origin::Friend.text();
    let odd = ["null", "", "x", "://", &friend.to_uppercase(), &format!("{friend}/"), "http://"];
    for origin in odd {
        is_refused(ask(&app, "GET /v1/agents", &[("origin", origin)]).await).await;
    }
    let both = [("origin", &*friend), ("origin", &*friend)];
    is_refused(ask(&app, "GET /v1/agents", &both).await).await;
    let long = format!("https://{}", "x".repeat(8000));
    let response = ask(&app, "GET /v1/agents", &[("origin", &long)]).await;
    assert!(response.bytes().await.expect("a body").len() < 1000, "repeats all of it");
}

#[tokio::test]
async fn a_preflight_of_a_friend_is_answered_without_a_key() {
    let app = app().await;
    let friend = Origin::Friend.text();
    for path in ["/v1/agents", "/v1/nothing", "/runplane.v1.RunsService/StreamRun"] {
        let headers = [
            ("origin", &*friend),
            ("access-control-request-method", "PATCH"),
            ("access-control-request-headers", "authorization,content-type,x-grpc-web"),
            ("authorization", "nobody"),
        ];
        let response = ask(&app, &format!("OPTIONS {path}"), &headers).await;
        assert_eq!(response.status(), StatusCode::NO_CONTENT, "{path}");
        let told = response.headers();
        assert_eq!(text(told, "access-control-allow-origin"), friend);
        let methods = "GET, HEAD, POST, PUT, PATCH, DELETE";
        assert_eq!(text(told, "access-control-allow-methods"), methods);
        assert_eq!(text(told, "access-control-allow-headers"), headers[2].1);
        assert_eq!(text(told, "access-control-max-age"), "3600");
        assert_eq!(text(told, "access-control-allow-credentials"), "true", "it is listed by name");
        assert!(varies(told), "{told:?}");
    }
}

#[tokio::test]
async fn a_preflight_of_a_stranger_is_refused() {
    for app in [app().await, App::start().await] {
        let asks = ("access-control-request-method", "POST");
        is_refused(ask(&app, "OPTIONS /v1/agents", &[("origin", STRANGER), asks]).await).await;
        let path = "OPTIONS /runplane.v1.AgentsService/CreateAgent";
        is_refused(ask(&app, path, &[("origin", STRANGER), asks]).await).await;
    }
}

#[tokio::test]
async fn an_options_call_that_is_no_preflight_is_a_call() {
    let app = app().await;
    let friend = Origin::Friend.text();
    let response = ask(&app, "OPTIONS /v1/agents", &[("origin", &friend)]).await;
    assert_eq!(response.status(), StatusCode::NO_CONTENT);
    assert!(text(response.headers(), "allow").contains("POST"), "{response:?}");
    assert_eq!(text(response.headers(), "access-control-allow-origin"), friend);
}

#[tokio::test]
async fn a_friend_may_read_every_header_that_the_contract_promises() {
    let app = app().await;
    let friend = Origin::Friend.text();
    for line in ["GET /v1/agents", "GET /v1/nothing", "PUT /v1/agents", "GET /healthz"] {
        let response = ask(&app, line, &[("origin", &friend)]).await;
        let told = response.headers();
        assert_eq!(text(told, "access-control-allow-origin"), friend, "{line}");
        assert!(varies(told), "{line}: {told:?}");
        let exposed = text(told, "access-control-expose-headers");
        let exposed: Vec<_> = exposed.split(',').map(str::trim).collect();
        let promised: Vec<_> = PROMISED.split_whitespace().collect();
        let sorted = |mut names: Vec<&str>| {
            names.sort_unstable();
            names.join(" ")
        };
        // Nothing more: a name says that the header is sent.
        assert_eq!(sorted(exposed), sorted(promised), "{line}");
    }
}

#[tokio::test]
async fn callers_that_are_no_pages_are_not_concerned() {
    let app = app().await;
    let response = ask(&app, "GET /v1/agents", &[]).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert!(tells_nothing(response.headers()), "{response:?}");
    // Else a cache could give a friend's page this answer, which it may not read.
    assert!(varies(response.headers()), "{response:?}");
    let response = ask(&App::start().await, "GET /v1/agents", &[]).await;
    assert!(!varies(response.headers()), "nobody may ever read across origins");
}

#[tokio::test]
async fn pages_of_the_servers_own_host_need_no_entry() {
    let app = App::start().await;
    let own = app.url.clone();
    let secure = own.replace("http://", "https://");
    let host = "api.example.com";
    let foreign = ("origin", "https://api.example.com");
    for headers in [
        &[("origin", &*own)][..],
        &[("origin", &secure)],
        &[("host", host), foreign],
        &[("host", "API.example.com:443"), foreign],
        &[("host", "10.0.0.1"), foreign, ("sec-fetch-site", "same-origin")],
    ] {
        let response = ask(&app, "GET /v1/agents", headers).await;
        assert_eq!(response.status(), StatusCode::OK, "{headers:?}");
        assert!(tells_nothing(response.headers()), "{headers:?}: {response:?}");
    }
    for headers in [
        &[("host", "api.example.com:8443"), foreign][..],
        &[("host", "example.com"), foreign],
        &[("host", "api.example.com:80"), foreign],
        &[("host", host), ("origin", "https://evil.api.example.com")],
        &[("host", host), ("origin", "chrome-extension://api.example.com")],
        &[("host", "10.0.0.1"), foreign, ("sec-fetch-site", "same-site")],
        &[("host", "10.0.0.1"), foreign, ("x-forwarded-host", host)],
    ] {
        is_refused(ask(&app, "GET /v1/agents", headers).await).await;
    }
    // Over HTTP/2 the host is in `:authority`.
    let caller = app.door(Door::Grpc).with_header("origin", &own);
    caller.call("AgentsService/ListAgents", json!({})).await.expect("agents");
}

#[tokio::test]
async fn a_star_lets_every_page_call() {
    let config = "[server]\ncors_origins = [\"*\"]\n".to_owned();
    let app = App::with(Options { config, ..Options::default() }).await;
    for origin in [STRANGER, "null"] {
        let response = ask(&app, "GET /v1/agents", &[("origin", origin)]).await;
        assert_eq!(response.status(), StatusCode::OK, "{origin}");
        assert_eq!(text(response.headers(), "access-control-allow-origin"), "*");
        assert!(response.headers().get("access-control-allow-credentials").is_none());
        let asks = ("access-control-request-method", Method::PUT.as_str());
        let response = ask(&app, "OPTIONS /v1/agents", &[("origin", origin), asks]).await;
        assert_eq!(text(response.headers(), "access-control-allow-origin"), "*");
    }
}
