//! Headers that are odd, doubled, too long, or say two things: which key counts is clear, and who
//! leaves it open is refused.

use serde_json::{Value, json};

use super::{an_agent, code, send, written};
use crate::harness::app::App;
use crate::harness::doors::Door;

fn bearer(key: &str) -> Vec<u8> {
    format!("Bearer {key}").into_bytes()
}

#[tokio::test]
async fn odd_values_are_no_keys() {
    let app = App::start().await;
    let before = written(&app).await;
    let key = &app.admin;
    let mut accented = bearer(key);
    accented.push(0xe9);
    let odd: [&[u8]; 12] = [
        b"",
        b"Bearer",
        b"Bearer ",
        b"Bearer\t",
        key.as_bytes(),
        &bearer(&format!("{key} {key}")),
        &bearer(&format!("{key},{key}")),
        &bearer(&format!("\"{key}\"")),
        &[b"Bearer\t", key.as_bytes()].concat(),
        &accented,
        b"Basic c2tfbGl2ZTp4",
        &[b"Digest ", key.as_bytes()].concat(),
    ];
    for value in odd {
        let shown = String::from_utf8_lossy(value);
        let answer = send(&app, "POST /v1/agents", &[("authorization", value)], &an_agent()).await;
        assert_eq!(code(&answer), (401, "invalid_api_key"), "{shown:?}");
    }
    for value in [&b"x"[..], b"", &accented[7..], &bearer(key)] {
        let shown = String::from_utf8_lossy(value);
        let answer = send(&app, "POST /v1/agents", &[("x-api-key", value)], &an_agent()).await;
        assert_eq!(code(&answer), (401, "invalid_api_key"), "{shown:?}");
    }
    for name in ["authorization", "x-api-key", "cookie"] {
        let long = vec![b'x'; 65_536];
        let answer = send(&app, "POST /v1/agents", &[(name, &long)], &an_agent()).await;
        assert!((400..500).contains(&answer.0), "{name}: {answer:?}");
    }
    assert_eq!(written(&app).await, before);
}

#[tokio::test]
async fn a_header_with_two_values_is_refused() {
    let app = App::start().await;
    let (admin, reader) = (bearer(&app.admin), bearer(&app.reader));
    for name in ["authorization", "x-api-key"] {
        let of = |value: &[u8]| match name {
            "authorization" => value.to_vec(),
            _ => value[7..].to_vec(),
        };
        for (one, two) in [(&admin, &reader), (&reader, &admin), (&admin, &admin)] {
            let (one, two) = (of(one), of(two));
            let headers = [(name, &one[..]), (name, &two[..])];
            let answer = send(&app, "GET /v1/me", &headers, &Value::Null).await;
            assert_eq!(code(&answer), (401, "invalid_api_key"), "{name}");
        }
    }
    // The client of gRPC-Web makes one of both.
    for door in [Door::Grpc, Door::Rest] {
        let caller = app.door(door).with_header("authorization", &format!("Bearer {}", app.reader));
        let asked = caller.call("AuthService/GetMe", json!({})).await;
        assert_eq!(asked.expect_err("two keys").code, "invalid_api_key", "{door:?}");
    }
}

/// `Authorization` goes before `x-api-key`, which goes before a cookie; a scheme of somebody else's
/// does not count.
#[tokio::test]
async fn of_several_keys_one_counts_whatever_the_others_may() {
    let app = App::start().await;
    let (admin, reader) = (bearer(&app.admin), bearer(&app.reader));
    let weak: [(&str, &[u8]); 2] = [("authorization", &reader), ("x-api-key", &admin[7..])];
    let answer = send(&app, "POST /v1/agents", &weak, &an_agent()).await;
    assert_eq!(code(&answer), (403, "insufficient_scope"), "the stronger one is not looked for");
    for others in [&b"x"[..], &reader[7..]] {
        let strong: [(&str, &[u8]); 2] = [("authorization", &admin), ("x-api-key", others)];
        let answer = send(&app, "GET /v1/me", &strong, &Value::Null).await;
        assert_eq!(answer.1["scopes"], json!(["admin"]));
    }
    // A wrong one does not make room for a right one.
    let wrong: [(&str, &[u8]); 2] = [("authorization", b"Bearer x"), ("x-api-key", &admin[7..])];
    let answer = send(&app, "GET /v1/me", &wrong, &Value::Null).await;
    assert_eq!(code(&answer), (401, "invalid_api_key"));
    let proxy: [(&str, &[u8]); 2] = [("authorization", b"Basic YTpi"), ("x-api-key", &reader[7..])];
    let answer = send(&app, "GET /v1/me", &proxy, &Value::Null).await;
    assert_eq!(answer.1["scopes"], json!(["read"]));
}

#[tokio::test]
async fn an_odd_idempotency_key_is_named() {
    let app = App::start().await;
    let before = written(&app).await;
    let (long, key) = (vec![b'x'; 256], bearer(&app.admin));
    let odd: [&[&[u8]]; 7] =
        [&[b""], &[&long], &[b"a b"], &[b"a\tb"], &["é".as_bytes()], &[b"a", b"b"], &[b"a", b"a"]];
    for values in odd {
        let mut headers = vec![("authorization", &key[..])];
        headers.extend(values.iter().map(|value| ("idempotency-key", *value)));
        let answer = send(&app, "POST /v1/agents", &headers, &an_agent()).await;
        assert_eq!(code(&answer), (400, "invalid_field"), "{values:?}");
        assert_eq!(answer.1["error"]["details"]["field"], "idempotency-key");
    }
    for door in [Door::Grpc, Door::GrpcWeb] {
        let caller = app.door(door).with_header("idempotency-key", &"x".repeat(256));
        let made = caller.call("AgentsService/CreateAgent", json!({"agent": an_agent()})).await;
        let failure = made.expect_err("too long");
        assert_eq!(failure.details["field"], "idempotency-key", "{failure:?}");
    }
    assert_eq!(written(&app).await, before);
}
