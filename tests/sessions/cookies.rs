//! Sessions in a cookie, byte by byte: what the browser is told, when a cookie counts and when it
//! does not, whatever a page or a planted cookie tries. `tests/browser` has the real browser.

use std::collections::BTreeMap;

use runplane::kernel::Environment;
use runplane::keys::secret::{self, Kind};
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use super::{a_session, me, text};
use crate::harness::app::{App, Options};
use crate::harness::doors::Door;
use crate::harness::raw::texts;

const NAME: &str = "__Host-runplane_session";
const FRIEND: &str = "https://app.example.com";
const STRANGER: &str = "https://elsewhere.example";

async fn app(origin: &str) -> App {
    let config = format!("[server]\ncors_origins = [{origin:?}]\n");
    App::with(Options { config, ..Options::default() }).await
}

/// What a request says of its page; the statuses when it reads, and when it changes something.
type Case<'a> = (&'a [(&'a str, &'a str)], u16, u16);

struct Seen {
    status: u16,
    headers: BTreeMap<String, String>,
    body: Value,
}

impl Seen {
    fn code(&self) -> &str {
        self.body["error"]["code"].as_str().unwrap_or_default()
    }
}

/// A request with these headers and nothing else that says who calls.
async fn ask(app: &App, line: &str, headers: &[(&str, &str)], body: &Value) -> Seen {
    let (verb, path) = line.split_once(' ').expect("a verb and a path");
    let http = reqwest::Client::builder().no_proxy().build().expect("an HTTP client");
    let mut request = http.request(verb.parse().expect("a verb"), format!("{}{path}", app.url));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    if !body.is_null() {
        request = request.json(body);
    }
    let response = request.send().await.expect("an answer");
    let (status, headers) = (response.status().as_u16(), texts(response.headers()));
    let body = response.text().await.expect("a body");
    Seen { status, headers, body: serde_json::from_str(&body).unwrap_or(Value::Null) }
}

/// Logs in with a key, and whatever else is sent: the value of the cookie.
async fn log_in(app: &App, key: &str, more: &[(&str, &str)]) -> String {
    let bearer = format!("Bearer {key}");
    let headers = [&[("authorization", &*bearer)], more].concat();
    let seen = ask(app, "POST /v1/auth/session", &headers, &json!({})).await;
    assert_eq!(seen.status, 201, "{}", seen.body);
    assert!(seen.body.get("token").is_none(), "the page sees the token: {}", seen.body);
    let told = &seen.headers["set-cookie"];
    let (pair, attributes) = told.split_once("; ").expect("attributes");
    let expected = "Path=/; Max-Age=3600; Secure; HttpOnly; SameSite=Strict";
    assert_eq!(attributes, expected);
    let (name, value) = pair.split_once('=').expect("a pair");
    assert_eq!(name, NAME);
    assert!(value.starts_with("ses_live_"), "{value}");
    value.to_owned()
}

fn cookie(value: &str) -> String {
    format!("{NAME}={value}")
}

fn an_agent() -> Value {
    json!({"name": "x", "model": "sim", "sim": {"turns": [{"text": "Hi."}]}})
}

#[tokio::test]
async fn a_cookie_counts_for_pages_that_may_and_for_reading() {
    let app = app(FRIEND).await;
    let value = cookie(&log_in(&app, &app.admin, &[]).await);
    let own = app.url.clone();
    let site = "sec-fetch-site";
    let cases: [Case; 12] = [
        (&[], 200, 401),
        (&[(site, "none")], 200, 401),
        (&[(site, "same-origin")], 200, 201),
        (&[(site, "same-site")], 401, 401),
        (&[(site, "cross-site")], 401, 401),
        (&[(site, "nonsense")], 401, 401),
        (&[("origin", &own)], 200, 201),
        (&[("origin", FRIEND)], 200, 201),
        (&[("origin", FRIEND), (site, "same-site")], 200, 201),
        (&[("origin", STRANGER)], 403, 403),
        (&[("origin", "null")], 403, 403),
        (&[("origin", STRANGER), (site, "none")], 403, 403),
    ];
    let admin = app.door(Door::Rest);
    let agent = super::ok(&admin, "AgentsService/CreateAgent", json!({"agent": an_agent()})).await;
    let stream = format!("GET /v1/agents/{}/stream?query=x", text(&agent, "id"));
    for (page, read, change) in cases {
        let headers = [page, &[("cookie", &*value)]].concat();
        let seen = ask(&app, "GET /v1/me", &headers, &Value::Null).await;
        assert_eq!(seen.status, read, "{page:?}: {}", seen.body);
        let seen = ask(&app, "POST /v1/agents", &headers, &an_agent()).await;
        assert_eq!(seen.status, change, "{page:?}: {}", seen.body);
        // A GET that starts a run changes something.
        let seen = ask(&app, &stream, &headers, &Value::Null).await;
        assert_eq!(seen.status, if change == 201 { 200 } else { change }, "{page:?}");
        let listed = page.first() == Some(&("origin", FRIEND));
        let told = seen.headers.get("access-control-allow-credentials").map(String::as_str);
        assert_eq!(told, listed.then_some("true"), "{page:?}");
    }
    let made = super::ok(&admin, "AgentsService/ListAgents", json!({})).await;
    let may = 1 + cases.iter().filter(|(_, _, change)| *change == 201).count();
    assert_eq!(made["data"].as_array().map(Vec::len), Some(may));
    let runs = super::ok(&admin, "RunsService/ListRuns", json!({})).await;
    assert_eq!(runs["data"].as_array().map(Vec::len), Some(may - 1));
}

#[tokio::test]
async fn a_star_lets_no_page_of_another_origin_use_a_cookie() {
    let app = app("*").await;
    let value = cookie(&log_in(&app, &app.admin, &[]).await);
    let own = [("origin", &*app.url), ("cookie", &*value)];
    assert_eq!(ask(&app, "POST /v1/agents", &own, &an_agent()).await.status, 201);
    for origin in [STRANGER, FRIEND] {
        let headers = [("origin", origin), ("cookie", &*value)];
        for (line, body) in [("GET /v1/me", Value::Null), ("POST /v1/agents", an_agent())] {
            let seen = ask(&app, line, &headers, &body).await;
            assert_eq!((seen.status, seen.code()), (401, "missing_api_key"), "{origin} {line}");
            assert!(!seen.headers.contains_key("access-control-allow-credentials"));
        }
    }
}

#[tokio::test]
async fn a_cookie_counts_at_every_door() {
    let app = app(FRIEND).await;
    for door in Door::ALL {
        let value = cookie(&log_in(&app, &app.admin, &[]).await);
        let bare = app.stranger(door).with_header("cookie", &value);
        let known = me(&bare).await.expect("it only reads");
        assert!(known["session_id"].is_string(), "{known}");
        let agent = json!({"agent": an_agent()});
        let made = bare.call("AgentsService/CreateAgent", agent.clone()).await;
        assert_eq!(made.expect_err("no page").code, "missing_api_key", "{door:?}");
        let page = bare.with_header("origin", FRIEND);
        super::ok(&page, "AgentsService/CreateAgent", agent).await;
        super::ok(&page, "AuthService/DeleteSession", json!({})).await;
        assert_eq!(me(&page).await, Err("invalid_api_key".to_owned()));
    }
}

/// Nobody plants the session that somebody else then works in.
#[tokio::test]
async fn a_planted_cookie_never_becomes_a_session() {
    let app = app(FRIEND).await;
    let made_up = secret::fresh(Kind::Session, Environment::Live).secret;
    let old = log_in(&app, &app.runner, &[]).await;
    let mut seen_values = vec![old.clone()];
    for planted in [made_up.expose_secret(), &old, "x", ""] {
        let planted = cookie(planted);
        let more = [("cookie", &*planted), ("origin", FRIEND)];
        let value = log_in(&app, &app.admin, &more).await;
        assert!(!planted.contains(&value) && !seen_values.contains(&value), "{planted}");
        let new = cookie(&value);
        let seen = ask(&app, "GET /v1/me", &[("cookie", &new)], &Value::Null).await;
        assert_eq!(seen.body["scopes"], json!(["admin"]), "the key that logs in counts");
        seen_values.push(value);
    }
    let planted = cookie(made_up.expose_secret());
    let headers = [("cookie", &*planted), ("origin", FRIEND)];
    for line in ["GET /v1/me", "POST /v1/auth/session"] {
        let seen = ask(&app, line, &headers, &Value::Null).await;
        assert_eq!((seen.status, seen.code()), (401, "invalid_api_key"), "{line}");
    }
}

#[tokio::test]
async fn only_a_session_counts_and_only_in_its_cookie() {
    let app = app(FRIEND).await;
    let value = log_in(&app, &app.admin, &[]).await;
    let others = ["runplane_session", "__host-runplane_session", "__Secure-runplane_session", "x"];
    let mut odd: Vec<_> = others.iter().map(|name| format!("{name}={value}")).collect();
    // A key in the cookie's place, and half a session.
    odd.extend([cookie(&app.admin), cookie(&value[4..]), format!("{NAME}{value}"), NAME.into()]);
    for cookie in odd {
        let seen = ask(&app, "GET /v1/me", &[("cookie", &cookie)], &Value::Null).await;
        assert_eq!((seen.status, seen.code()), (401, "missing_api_key"), "{cookie}");
    }
    for wrong in [&value[..20], &format!("{value}{value}"), &value.replace("live", "test")] {
        let cookie = cookie(wrong);
        let seen = ask(&app, "GET /v1/me", &[("cookie", &cookie)], &Value::Null).await;
        assert_eq!((seen.status, seen.code()), (401, "invalid_api_key"), "{cookie}");
    }
    // Among others it is found; a key beside it goes before it.
    let among = format!("a=b; {}; c=d", cookie(&value));
    let seen = ask(&app, "GET /v1/me", &[("cookie", &among)], &Value::Null).await;
    assert!(seen.body["session_id"].is_string(), "{}", seen.body);
    let both = [("cookie", &*among), ("x-api-key", &*app.reader)];
    let seen = ask(&app, "GET /v1/me", &both, &Value::Null).await;
    assert_eq!((&seen.body["scopes"], seen.body.get("session_id")), (&json!(["read"]), None));
    // A token is a session in either place.
    let (session, _) = a_session(&app, &app.door(Door::Rest), json!({})).await;
    let token = cookie(&text(&session, "token"));
    assert_eq!(ask(&app, "GET /v1/me", &[("cookie", &token)], &Value::Null).await.status, 200);
    me(&app.client(Door::Grpc, &value)).await.expect("the cookie's value as a token");
}

#[tokio::test]
async fn who_logs_out_loses_the_cookie() {
    let app = app(FRIEND).await;
    let value = cookie(&log_in(&app, &app.admin, &[]).await);
    let headers = [("cookie", &*value), ("origin", FRIEND)];
    for page in [&headers[..1], &[("cookie", &*value), ("sec-fetch-site", "cross-site")]] {
        let seen = ask(&app, "DELETE /v1/auth/session", page, &Value::Null).await;
        assert_eq!(seen.status, 401, "a stranger logs somebody out");
    }
    let seen = ask(&app, "DELETE /v1/auth/session", &headers, &Value::Null).await;
    let expected = format!("{NAME}=; Path=/; Max-Age=0; Secure; HttpOnly; SameSite=Strict");
    assert_eq!((seen.status, &seen.headers["set-cookie"]), (204, &expected));
    let seen = ask(&app, "GET /v1/me", &headers, &Value::Null).await;
    assert_eq!((seen.status, seen.code()), (401, "invalid_api_key"));
}
