//! Paths: which method they lead to, what their variables hold, aliases, `HEAD` and `OPTIONS`.

use super::*;

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "a table")]
async fn paths_lead_to_methods_and_variables_are_decoded_once() {
    check(
        &[],
        vec![
            ("GET", "/", "", 200, got("root", json!({}))),
            ("GET", "/v1/things/abc", "", 200, got("get", json!({"name": "abc"}))),
            ("GET", "/v1/others/a/of/b", "", 200, got("get", json!({"name": "a", "parent": "b"}))),
            ("GET", "/v1/things/fixed", "", 200, got("get_fixed", json!({"name": ""}))),
            ("GET", "/v1/things/%66ixed", "", 200, got("get", json!({"name": "fixed"}))),
            ("GET", "/v1/things/a%2Fb", "", 200, got("get", json!({"name": "a/b"}))),
            ("GET", "/v1/things/%2525", "", 200, got("get", json!({"name": "%25"}))),
            ("GET", "/v1/things/a+b", "", 200, got("get", json!({"name": "a+b"}))),
            ("GET", "/v1/things/%E2%82%AC", "", 200, got("get", json!({"name": "€"}))),
            ("GET", "/v1/things/..", "", 200, got("get", json!({"name": ".."}))),
            ("GET", "/v1/things/a:b", "", 200, got("get", json!({"name": "a:b"}))),
            ("GET", "/v1/things/a%3Aarchive", "", 200, got("get", json!({"name": "a:archive"}))),
            ("POST", "/v1/things/a:archive", "", 200, got("archive", json!({"name": "a"}))),
            ("POST", "/v1/things/a:b:archive", "", 200, got("archive", json!({"name": "a:b"}))),
            ("GET", "/v1/files", "", 200, got("get_file", json!({"path": ""}))),
            ("GET", "/v1/files/a", "", 200, got("get_file", json!({"path": "a"}))),
            ("GET", "/v1/files/a//b", "", 200, got("get_file", json!({"path": "a//b"}))),
            (
                "GET",
                "/v1/files/a%2Fb/%3A%41",
                "",
                200,
                got("get_file", json!({"path": "a%2Fb/:A"})),
            ),
            ("GET", "/v1/files/a/b/meta", "", 200, got("get_file_meta", json!({"path": "a/b"}))),
            ("GET", "/v1/files/meta", "", 200, got("get_file_meta", json!({"path": ""}))),
            ("GET", "/v1/files/a/b:dump", "", 200, got("dump_file", json!({"path": "a/b"}))),
            ("GET", "/v1/files:dump", "", 200, got("dump_file", json!({"path": ""}))),
            (
                "GET",
                "/v1/shelves/1/books/2%2F",
                "",
                200,
                got("get_book", json!({"parent": "shelves/1/books/2%2F"})),
            ),
            (
                "GET",
                "/v1/nested/x?nested.number=3",
                "",
                200,
                got("get_nested", json!({"nested": {"display_name": "x", "number": 3}})),
            ),
            (
                "GET",
                "/v1/kinds/-7/2024-01-02T03:04:05Z/dark_green/_-8/w",
                "",
                200,
                got(
                    "get_kinds",
                    json!({
                        "count": -7, "at": "2024-01-02T03:04:05Z", "color": "dark_green",
                        "data": "/+8=", "word": "w",
                    }),
                ),
            ),
            (
                "GET",
                "/v1/kinds/0/2024-01-02T03:04:05Z/COLOR_RED//",
                "",
                404,
                code("route_not_found"),
            ),
            ("DELETE", "/v1/things/a", "", 204, json!(null)),
            ("LOCK", "/v1/anything", "", 200, got("anything", json!({}))),
            ("PURGE", "/v1/things/a", "", 200, got("anything", json!({"name": "a"}))),
        ],
    )
    .await;
}

#[tokio::test]
async fn paths_that_lead_nowhere_or_hold_nonsense_say_so() {
    check(
        &[],
        vec![
            ("GET", "/v1/nothing", "", 404, code("route_not_found")),
            ("GET", "/v1/things/", "", 404, code("route_not_found")),
            ("GET", "/v1/things/abc/", "", 404, code("route_not_found")),
            ("GET", "/v1//things/abc", "", 404, code("route_not_found")),
            ("GET", "/v1/files/", "", 404, code("route_not_found")),
            ("GET", "/V1/things/abc", "", 404, code("route_not_found")),
            ("GET", "/v1/things/%zz", "", 400, error("invalid_field", "name")),
            ("GET", "/v1/things/%4", "", 400, error("invalid_field", "name")),
            ("GET", "/v1/things/%ff", "", 400, error("invalid_field", "name")),
            ("GET", "/v1/files/a/%ff", "", 400, error("invalid_field", "path")),
            (
                "GET",
                "/v1/kinds/x/2024-01-02T00:00:00Z/red/AA/w",
                "",
                400,
                error("invalid_field", "count"),
            ),
            ("GET", "/v1/kinds/1/yesterday/red/AA/w", "", 400, error("invalid_field", "at")),
            (
                "GET",
                "/v1/kinds/1/2024-01-02T03:04:05Z/pink/AA/w",
                "",
                400,
                error("invalid_field", "color"),
            ),
            (
                "GET",
                "/v1/kinds/1/2024-01-02T03:04:05Z/red/!/w",
                "",
                400,
                error("invalid_field", "data"),
            ),
            (
                "PUT",
                "/v1/things/abc",
                "",
                405,
                json!({"error": {
                    "code": "method_not_allowed",
                    "details": {"allow": "GET, HEAD, DELETE, PATCH, PURGE"},
                }}),
            ),
            (
                "GET",
                "/v1/things/a:archive",
                "",
                405,
                json!({"error": {"details": {"allow": "POST"}}}),
            ),
            ("HEAD", "/v1/watch/a", "", 405, json!(null)),
        ],
    )
    .await;
    let reply = send("PUT", "/v1/things/abc", &[], "").await;
    assert_eq!(reply.header("allow"), "GET, HEAD, DELETE, PATCH, PURGE");
}

#[tokio::test]
async fn head_is_get_without_a_body_and_options_tells_the_methods() {
    let get = send("GET", "/v1/things/a", &[], "").await;
    let head = send("HEAD", "/v1/things/a", &[("accept", "text/event-stream")], "").await;
    assert_eq!((head.status, head.text.as_str()), (StatusCode::OK, ""));
    assert_eq!(head.header("content-type"), "application/json");
    assert!(head.header("content-length").parse::<usize>().unwrap() >= get.text.len());
    let head = send("HEAD", "/v1/nothing", &[], "").await;
    assert_eq!((head.status.as_u16(), head.text.as_str()), (404, ""));
    let options = send("OPTIONS", "/v1/files/a", &[], "").await;
    assert_eq!(options.status, 204);
    assert_eq!(options.header("allow"), "GET, HEAD, OPTIONS");
    assert_eq!(send("OPTIONS", "/v1/nothing", &[], "").await.status, 404);
}

#[tokio::test]
async fn aliases_are_other_prefixes_with_headers_of_their_own() {
    let prefer = (HeaderName::from_static("prefer"), HeaderValue::from_static("wait=30"));
    let alias = |prefix: &str, headers| Alias {
        prefix: prefix.to_owned(),
        to: "/v1".to_owned(),
        headers,
        methods: Vec::new(),
    };
    let aliases = vec![alias("/api/v1", Vec::new()), alias("/v2", vec![prefer])];
    let options = TranscoderOptions { aliases, ..TranscoderOptions::default() };
    let transcoder = with(Prober::default(), options);
    for (target, sent, prefer) in [
        ("/api/v1/things/a%2Fb", &[][..], Value::Null),
        ("/v2/things/a%2Fb", &[], json!("wait=30")),
        ("/v2/things/a%2Fb", &[("prefer", "respond-async")], json!("respond-async")),
    ] {
        let response = transcoder.clone().oneshot(request("GET", target, sent, "")).await.unwrap();
        let reply = read(response).await;
        assert_eq!(reply.json()["probe"]["name"], "a/b", "{target}");
        assert_eq!(reply.json()["metadata"]["prefer"], prefer, "{target}");
    }
    let found = |target| transcoder.find(&mut request("GET", target, &[], ""));
    assert_eq!(found("/v2/things/a"), Some("/probe.v1.ProbeService/Get"));
    assert_eq!(found("/v20/things/a"), None);
}
