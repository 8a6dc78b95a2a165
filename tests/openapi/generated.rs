//! What the generator says of the probe, which has every kind of rule: templates, bodies, bytes and
//! streams.

use serde_json::{Value, json};

fn probe() -> Value {
    let text = include_str!(concat!(env!("OUT_DIR"), "/probe/openapi.json"));
    serde_json::from_str(text).unwrap()
}

/// Names of an operation's parameters in a place.
fn names(operation: &Value, place: &str) -> Vec<String> {
    let all = operation["parameters"].as_array().into_iter().flatten();
    let all = all.filter(|parameter| parameter["in"] == place);
    all.map(|parameter| parameter["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_template_has_a_parameter_for_each_star() {
    let document = probe();
    let book = &document["paths"]["/v1/shelves/{parent}/books/{parent_1}"]["get"];
    assert_eq!(names(book, "path"), ["parent", "parent_1"]);
    assert!(!names(book, "query").contains(&"parent".to_owned()));
    let file = &document["paths"]["/v1/files/{path}"]["get"];
    assert_eq!(file["parameters"][0]["x-multi-segment"], true);
    let nested = &document["paths"]["/v1/nested/{nested.display_name}"]["get"];
    assert_eq!(names(nested, "path"), ["nested.display_name"]);
    let query = names(nested, "query");
    assert!(!query.contains(&"nested.display_name".to_owned()), "{query:?}");
    assert!(query.iter().any(|name| name.starts_with("nested.")), "{query:?}");
    assert!(document["paths"]["/v1/things/{name}:archive"]["post"].is_object());
}

#[test]
fn further_bindings_have_operations_of_their_own() {
    let document = probe();
    let (first, second) = (&document["paths"]["/v1/ask"]["post"], &document["paths"]["/v1/ask"]);
    assert_eq!(first["operationId"], "Probe_Ask");
    assert_eq!(second["get"]["operationId"], "Probe_Ask_2");
}

#[test]
fn bodies_are_what_the_rule_says() {
    let document = probe();
    let media = |verb: &str, path: &str, kind: &str| {
        document["paths"][path][verb]["requestBody"]["content"][kind].clone()
    };
    let whole = media("post", "/v1/things", "application/json")["schema"]["$ref"].clone();
    assert_eq!(whole, "#/components/schemas/ProbeBody");
    let tags = media("put", "/v1/tags", "application/json")["schema"].clone();
    assert_eq!((&tags["type"], &tags["items"]["type"]), (&json!("array"), &json!("string")));
    assert!(media("put", "/v1/blobs/{name}", "*/*").is_object(), "bytes of any type");
    assert_eq!(media("post", "/v1/uploads", "application/x-ndjson")["x-stream"], true);
    assert!(document["paths"]["/v1/things/{name}"]["get"].get("requestBody").is_none());
}

#[test]
fn answers_are_what_the_rule_says() {
    let document = probe();
    let answers = |verb: &str, path: &str| document["paths"][path][verb]["responses"].clone();
    assert!(answers("delete", "/v1/things/{name}")["204"].get("content").is_none());
    assert!(answers("get", "/v1/blobs/{name}")["200"]["content"]["*/*"].is_object());
    let watch = answers("get", "/v1/watch/{name}")["200"]["content"].clone();
    for kind in ["application/json", "application/x-ndjson", "text/event-stream"] {
        assert!(watch[kind]["schema"].is_object(), "{kind}");
    }
    let work = answers("post", "/v1/work");
    assert!(work["201"].is_object() && work["202"].is_object(), "{work}");
    let labels = &answers("get", "/v1/members/labels")["200"]["content"]["application/json"];
    assert_eq!(labels["schema"]["additionalProperties"]["type"], "string");
}

#[test]
fn the_standard_style_has_its_own_words() {
    let text = include_str!(concat!(env!("OUT_DIR"), "/standard/openapi.json"));
    let document: Value = serde_json::from_str(text).unwrap();
    let probe = &document["components"]["schemas"]["Probe"];
    let names = probe["properties"].as_object().unwrap();
    assert!(names.keys().all(|name| !name.contains('_')), "{:?}", names.keys());
    assert_eq!(probe.get("required"), None, "defaults are left out");
}
