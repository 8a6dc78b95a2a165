//! A session in a cookie, in the real browser: a page of a listed origin logs in and calls without
//! a key, a stranger's page changes nothing. The page and the server are two origins of one site,
//! `localhost`, where browsers take and send `Secure` cookies without HTTPS too.

use serde_json::{Value, json};

use super::app;
use crate::harness::app::App;
use crate::harness::browser::{Client as With, Console, Page, Seen};
use crate::harness::doors::{Client, Door};

/// The server under the name by which it is of the same site as a friend's page.
fn url(app: &App) -> String {
    app.url.replace("127.0.0.1", "localhost")
}

async fn fetch(page: Page, url: &str, verb: &str, more: Value) -> Result<Seen, String> {
    let mut init = json!({"method": verb, "credentials": "include"});
    for (name, value) in more.as_object().expect("fields") {
        init[name] = value.clone();
    }
    page.fetch(url, &init).all().await.map_err(|error| error.message)
}

fn headers(key: &str) -> Value {
    json!({"headers": {"authorization": format!("Bearer {key}"),
        "content-type": "application/json"}, "body": "{}"})
}

#[tokio::test]
async fn a_friends_page_logs_in_and_calls_by_cookie_until_it_logs_out() {
    let (_console, app) = (Console::watch(), app().await);
    let (friend, url) = (With::Plain.of_a_friend(), url(&app));
    let (session, me) = (format!("{url}/v1/auth/session"), format!("{url}/v1/me"));
    let seen = fetch(friend, &me, "GET", json!({})).await.expect("an answer");
    assert_eq!(seen.status, 401, "{seen:?}");
    let seen = fetch(friend, &session, "POST", headers(&app.admin)).await.expect("an answer");
    assert_eq!(seen.status, 201, "{seen:?}");
    assert!(!seen.body.contains("ses_live_"), "the page sees the token: {seen:?}");
    let logged_in = seen.json()["id"].clone();
    assert!(!seen.headers.contains_key("set-cookie"), "{seen:?}");

    let seen = fetch(friend, &me, "GET", json!({})).await.expect("an answer");
    assert_eq!((seen.status, &seen.json()["session_id"]), (200, &logged_in), "{seen:?}");
    let agent = r#"{"name": "x", "model": "sim", "sim": {"turns": [{"text": "Hi."}]}}"#;
    let body = json!({"headers": {"content-type": "application/json"}, "body": agent});
    let agents = format!("{url}/v1/agents");
    let seen = fetch(friend, &agents, "POST", body.clone()).await.expect("an answer");
    assert_eq!(seen.status, 201, "{seen:?}");
    let page = Client::in_page(With::Connect.of_a_friend(), &url, None);
    let known = page.call("AuthService/GetMe", json!({})).await.expect("me");
    assert_eq!(known["session_id"], logged_in, "over gRPC-Web");

    // A stranger's page, with the same browser: it can neither read nor change anything, in a way
    // that asks first and in one that does not.
    let stranger = With::Plain.of_a_stranger();
    let plain = json!({"mode": "no-cors", "headers": {"content-type": "text/plain"},
        "body": agent});
    for (to, verb, more) in
        [(&me, "GET", json!({})), (&agents, "POST", body), (&session, "DELETE", json!({}))]
    {
        let seen = fetch(stranger, to, verb, more).await;
        assert!(seen.is_err(), "{verb}: {seen:?}");
    }
    if let Ok(seen) = fetch(stranger, &agents, "POST", plain).await {
        assert_eq!((seen.status, &*seen.body), (0, ""), "{seen:?}");
    }
    let made = app.door(Door::Rest).call("AgentsService/ListAgents", json!({})).await;
    assert_eq!(made.expect("agents")["data"].as_array().map(Vec::len), Some(1));

    let seen = fetch(friend, &me, "GET", json!({"credentials": "omit"})).await.expect("an answer");
    assert_eq!(seen.json()["error"]["code"], "missing_api_key", "{seen:?}");
    let seen = fetch(friend, &session, "DELETE", json!({})).await.expect("an answer");
    assert_eq!(seen.status, 204, "{seen:?}");
    let seen = fetch(friend, &me, "GET", json!({})).await.expect("an answer");
    assert_eq!(seen.json()["error"]["code"], "missing_api_key", "the cookie is gone: {seen:?}");
}

/// What a page of another site is given it does not get back: `SameSite=Strict`.
#[tokio::test]
async fn a_page_of_another_site_gets_no_cookie() {
    let (_console, app) = (Console::watch(), app().await);
    let friend = With::Plain.of_a_friend();
    let (session, me) = (format!("{}/v1/auth/session", app.url), format!("{}/v1/me", app.url));
    let seen = fetch(friend, &session, "POST", headers(&app.admin)).await.expect("an answer");
    assert_eq!(seen.status, 201, "{seen:?}");
    let seen = fetch(friend, &me, "GET", json!({})).await.expect("an answer");
    assert_eq!(seen.json()["error"]["code"], "missing_api_key", "{seen:?}");
}
