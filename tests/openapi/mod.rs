//! The description of the REST API: that it is right in itself, that it is what the rules and the
//! table of failures say, and that what it promises is so. `described.rs` checks every REST answer
//! of all tests against it; `schemathesis`, beside this, makes requests of its own.

#![expect(clippy::unwrap_used, reason = "tests")]

pub mod described;
mod generated;
mod page;
mod promises;

use std::collections::BTreeSet;

use runplane::gateway::rest::table::Segment;
use runplane::kernel::error::{Reason, TABLE};
use runplane::proto::rest::{RULES, method};
use serde_json::Value;

use described::{DOCUMENT, operation, resolved};

/// Every operation with its method and path.
pub fn operations() -> Vec<(&'static str, &'static str, &'static Value)> {
    let paths = DOCUMENT["paths"].as_object().unwrap();
    let pairs = paths.iter().flat_map(|(path, item)| {
        let item = item.as_object().unwrap();
        item.iter().map(move |(verb, operation)| (verb.as_str(), path.as_str(), operation))
    });
    pairs.collect()
}

#[test]
fn the_committed_copy_is_what_the_program_prints() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/openapi.json");
    let kept = std::fs::read_to_string(path).unwrap_or_default();
    let printed = runplane::gateway::openapi::document().unwrap();
    assert!(kept == printed, "docs/openapi.json is out of date; refresh it by: just openapi");
}

#[test]
fn every_rule_has_one_operation_with_its_method_and_scope() {
    let mut described: Vec<_> = operations()
        .into_iter()
        .map(|(verb, path, operation)| {
            let grpc = operation["x-grpc-method"].as_str().unwrap();
            assert_eq!(
                operation["x-required-scope"].as_str(),
                method(grpc).map(|method| method.scope),
                "{path}"
            );
            (verb.to_uppercase(), starred(path), grpc.to_owned())
        })
        .collect();
    let rules = RULES.iter().map(|rule| {
        let segments = rule.segments.iter().map(|segment| match segment {
            Segment::Literal(text) => format!("/{text}"),
            Segment::One | Segment::Many => "/*".to_owned(),
        });
        (rule.http.to_owned(), segments.collect::<String>(), rule.grpc.to_owned())
    });
    let mut rules: Vec<_> = rules.collect();
    described.sort();
    rules.sort();
    assert_eq!(described, rules);
    let paths = DOCUMENT["paths"].as_object().unwrap().keys();
    let mut stars: Vec<_> = paths.map(|path| starred(path)).collect();
    let all = stars.len();
    stars.sort();
    stars.dedup();
    assert_eq!(stars.len(), all, "two paths differ in the names of their parameters only");
}

#[test]
fn names_of_operations_are_unique_and_short() {
    let mut seen = BTreeSet::new();
    for (_, path, operation) in operations() {
        let id = operation["operationId"].as_str().unwrap();
        assert!(seen.insert(id), "{path}: {id} is there twice");
        assert!(id.len() <= 40 && id.contains('_'), "{id}");
    }
}

#[test]
fn every_reference_leads_somewhere() {
    let mut places = BTreeSet::new();
    references(&DOCUMENT, &mut places);
    assert!(places.len() > 50, "only {} references", places.len());
    for place in &places {
        let found = DOCUMENT.pointer(place.trim_start_matches('#'));
        assert!(found.is_some_and(|value| !value.is_null()), "nothing is at {place}");
    }
    for part in ["schemas", "responses", "headers", "examples"] {
        for name in DOCUMENT["components"][part].as_object().unwrap().keys() {
            let place = format!("#/components/{part}/{name}");
            let used = places.contains(&place) || part == "examples";
            assert!(used, "nothing refers to {place}");
        }
    }
}

#[test]
fn failures_are_those_of_the_table() {
    let codes = &DOCUMENT["components"]["schemas"]["Error"]["properties"]["error"]["properties"];
    let codes: Vec<_> = texts(&codes["code"]["enum"]);
    assert_eq!(codes, TABLE.iter().map(|row| row.code).collect::<Vec<_>>());
    let mut given = BTreeSet::new();
    for (verb, path, _) in operations() {
        let described = operation(verb, path).unwrap()["responses"].as_object().unwrap();
        for (status, response) in described.iter().filter(|(status, _)| *status >= &"4".to_owned())
        {
            let media = &resolved(response)["content"]["application/json"];
            let narrow = &media["schema"]["allOf"][1]["properties"]["error"]["properties"]["code"];
            for code in texts(&narrow["enum"]) {
                assert_eq!(Reason::parse(code).unwrap().row().http.to_string(), *status, "{path}");
                given.insert(code.to_owned());
                assert!(media["examples"][code].is_object(), "{path} {status} {code}");
            }
        }
        for status in ["400", "406", "500", "503", "504"] {
            assert!(described.contains_key(status), "{verb} {path}: {status}");
        }
        let takes_body = operation(verb, path).unwrap().get("requestBody").is_some();
        for status in ["413", "415"] {
            assert_eq!(described.contains_key(status), takes_body, "{verb} {path}: {status}");
        }
    }
    for code in ["version_conflict", "run_not_cancellable", "environment_mismatch"] {
        assert!(given.contains(code), "no method has {code}");
    }
}

#[test]
fn every_operation_reads_well() {
    for (verb, path, operation) in operations() {
        let summary = operation["summary"].as_str().unwrap();
        assert!(!summary.is_empty() && !summary.contains('\n'), "{verb} {path}: {summary:?}");
        let text = operation["description"].as_str().unwrap();
        assert!(text.contains("Needs a key with the scope"), "{verb} {path}: {text}");
        assert!(!text.contains("buf:lint"), "{verb} {path}: {text}");
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            assert!(parameter["description"].is_string(), "{verb} {path}: {parameter}");
        }
    }
    let schemas = DOCUMENT["components"]["schemas"].as_object().unwrap();
    for (name, schema) in schemas {
        assert!(schema["description"].is_string(), "{name} has no description");
        for (field, of) in schema["properties"].as_object().into_iter().flatten() {
            let told = of["description"].is_string() || name == "Error";
            assert!(told, "{name}.{field} has no description");
        }
    }
}

/// `/v1/*` for `/v1/{id}`.
fn starred(path: &str) -> String {
    let segments = path.split('/').map(|part| if part.starts_with('{') { "*" } else { part });
    segments.collect::<Vec<_>>().join("/")
}

fn references(value: &Value, places: &mut BTreeSet<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| references(item, places)),
        Value::Object(members) => {
            if let Some(place) = members.get("$ref").and_then(Value::as_str) {
                places.insert(place.to_owned());
            }
            members.values().for_each(|member| references(member, places));
        }
        _ => (),
    }
}

fn texts(list: &Value) -> Vec<&str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}
