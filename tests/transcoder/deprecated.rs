//! What is deprecated says so, and until when it works: a method through all doors, a field over
//! REST to who has set it.

use super::{behaviours::server, *};
use crate::probe::standard::Prober as Standard;

const OLD: [&str; 3] = [
    "@1769817600",
    "Sun, 31 Jan 2027 00:00:00 GMT",
    "<https://example.com/old>; rel=\"deprecation\"",
];
const OLD_NAME: [&str; 3] = ["@1748736000", "", ""];
const OLD_NOTE: [&str; 3] = ["@1709164800", "Thu, 29 Feb 2024 00:00:00 GMT", ""];
const NOTHING: [&str; 3] = ["", "", ""];

fn notice(reply: &Reply) -> [&str; 3] {
    ["deprecation", "sunset", "link"].map(|name| reply.header(name))
}

#[tokio::test]
async fn a_deprecated_method_says_so_also_when_it_fails() {
    for (method, target, status) in [
        ("GET", "/v1/old/a", 200),
        ("HEAD", "/v1/old/a", 200),
        ("GET", "/v1/old/a?old_name=b", 200),
        ("GET", "/v1/old/a?nope=1", 400),
        ("GET", "/v1/old/a?accept", 400),
    ] {
        let reply = send(method, target, &[], "").await;
        assert_eq!((reply.status.as_u16(), notice(&reply)), (status, OLD), "{method} {target}");
    }
    let refused = send("GET", "/v1/old/a", &[("accept", "image/png")], "").await;
    assert_eq!((refused.status.as_u16(), notice(&refused)), (406, OLD));
    for target in ["/v1/things/a", "/v1/nothing", "/v1/fail/name_taken"] {
        assert_eq!(notice(&send("GET", target, &[], "").await), NOTHING, "{target}");
    }
}

#[tokio::test]
async fn a_deprecated_field_says_so_to_who_has_set_it() {
    for (method, target, body, expected) in [
        ("GET", "/v1/things/a?old_name=", "", OLD_NAME),
        ("GET", "/v1/things/a?oldName=b", "", OLD_NAME),
        ("GET", "/v1/things/a?nested.old_note=b", "", OLD_NOTE),
        ("GET", "/v1/things/a?tags=b", "", NOTHING),
        ("POST", "/v1/things", r#"{"old_name":"b"}"#, OLD_NAME),
        ("POST", "/v1/things", r#"{"old_name":null,"name":"b"}"#, NOTHING),
        ("POST", "/v1/things", r#"{"nested":{"inner":{"inner":{"old_note":"b"}}}}"#, OLD_NOTE),
        ("POST", "/v1/things", r#"{"nests":[{},{"old_note":"b"}]}"#, OLD_NOTE),
        ("POST", "/v1/things", r#"{"branch":{"old_note":"b"}}"#, OLD_NOTE),
        ("POST", "/v1/things", r#"{"branch":{"inner":{}},"nests":[{}]}"#, NOTHING),
        ("PUT", "/v1/branch", r#"{"old_note":"b"}"#, OLD_NOTE),
        ("GET", "/v1/watch/a?old_name=b", "", OLD_NAME),
        ("GET", "/v1/watch/refused?old_name=b", "", OLD_NAME),
        ("GET", "/v1/fail/name_taken?old_name=b", "", OLD_NAME),
        ("GET", "/v1/tags?old_name=b", "", OLD_NAME),
    ] {
        let headers = if body.is_empty() { &[][..] } else { &[JSON] };
        let reply = send(method, target, headers, body).await;
        assert_eq!(notice(&reply), expected, "{method} {target} {body}: {}", reply.text);
    }
}

const HOST: (&str, &str) = ("host", "api.example");

#[tokio::test]
async fn grpc_callers_are_told_in_metadata() {
    let prober = Standard::default();
    for kind in ["application/grpc", "application/grpc-web+proto"] {
        for (method, expected) in [("Old", OLD), ("Get", NOTHING)] {
            let target = format!("/probe.v1.ProbeService/{method}");
            let request = request("POST", &target, &[("content-type", kind), HOST], "\0\0\0\0\0");
            let response = server(prober.clone(), false).oneshot(request).await.unwrap();
            let reply = Reply {
                status: response.status(),
                headers: response.headers().clone(),
                text: String::new(),
            };
            assert_eq!((reply.status.as_u16(), notice(&reply)), (200, expected), "{kind} {method}");
        }
    }
}

#[test]
fn nothing_of_the_contract_is_deprecated() {
    assert!(runplane::proto::rest::DEPRECATIONS.is_empty());
    assert!(runplane::proto::rest::RULES.iter().all(|rule| rule.deprecated.is_none()));
}
