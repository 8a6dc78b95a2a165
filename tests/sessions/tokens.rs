//! `POST /auth/token`: a token that may no more than its key, ends by itself within the hour, and
//! with its key at the latest.

use std::time::Duration;

use runplane::kernel::Clock;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{a_key, a_session, me, ok, text};
use crate::harness::app::{App, Options};
use crate::harness::databases::START;
use crate::harness::doors::Door;

async fn app() -> App {
    App::with(Options { clock: Clock::manual(START), ..Options::default() }).await
}

fn seconds(of: u64) -> Duration {
    Duration::from_secs(of)
}

#[tokio::test]
async fn a_session_may_what_it_was_given_and_ends_by_itself() {
    let app = app().await;
    for door in Door::ALL {
        let (key, caller) = a_key(&app, door, &["run"]).await;
        let (session, holder) = a_session(&app, &caller, json!({})).await;
        assert!(text(&session, "token").starts_with("ses_live_"), "{session}");
        assert_eq!(session["expires_in"], 3600);
        assert_eq!((&session["scopes"], &session["key_id"]), (&json!(["run"]), &json!(key)));
        let fields = json!({"scopes": ["agents:read"], "expires_in": 60});
        let (short, reader) = a_session(&app, &caller, fields).await;
        let known = me(&reader).await.expect("me");
        assert_eq!(known["scopes"], json!(["agents:read"]));
        assert_eq!((&known["key_id"], &known["session_id"]), (&json!(key), &short["id"]));
        let refused = reader.call("RunsService/ListRuns", json!({})).await.expect_err("a reader");
        assert_eq!(refused.code, "insufficient_scope");
        ok(&holder, "RunsService/ListRuns", json!({})).await;
        app.advance(seconds(60));
        assert_eq!(me(&reader).await, Err("expired_token".to_owned()));
        me(&holder).await.expect("it has an hour");
        app.advance(seconds(3540));
        assert_eq!(me(&holder).await, Err("expired_token".to_owned()));
        me(&caller).await.expect("the key goes on");
        for odd in [-1, 0, 59, 3601] {
            let fields = json!({ "expires_in": odd });
            let refused = caller.call("AuthService/CreateToken", fields).await.expect_err("odd");
            assert_eq!(refused.code, "invalid_field", "{odd}");
            assert_eq!(refused.details["field"], "expires_in");
        }
    }
}

#[tokio::test]
async fn a_session_never_outlives_what_it_is_made_of() {
    let app = app().await;
    for door in Door::ALL {
        // In 100 seconds, as the server writes it.
        let (end, _) = a_session(&app, &app.door(door), json!({"expires_in": 100})).await;
        let new = json!({"name": "k", "scopes": ["admin"], "expires_at": end["expires_at"]});
        let key = ok(&app.door(Door::Rest), "KeysService/CreateKey", new).await;
        let caller = app.client(door, &text(&key, "secret"));
        let (session, holder) = a_session(&app, &caller, json!({})).await;
        assert_eq!(session["expires_in"], 100);
        assert_eq!(session["expires_at"], key["expires_at"]);
        for method in ["CreateToken", "CreateSession"] {
            let refused = holder.call(&format!("AuthService/{method}"), json!({})).await;
            assert_eq!(refused.expect_err("a session").code, "insufficient_scope", "{method}");
        }
        let (_, short) = a_session(&app, &caller, json!({"expires_in": 60})).await;
        app.advance(seconds(60));
        assert_eq!(me(&short).await, Err("expired_token".to_owned()));
        me(&holder).await.expect("40 seconds are left");
        // What an ending key makes ends with it.
        let child = ok(&caller, "KeysService/CreateKey", json!({"name": "c"})).await;
        assert_eq!(child["expires_at"], key["expires_at"]);
        app.advance(seconds(40));
        assert!(me(&holder).await.is_err() && me(&caller).await.is_err());
    }
}

#[tokio::test]
async fn a_session_dies_with_its_key() {
    let app = app().await;
    for door in Door::ALL {
        for (method, more) in [
            ("RevokeKey", json!({})),
            ("DeleteKey", json!({})),
            ("RegenerateKey", json!({})),
            ("RotateKey", json!({"overlap_seconds": 0})),
        ] {
            let (key, caller) = a_key(&app, door, &["run"]).await;
            let (_, holder) = a_session(&app, &caller, json!({})).await;
            let mut fields = more;
            fields["id"] = json!(key);
            ok(&app.door(Door::Rest), &format!("KeysService/{method}"), fields).await;
            for dead in [&caller, &holder] {
                assert_eq!(me(dead).await, Err("invalid_api_key".to_owned()), "{method}");
            }
        }
        let (key, caller) = a_key(&app, door, &["run"]).await;
        let (_, holder) = a_session(&app, &caller, json!({})).await;
        let rotate = json!({"id": key, "overlap_seconds": 60});
        ok(&app.door(Door::Rest), "KeysService/RotateKey", rotate).await;
        me(&holder).await.expect("the overlap is its own too");
        app.advance(seconds(60));
        assert_eq!(me(&holder).await, Err("invalid_api_key".to_owned()));
    }
}

#[tokio::test]
async fn a_session_is_ended_by_itself_alone() {
    let app = app().await;
    for door in Door::ALL {
        let (_, caller) = a_key(&app, door, &["run"]).await;
        let (_, first) = a_session(&app, &caller, json!({})).await;
        let (_, second) = a_session(&app, &caller, json!({})).await;
        ok(&caller, "AuthService/DeleteSession", json!({})).await;
        for alive in [&caller, &first, &second] {
            me(alive).await.expect("a key ends nothing");
        }
        ok(&first, "AuthService/DeleteSession", json!({})).await;
        assert_eq!(me(&first).await, Err("invalid_api_key".to_owned()));
        me(&second).await.expect("another");
        me(&caller).await.expect("the key");
    }
}

#[tokio::test]
async fn a_session_is_no_key() {
    let app = app().await;
    let admin = app.door(Door::Rest);
    let before = ok(&admin, "KeysService/ListKeys", json!({"limit": 100})).await;
    let (session, holder) = a_session(&app, &admin, json!({})).await;
    let after = ok(&holder, "KeysService/ListKeys", json!({"limit": 100, "page": 1})).await;
    assert_eq!(before["data"].as_array().map(Vec::len), after["data"].as_array().map(Vec::len));
    assert!(!after.to_string().contains(&text(&session, "id")));
    for method in ["GetKey", "UpdateKey", "RotateKey", "RegenerateKey", "RevokeKey", "DeleteKey"] {
        let mut fields = json!({"id": session["id"]});
        if method == "UpdateKey" {
            fields["key"] = json!({"name": "x"});
        }
        let refused = admin.call(&format!("KeysService/{method}"), fields).await;
        assert_eq!(refused.expect_err("no key").code, "key_not_found", "{method}");
    }
    me(&holder).await.expect("it goes on");
}

#[tokio::test]
async fn what_a_session_does_its_key_has_done() {
    let app = app().await;
    let admin = app.door(Door::Rest);
    let agent = crate::agents::echo();
    let agent = ok(&admin, "AgentsService/CreateAgent", json!({ "agent": agent })).await;
    for door in Door::ALL {
        let (key, caller) = a_key(&app, door, &["admin"]).await;
        let (_, holder) = a_session(&app, &caller, json!({})).await;
        let run = json!({"agent_id": agent["id"], "input": "x"});
        let run = ok(&holder, "RunsService/CreateRun", run).await;
        assert_eq!(run["key_id"], json!(key));
        let made = holder.call("KeysService/CreateKey", json!({"name": "n"})).await;
        assert_eq!(made.expect_err("a key would outlive it").code, "insufficient_scope");
        // Noted once a minute, off the path of the call.
        app.advance(seconds(61));
        me(&holder).await.expect("me");
        let is_noted = async || {
            let read = ok(&admin, "KeysService/GetKey", json!({ "id": key })).await;
            read["last_used_at"].as_str() > read["created_at"].as_str()
        };
        let used = async { while !is_noted().await {} };
        timeout(seconds(60), used).await.expect("last_used_at is noted");
    }
}

#[tokio::test]
async fn every_key_is_told_who_it_is() {
    let app = app().await;
    let operator = app.client(Door::Rest, &app.operator);
    let admin = me(&app.door(Door::Rest)).await.expect("me");
    let of_organisation = json!({"name": "o", "organisation_id": admin["organisation_id"],
        "environment": "test", "scopes": ["read"]});
    let wide = text(&ok(&operator, "KeysService/CreateKey", of_organisation).await, "secret");
    let shape = |me: &Value| {
        let has = |name: &str| me.get(name).is_some_and(Value::is_string);
        (
            text(me, "level"),
            text(me, "environment"),
            me["scopes"].clone(),
            [has("organisation_id"), has("project_id"), has("session_id")],
        )
    };
    for (key, level, environment, scope, ids) in [
        (&app.admin, "project", "live", "admin", [true, true, false]),
        (&app.runner, "project", "live", "run", [true, true, false]),
        (&app.test_admin, "project", "test", "admin", [true, true, false]),
        (&wide, "organisation", "test", "read", [true, false, false]),
        (&app.operator, "operator", "live", "operator", [false, false, false]),
    ] {
        for door in Door::ALL {
            let caller = app.client(door, key);
            let expected = (level.to_owned(), environment.to_owned(), json!([scope]), ids);
            assert_eq!(shape(&me(&caller).await.expect("me")), expected, "{door:?}");
            let (_, holder) = a_session(&app, &caller, json!({})).await;
            let told = me(&holder).await.expect("me");
            assert_eq!(shape(&told).3, [ids[0], ids[1], true], "{door:?} {told}");
        }
    }
}
