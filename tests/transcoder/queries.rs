//! Queries: what they set, and what they may not.

use super::*;

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "a table")]
async fn queries_set_the_fields_that_they_name() {
    let get = |probe| got("get", probe);
    check(
        &[],
        vec![
            (
                "GET",
                "/v1/things/a?count=3&flag=true&ratio=1.5&big=-9",
                "",
                200,
                get(json!({"count": 3, "flag": true, "ratio": 1.5, "big": "-9"})),
            ),
            ("GET", "/v1/things/a?page_size=1", "", 200, get(json!({"page_size": 1}))),
            ("GET", "/v1/things/a?pageSize=1", "", 200, get(json!({"page_size": 1}))),
            ("GET", "/v1/things/a?type=x", "", 200, get(json!({"type": "x"}))),
            (
                "GET",
                "/v1/things/a?tags=x&tags=y,z&tags=",
                "",
                200,
                get(json!({"tags": ["x", "y,z", ""]})),
            ),
            ("GET", "/v1/things/a?numbers=1&numbers=2", "", 200, get(json!({"numbers": [1, 2]}))),
            (
                "GET",
                "/v1/things/a?colors=red&colors=COLOR_DARK_GREEN&colors=1&colors=99",
                "",
                200,
                get(json!({"colors": ["red", "dark_green", "red", 99]})),
            ),
            (
                "GET",
                "/v1/things/a?parent=x+y%2Bz%20%26",
                "",
                200,
                get(json!({"parent": "x y+z &"})),
            ),
            ("GET", "/v1/things/a?p%61rent=x", "", 200, get(json!({"parent": "x"}))),
            ("GET", "/v1/things/a?parent", "", 200, get(json!({"parent": ""}))),
            ("GET", "/v1/things/a?&&parent=a=b&", "", 200, get(json!({"parent": "a=b"}))),
            (
                "GET",
                "/v1/things/a?nested.inner.displayName=x&nested.inner.tags=1&nested.number=2",
                "",
                200,
                get(
                    json!({"nested": {"number": 2, "inner": {"display_name": "x", "tags": ["1"]}}}),
                ),
            ),
            (
                "GET",
                "/v1/things/a?at=2024-01-02T03:04:05.5%2B02:00",
                "",
                200,
                get(json!({"at": "2024-01-02T01:04:05.500Z"})),
            ),
            (
                "GET",
                "/v1/things/a?span=1.5s&limit=7&data=_-8",
                "",
                200,
                get(json!({"span": "1.500s", "limit": 7, "data": "/+8="})),
            ),
            (
                "GET",
                "/v1/things/a?mask=displayName,nested.inner",
                "",
                200,
                get(json!({"mask": "display_name,nested.inner"})),
            ),
            (
                "GET",
                "/v1/things/a?branch.number=1&branch.tags=x",
                "",
                200,
                get(json!({"branch": {"number": 1, "tags": ["x"]}})),
            ),
            ("GET", "/v1/things/a?number=4", "", 200, get(json!({"number": 4}))),
        ],
    )
    .await;
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "a table")]
async fn queries_that_are_wrong_are_refused_by_name() {
    let unknown = |field| error("unknown_field", field);
    let invalid = |field| error("invalid_field", field);
    check(
        &[JSON],
        vec![
            ("GET", "/v1/things/a?nope=1", "", 400, unknown("nope")),
            ("GET", "/v1/things/a?=1", "", 400, unknown("")),
            ("GET", "/v1/things/a?name=evil", "", 400, unknown("name")),
            (
                "GET",
                "/v1/nested/a?nested.display_name=evil",
                "",
                400,
                unknown("nested.display_name"),
            ),
            ("GET", "/v1/nested/a?nested.displayName=evil", "", 400, unknown("nested.displayName")),
            (
                "GET",
                "/v1/kinds/1/2024-01-02T03:04:05Z/red/AA/w?number=1",
                "",
                400,
                unknown("number"),
            ),
            ("GET", "/v1/things/a?labels%5Bk%5D=v", "", 400, unknown("labels[k]")),
            ("GET", "/v1/things/a?labels.k=v", "", 400, unknown("labels.k")),
            ("GET", "/v1/things/a?nests.number=1", "", 400, unknown("nests.number")),
            ("GET", "/v1/things/a?object=%7B%7D", "", 400, unknown("object")),
            ("GET", "/v1/things/a?nested=x", "", 400, unknown("nested")),
            ("GET", "/v1/things/a?nested.=x", "", 400, unknown("nested.")),
            ("GET", "/v1/things/a?count.x=1", "", 400, unknown("count.x")),
            ("GET", "/v1/things/a?count=1&count=1", "", 400, invalid("count")),
            ("GET", "/v1/things/a?page_size=1&pageSize=2", "", 400, invalid("pageSize")),
            (
                "GET",
                "/v1/things/a?nested.number=1&nested.number=1",
                "",
                400,
                invalid("nested.number"),
            ),
            ("GET", "/v1/things/a?word=x&number=1", "", 400, invalid("number")),
            ("GET", "/v1/things/a?word=x&branch.number=1", "", 400, invalid("branch.number")),
            ("GET", "/v1/things/a?count=x", "", 400, invalid("count")),
            ("GET", "/v1/things/a?count=99999999999", "", 400, invalid("count")),
            ("GET", "/v1/things/a?big=null", "", 400, invalid("big")),
            ("GET", "/v1/things/a?flag=1", "", 400, invalid("flag")),
            ("GET", "/v1/things/a?flag=True", "", 400, invalid("flag")),
            ("GET", "/v1/things/a?color=Red", "", 400, invalid("color")),
            ("GET", "/v1/things/a?span=1h", "", 400, invalid("span")),
            ("GET", "/v1/things/a?at=now", "", 400, invalid("at")),
            ("GET", "/v1/things/a?parent=%zz", "", 400, invalid("parent")),
            ("GET", "/v1/things/a?parent=%ff", "", 400, invalid("parent")),
            ("POST", "/v1/things?count=1", "{}", 400, unknown("count")),
            ("POST", "/v1/touch?x=1", "", 400, unknown("x")),
        ],
    )
    .await;
    let deep = format!("/v1/things/a?nested.{}number=1", "inner.".repeat(5_000));
    let many = format!("/v1/things/a?{}", "tags=x&".repeat(129));
    let long = format!("/v1/things/a?parent={}", "x".repeat(16 * 1024));
    for target in [deep, many, long] {
        let reply = send("GET", &target, &[], "").await;
        assert_eq!(reply.status, 400, "{}", reply.text);
        assert!(reply.text.len() < 100_000, "the answer is not amplified");
    }
}
