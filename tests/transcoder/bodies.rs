//! Bodies: what they become, and what is refused.

use super::*;

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "a table")]
async fn bodies_become_the_request_or_one_of_its_fields() {
    check(
        &[JSON],
        vec![
            (
                "POST",
                "/v1/things",
                r#"{"name":"a","pageSize":2}"#,
                201,
                got("create", json!({"name": "a", "page_size": 2})),
            ),
            ("POST", "/v1/things", "", 201, got("create", json!({"name": ""}))),
            ("POST", "/v1/things", "{}", 201, got("create", json!({"name": ""}))),
            (
                "POST",
                "/v1/things",
                r#"{"count":1e3,"big":"5","name":null}"#,
                201,
                got("create", json!({"count": 1000, "big": "5"})),
            ),
            (
                "POST",
                "/v1/things/a:archive",
                r#"{"name":"evil","count":1}"#,
                200,
                got("archive", json!({"name": "a", "count": 1})),
            ),
            (
                "POST",
                "/v1/nested?count=1",
                r#"{"display_name":"x"}"#,
                200,
                got("create_nested", json!({"count": 1, "nested": {"display_name": "x"}})),
            ),
            ("POST", "/v1/nested", "", 200, got("create_nested", json!({"nested": null}))),
            (
                "PUT",
                "/v1/tags",
                r#"["x","y"]"#,
                200,
                got("create_tags", json!({"tags": ["x", "y"]})),
            ),
            (
                "PUT",
                "/v1/branch",
                r#"{"number":1}"#,
                200,
                got("create_branch", json!({"branch": {"number": 1}})),
            ),
            ("POST", "/v1/touch", "", 200, json!({})),
            ("POST", "/v1/touch", "{}", 200, json!({})),
            (
                "PATCH",
                "/v1/things/a",
                r#"{"display_name":"x","inner":{"number":1}}"#,
                200,
                got("update", json!({"name": "a", "mask": "display_name,inner.number"})),
            ),
            (
                "PATCH",
                "/v1/things/a?mask=number",
                r#"{"display_name":"x"}"#,
                200,
                got("update", json!({"mask": "number"})),
            ),
        ],
    )
    .await;
}

#[tokio::test]
async fn bodies_that_are_wrong_are_refused_with_the_place() {
    let invalid = |field| error("invalid_field", field);
    check(
        &[JSON],
        vec![
            ("POST", "/v1/things", "{", 400, code("malformed_json")),
            ("POST", "/v1/things", "{} x", 400, code("malformed_json")),
            ("POST", "/v1/things", "{'name':1}", 400, code("malformed_json")),
            ("POST", "/v1/things", "[]", 400, code("invalid_field")),
            ("POST", "/v1/things", r#"{"nope":1}"#, 400, error("unknown_field", "nope")),
            (
                "POST",
                "/v1/things",
                r#"{"nests":[{},{"inner":{"nope":1}}]}"#,
                400,
                error("unknown_field", "nests[1].inner.nope"),
            ),
            ("POST", "/v1/things", r#"{"count":"x"}"#, 400, invalid("count")),
            ("POST", "/v1/things", r#"{"count":1,"count":2}"#, 400, invalid("count")),
            ("POST", "/v1/things", r#"{"color":"pink"}"#, 400, invalid("color")),
            ("POST", "/v1/things", r#"{"word":"x","number":1}"#, 400, invalid("number")),
            ("POST", "/v1/nested", r#"{"number":true}"#, 400, invalid("number")),
            (
                "POST",
                "/v1/nested?nested.number=1",
                "{}",
                400,
                error("unknown_field", "nested.number"),
            ),
            ("PUT", "/v1/branch?word=x", "{}", 400, error("unknown_field", "word")),
            ("PUT", "/v1/tags", r#"["x"],"count":1"#, 400, code("malformed_json")),
            ("PUT", "/v1/tags", r#"{"tags":[]}"#, 400, invalid("tags")),
            ("PUT", "/v1/tags", "[1]", 400, invalid("tags[0]")),
            ("GET", "/v1/things/a", "{}", 400, invalid("body")),
            ("DELETE", "/v1/things/a", "{}", 400, invalid("body")),
        ],
    )
    .await;
    let deep = format!("{}{}", r#"{"nested":"#.repeat(150), "1".to_owned() + &"}".repeat(150));
    let reply = send("POST", "/v1/things", &[JSON], &deep).await;
    assert_eq!(reply.status, 400, "{}", reply.text);
}

#[tokio::test]
async fn only_json_is_read_and_only_so_much_of_it() {
    for (kind, status) in [
        ("application/json", 201),
        ("application/vnd.probe+json", 201),
        ("text/plain", 415),
        ("application/x-www-form-urlencoded", 415),
        ("application/json; charset=utf-16", 415),
    ] {
        let reply = send("POST", "/v1/things", &[("content-type", kind)], "{}").await;
        assert_eq!(reply.status, status, "{kind}");
    }
    let reply = send("POST", "/v1/things", &[], "{}").await;
    assert!(holds(&reply.json(), &code("unsupported_media_type")), "{}", reply.text);
    let reply = send("POST", "/v1/things", &[("content-type", "text/plain")], "").await;
    assert_eq!(reply.status, 201, "an empty body has no type");
    let large = format!(r#"{{"name":"{}"}}"#, "x".repeat(1024 * 1024));
    let reply = send("POST", "/v1/things", &[JSON], &large).await;
    assert!(holds(&reply.json(), &code("payload_too_large")), "{}", reply.text);
    let announced = [JSON, ("content-length", "1048577")];
    let reply = send("POST", "/v1/things", &announced, "{}").await;
    assert_eq!(reply.status, 413, "refused by what it announces");
    let chunk = || Ok::<_, std::io::Error>(axum::body::Bytes::from(vec![b' '; 64 * 1024]));
    let endless = Body::from_stream(futures::stream::repeat_with(chunk));
    let mut endless = request("POST", "/v1/things", &[JSON], "").map(|_| endless);
    endless.headers_mut().remove("content-length");
    let reply = read(transcoder().oneshot(endless).await.unwrap()).await;
    assert_eq!(reply.status, 413, "refused while it is read");
    let limited = request("POST", "/v1/things", &[JSON], "{}")
        .map(|body| Body::new(http_body_util::Limited::new(body, 1)));
    let reply = read(transcoder().oneshot(limited).await.unwrap()).await;
    assert_eq!(reply.status, 413, "refused by a limit before ours");
}
