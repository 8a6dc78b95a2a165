//! Keys that are none.
//!
//! Of time: whatever is wrong with a key whose checksum is right, the same is done. It is looked up
//! by its public part, an HMAC of all of it is compared in constant time, with zeros when there is
//! no such key, and the answer is the same word for word. Only a key that is known already saves
//! the look-up, which tells that somebody uses it, and of the secret nothing.

use runplane::kernel::Environment;
use std::sync::Arc;

use runplane::keys::secret::{self, Kind};
use sea_orm::ConnectionTrait;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::{an_agent, code, send, written};
use crate::harness::app::{App, On, Options};
use crate::harness::doors::Door;

/// A secret like this one, with its last six characters made right again.
fn checked(body: &str) -> String {
    const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut rest = crc32fast::hash(body.as_bytes());
    let mut check = [b'0'; 6];
    for digit in check.iter_mut().rev() {
        *digit = DIGITS[(rest % 62) as usize];
        rest /= 62;
    }
    format!("{body}{}", String::from_utf8_lossy(&check))
}

/// A key that no server has made, with a right checksum.
fn unknown() -> String {
    secret::fresh(Kind::Secret, Environment::Live).secret.expose_secret().to_owned()
}

/// The same public part, another secret one.
fn guessed(key: &str) -> String {
    let (known, hidden) = (&key[..18], "x".repeat(32));
    checked(&format!("{known}{hidden}"))
}

#[tokio::test]
async fn a_key_that_is_none_is_refused_at_every_door() {
    let app = App::start().await;
    let before = written(&app).await;
    let key = &app.admin;
    assert_eq!(checked(&key[..50]), *key, "the test makes checksums as the product does");
    let mut flipped = key.clone().into_bytes();
    flipped[30] = if flipped[30] == b'a' { b'b' } else { b'a' };
    let wrong = [
        unknown(),
        guessed(key),
        String::from_utf8(flipped).expect("ASCII"),
        // Of another environment or kind, with a right checksum.
        checked(&key[..50].replace("sk_live", "sk_test")),
        checked(&key[..50].replace("sk_live", "op_live")),
        checked(&key[..50].replace("sk_live", "ses_live")),
        key[..key.len() - 1].to_owned(),
        key[1..].to_owned(),
        format!("{key}{key}"),
        format!("{key}x"),
        key.to_uppercase(),
        "0".repeat(4096),
    ];
    for door in Door::ALL {
        let mut told = Vec::new();
        for key in &wrong {
            let made = app.client(door, key);
            let made = made.call("AgentsService/CreateAgent", json!({"agent": an_agent()})).await;
            let failure = made.expect_err(key);
            assert_eq!(failure.code, "invalid_api_key", "{key}");
            told.push((failure.message, failure.details));
        }
        told.dedup();
        assert_eq!(told.len(), 1, "{door:?}: what is wrong with a key is told: {told:?}");
    }
    assert_eq!(written(&app).await, before);
}

/// While the table of keys is locked only what does not ask it is answered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_with_a_wrong_checksum_is_refused_without_the_store() {
    let app = App::with(Options { on: On::Postgres, ..Options::default() }).await;
    let (locked, done) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (store, told, ends) = (app.store.clone(), Arc::clone(&locked), Arc::clone(&done));
    let locking = tokio::spawn(async move {
        let job = store.tx("lock_keys", move |tx| {
            let (told, ends) = (Arc::clone(&told), Arc::clone(&ends));
            Box::pin(async move {
                tx.execute_unprepared("LOCK TABLE api_keys IN ACCESS EXCLUSIVE MODE").await?;
                told.notify_one();
                ends.notified().await;
                Ok(())
            })
        });
        job.await.expect("the lock is given back");
    });
    locked.notified().await;
    let asks = app.client(Door::Rest, &unknown());
    let asking = tokio::spawn(async move { asks.call("AuthService/GetMe", json!({})).await });
    for door in Door::ALL {
        let admin = &app.admin;
        for junk in ["x", &admin[..40], &format!("{admin}x"), &admin.to_lowercase()] {
            let refused = app.client(door, junk).call("AuthService/GetMe", json!({})).await;
            assert_eq!(refused.expect_err("junk").code, "invalid_api_key", "{junk}");
        }
    }
    // One with a right checksum asks the store, and waits for it.
    assert!(!asking.is_finished());
    done.notify_one();
    let refused = asking.await.expect("an answer").expect_err("no key");
    assert_eq!(refused.code, "invalid_api_key");
    locking.await.expect("the lock");
}

#[tokio::test]
async fn a_key_of_another_pepper_opens_nothing() {
    let config = "[auth]\npepper = \"another pepper for tests, of no worth\"".to_owned();
    let (one, other) =
        (App::start().await, App::with(Options { config, ..Options::default() }).await);
    for key in [&other.admin, &other.operator] {
        let asked = one.client(Door::Grpc, key).call("AuthService/GetMe", json!({})).await;
        assert_eq!(asked.expect_err("a stranger").code, "invalid_api_key");
    }
}

/// No way of writing a path or a type gets by the check that the way in the contract has.
#[tokio::test]
async fn no_odd_path_gets_in_without_a_key() {
    let app = App::start().await;
    let before = written(&app).await;
    let grpc = "runplane.v1.AgentsService/ListAgents";
    let lines = [
        "GET /v1/agents",
        "HEAD /v1/agents",
        "GET //v1/agents",
        "GET /v1//agents",
        "GET /v1/agents/",
        "GET /v1/./agents",
        "GET /v1/%61gents",
        "GET /V1/agents",
        "GET /api/v1/agents",
        "GET /v2/agents",
        "GET /v1/agents?x=%00",
        "GET /v1/agents;a=b",
        "POST /v1/agents",
        "POST /v1/agents:create",
        &format!("POST /{grpc}"),
        &format!("POST //{grpc}"),
        &format!("POST /{}", grpc.replace("List", "%4Cist")),
        &format!("GET /{grpc}"),
        &format!("POST /{grpc}/"),
    ];
    for line in lines {
        for kind in ["application/json", "application/grpc", "application/grpc-web+proto", "x/y"] {
            let headers: [(&str, &[u8]); 2] =
                [("content-type", kind.as_bytes()), ("x-http-method-override", b"GET")];
            let body = if line.starts_with("POST") { an_agent() } else { Value::Null };
            let answer = send(&app, line, &headers, &body).await;
            let text = answer.1.to_string();
            let grpc = kind.contains("grpc");
            assert!(answer.0 >= 400 || grpc, "{line} as {kind}: {answer:?}");
            assert!(!text.contains("\"data\""), "{line} as {kind}: {answer:?}");
            assert!(grpc || line.starts_with("HEAD") || !code(&answer).1.is_empty(), "{line}");
        }
    }
    assert_eq!(written(&app).await, before);
}
