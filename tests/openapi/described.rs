//! Answers of the server against the document that describes them. The REST door of the harness
//! asks for every answer and event of every test; stricter than the document in one thing: what it
//! does not list must not be there.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, Mutex};

use jsonschema::{Draft, Validator};
use serde_json::{Map, Value, json};

/// The document as it is served.
pub static DOCUMENT: LazyLock<Value> = LazyLock::new(|| {
    let text = runplane::gateway::openapi::document().expect("a document");
    serde_json::from_str(&text).expect("JSON")
});

/// The same with its objects closed.
static CLOSED: LazyLock<Value> = LazyLock::new(|| closed(&DOCUMENT));

static COMPILED: LazyLock<Mutex<BTreeMap<String, Arc<Validator>>>> = LazyLock::new(Mutex::default);

/// An answer to be checked.
#[derive(Debug)]
pub struct Answer<'a> {
    /// HTTP method.
    pub verb: &'a str,
    /// Path, with or without a query.
    pub target: &'a str,
    /// Status.
    pub status: u16,
    /// Content type; empty: none.
    pub kind: &'a str,
    /// Body; null: none.
    pub body: &'a Value,
}

/// Panics when the document does not foresee an answer.
pub fn check(answer: &Answer<'_>) {
    let Answer { verb, target, status, kind, body } = answer;
    let operation = operation(verb, target).unwrap_or_else(|| panic!("{verb} {target}: where?"));
    let told = format!("{} {status}", operation["operationId"]);
    let response = resolved(&operation["responses"][status.to_string()]);
    assert!(response.is_object(), "{told} is not described: {body}");
    let content = response["content"].as_object().cloned().unwrap_or_default();
    if kind.is_empty() {
        assert!(content.is_empty(), "{told} has no body");
        return;
    }
    let media = content.get(*kind).unwrap_or_else(|| panic!("{told}: {kind} is not described"));
    if !body.is_null() {
        fits(&media["schema"], body, &told);
    }
}

/// Panics when no stream may have this server-sent event.
pub fn check_event(name: &str, id: &str, data: &Value) {
    let schemas = CLOSED["components"]["schemas"].as_object().expect("schemas");
    let choices = schemas.iter().filter(|(name, _)| name.starts_with("ServerSent"));
    let mut choices = choices.flat_map(|(_, schema)| schema["oneOf"].as_array().expect("oneOf"));
    let choice = choices.find(|choice| choice["properties"]["event"]["const"] == name);
    let choice = choice.unwrap_or_else(|| panic!("the event {name} is not described: {data}"));
    let event = json!({"event": name, "id": id, "data": data.to_string()});
    fits(choice, &event, name);
    fits(&choice["properties"]["data"]["contentSchema"], data, name);
}

/// Panics when a value does not fit a schema of the document.
pub fn fits(schema: &Value, value: &Value, told: &str) {
    let validator = compiled(schema);
    let faults: Vec<String> =
        validator.iter_errors(value).map(|e| format!("{}: {e}", e.instance_path())).collect();
    assert!(faults.is_empty(), "{told}: {}\n{value}", faults.join("\n"));
}

/// The operation that a request means.
pub fn operation(verb: &str, target: &str) -> Option<&'static Value> {
    let path = target.split('?').next().unwrap_or_default();
    let means = |template: &str| {
        let (is, was): (Vec<_>, Vec<_>) =
            (path.split('/').collect(), template.split('/').collect());
        is.len() == was.len()
            && is.iter().zip(&was).all(|(is, was)| was.starts_with('{') || is == was)
    };
    let paths = CLOSED["paths"].as_object()?;
    let mut found = paths.iter().filter(|(template, _)| means(template));
    found.find_map(|(_, item)| item.get(verb.to_lowercase()))
}

/// What a reference stands for.
pub fn resolved(value: &'static Value) -> &'static Value {
    let Some(place) = value["$ref"].as_str() else { return value };
    let place = CLOSED.pointer(place.trim_start_matches('#'));
    place.unwrap_or_else(|| panic!("nothing is at {value}"))
}

fn compiled(schema: &Value) -> Arc<Validator> {
    let mut all = COMPILED.lock().expect("no test broke it");
    let known = all.entry(schema.to_string()).or_insert_with(|| {
        let whole = json!({"allOf": [schema], "components": CLOSED["components"]});
        let options = jsonschema::options().with_draft(Draft::Draft202012);
        let options = options.should_validate_formats(true);
        Arc::new(options.build(&whole).expect("a schema"))
    });
    Arc::clone(known)
}

/// The value with every object of a schema closed to members that it does not name.
fn closed(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(closed).collect(),
        Value::Object(members) => {
            let mut all: Map<_, _> =
                members.iter().map(|(name, value)| (name.clone(), closed(value))).collect();
            let object = members.get("type").is_some_and(|kind| kind == "object");
            if object && members.contains_key("properties") {
                all.entry("additionalProperties").or_insert(Value::Bool(false));
            }
            all.into()
        }
        other => other.clone(),
    }
}
