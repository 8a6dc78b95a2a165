//! What the generator refuses: a rule that cannot be routed, bound or told from another fails the
//! build with its name.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::fs;

use crate::codegen::{Set, Style, generate};

/// Generates for a service with these methods; the answer is the failure.
fn failure(methods: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let source = format!(
        r#"syntax = "proto3";
        package bad.v1;
        import "google/api/annotations.proto";
        import "google/protobuf/struct.proto";
        import "transcode/v1/options.proto";
        message In {{
          string id = 1;
          repeated string tags = 2;
          map<string, string> labels = 3;
          In inner = 4;
          oneof choice {{ string word = 5; In branch = 6; }}
          google.protobuf.Struct object = 7;
        }}
        message Event {{
          option (transcode.v1.event) = {{id: "id", type: "id", data: "data"}};
          string id = 1;
          oneof data {{ string text = 2; }}
        }}
        service Bad {{ {methods} }}"#
    );
    fs::write(folder.path().join("bad.proto"), source).unwrap();
    let root = folder.path().to_str().unwrap();
    let set = Set {
        folders: &[root],
        files: &[],
        includes: &[root, "proto"],
        out_dir: folder.path().join("out"),
        runtime: "crate",
        root: "crate",
        style: Style::HOUSE,
        scopes_required: false,
    };
    generate(&set).map_or_else(|failure| failure.to_string(), |()| String::new())
}

/// A method with a rule and options.
fn method(rule: &str, options: &str) -> String {
    format!(
        "rpc Call(In) returns (In) {{ option (google.api.http) = {{ {rule} }}; \
         option (transcode.v1.method) = {{ {options} }}; }}"
    )
}

#[test]
fn what_is_right_is_generated() {
    assert_eq!(failure(&method("get: \"/v1/{id}/{inner.id}\"", "status: 201")), "");
}

#[test]
fn a_rule_that_cannot_be_is_refused_by_name() {
    for (rule, options, why) in [
        ("get: \"v1\"", "", "begins with a slash"),
        ("get: \"/v1//a\"", "", "a segment is empty"),
        ("get: \"/v1/a-{id}\"", "", "a segment is a text, a star, or a variable"),
        ("get: \"/v1/{id}-a\"", "", "a variable is a whole segment"),
        ("get: \"/v1/{id=**}/{inner.id=**}\"", "", "at most one **"),
        ("get: \"/v1/{nope}\"", "", "In has no field nope"),
        ("get: \"/v1/{id.x}\"", "", "id has no fields"),
        ("get: \"/v1/{tags}\"", "", "tags is repeated"),
        ("get: \"/v1/{labels}\"", "", "labels is repeated"),
        ("get: \"/v1/{inner.tags}\"", "", "tags is repeated"),
        ("get: \"/v1/{inner}\"", "", "a kind that a path cannot hold"),
        ("get: \"/v1/{object}\"", "", "a kind that a path cannot hold"),
        ("get: \"/v1/{branch.id}\"", "", "branch has no fields"),
        ("get: \"/v1/{id}/{id}\"", "", "two variables set the same field"),
        ("post: \"/v1\" body: \"nope\"", "", "In has no field nope"),
        ("get: \"/v1\" response_body: \"nope\"", "", "In has no field nope"),
        ("get: \"/v1/{id}\" additional_bindings { get: \"/v1/*\" }", "", "cannot be told from"),
        (
            "get: \"/\" additional_bindings { get: \"/a\" additional_bindings { get: \"/b\" } }",
            "",
            "additional_bindings within additional_bindings",
        ),
        ("body: \"*\"", "", "a rule without a pattern"),
        ("get: \"/v1/{id=}\"", "", "a segment is empty"),
        ("get: \"/v1/{id=a/{inner.id}}\"", "", "a segment is a text, a star, or a variable"),
        ("get: \"/v1/a*\"", "", "a segment is a text, a star, or a variable"),
        ("get: \"/v1/{=*}\"", "", "no field"),
        ("post: \"/v1\" body: \"*\"", "mask_field: \"object\"", "object is not a FieldMask field"),
        ("get: \"/v1\"", "pending_until: \"word\"", "names a field in a oneof"),
        ("get: \"/v1\"", "pending_until: \"nope\"", "nope is not a field of the answer"),
        ("get: \"/v1\"", "stream_method: \"Nope\"", "stream_method Nope"),
        ("get: \"/v1\"", "status: 404", "status 404 is no success"),
    ] {
        let failure = failure(&method(rule, options));
        assert!(failure.contains("bad.v1.Bad"), "{rule} {options}: {failure}");
        assert!(failure.contains(why), "{rule} {options}: {failure}");
    }
}

#[test]
fn tags_are_fields_that_can_be_tags() {
    let get = "get: \"/v1/{id}\"";
    assert_eq!(failure(&method(get, "etag: \"id\" if_match_field: \"tags\"")), "");
    assert_eq!(failure(&method(get, "etag: \"*\"")), "");
    for (options, why) in [
        ("etag: \"nope\"", "nope is not a string field"),
        ("etag: \"tags\"", "tags is not a string field"),
        ("etag: \"word\"", "word is not a string field"),
        ("etag: \"inner\"", "inner is not a string field"),
        ("if_match_field: \"id\"", "id is not a repeated string"),
        ("if_match_field: \"nope\"", "nope is not a repeated string"),
    ] {
        let failure = failure(&method(get, options));
        assert!(failure.contains("bad.v1.Bad") && failure.contains(why), "{options}: {failure}");
    }
}

#[test]
fn what_is_deprecated_says_since_when() {
    let old = |options: &str, deprecation: &str| {
        failure(&format!(
            "rpc Call(In) returns (In) {{ {options} option (google.api.http) = {{ get: \"/v1\" }}; \
             option (transcode.v1.method) = {{ {deprecation} }}; }}"
        ))
    };
    let yes = "option deprecated = true;";
    let since = |since: &str, more: &str| format!("deprecation: {{since: \"{since}\" {more}}}");
    assert_eq!(old(yes, &since("2024-02-29", "sunset: \"2024-02-29\"")), "");
    for (options, deprecation, why) in [
        (yes, String::new(), "deprecated, without"),
        ("", since("2026-01-31", ""), "of what is not deprecated"),
        (yes, since("", ""), "is no day"),
        (yes, since("2026-02-29", ""), "is no day"),
        (yes, since("2026-1-31", ""), "is no day"),
        (yes, since("2026-13-01", ""), "is no day"),
        (yes, since("2026-01-31", "sunset: \"soon\""), "is no day"),
        (yes, since("2026-01-31", "sunset: \"2026-01-30\""), "is before since"),
        (yes, since("2026-01-31", "link: \"http://x\""), "is no https URL"),
    ] {
        let failure = old(options, &deprecation);
        assert!(failure.contains("bad.v1.Bad") && failure.contains(why), "{failure}");
    }
}

#[test]
fn streams_are_checked_too() {
    let http = "option (google.api.http) = {get: \"/v1\"};";
    let taking = failure(&format!("rpc Call(stream In) returns (In) {{ {http} }}"));
    assert!(taking.contains("takes a stream needs a body"), "{taking}");
    let rule = "option (google.api.http) = {post: \"/v1\" body: \"*\"};";
    let twin = failure(&format!(
        "rpc Call(stream In) returns (In) {{ {rule} {} }} rpc Twin(In) returns (stream In) {{}}",
        "option (transcode.v1.method) = {stream_method: \"Twin\"};"
    ));
    assert!(twin.contains("a method that takes a stream has no stream_method"), "{twin}");
    let scoped = |scope| format!("option (transcode.v1.method) = {{ {scope} }};");
    let twins = failure(&format!(
        "rpc Call(In) returns (In) {{ {http} {} }} rpc Twin(In) returns (stream In) {{ {} }}",
        scoped("scope: \"read\" stream_method: \"Twin\""),
        scoped("scope: \"run\"")
    ));
    assert!(twins.contains("its scope is not that of its stream"), "{twins}");
    let event = failure(&format!("rpc Call(In) returns (stream Event) {{ {http} }}"));
    assert!(event.contains("the data of an event is a message"), "{event}");
}
