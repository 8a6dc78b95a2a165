//! The OpenAPI part of the generator: from the same rules and descriptors as the REST code to a
//! description of it. Called by `codegen::generate`; writes `openapi.json`, a document with paths,
//! tags and schemas but without what only an API knows of itself: title, failures, keys. Whoever
//! serves the document joins those.
//!
//! An operation says in extensions what the joiner needs: `x-required-scope`, `x-changes`,
//! `x-errors` (codes of the method's own failures) and `x-grpc-method`. Streams refer to a schema
//! `Error` that the joiner adds.

mod field;
mod form;
mod operation;
mod parameters;
mod schemas;
mod stream;

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{
    Failure, Model, comments,
    options::{Method, Service},
    rest::rules::{self, Rule},
};
use schemas::Schemas;

/// The document of a set, with sorted names.
pub fn generate(model: &Model) -> Result<String, Failure> {
    let rules = rules::read(&model.services)?;
    let mut schemas = Schemas::new(model, &rules)?;
    let mut paths: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    for rule in &rules {
        let service = &model.services[rule.service];
        let (path, operation) = operation::of(service, rule, &mut schemas).map_err(|failure| {
            let (verb, template) = (&rule.http.verb, &rule.http.template);
            format!("method {}: {verb} {template}: {failure}", rule.method.grpc_path)
        })?;
        // OpenAPI has no word for a custom HTTP method.
        let verb = rule.http.verb.to_lowercase();
        if ["get", "put", "post", "delete", "patch"].contains(&verb.as_str()) {
            paths.entry(path).or_default().insert(verb, operation);
        }
    }
    let mut document = json!({
        "openapi": "3.1.1",
        "paths": paths,
        "tags": tags(model, &rules),
        "components": {"schemas": schemas.finish()?},
    });
    document.sort_all_objects();
    Ok(format!("{document:#}\n"))
}

/// Name of a service without its package and suffix.
fn short(service: &Service) -> &str {
    let name = service.name.rsplit('.').next().unwrap_or_default();
    name.strip_suffix("Service").filter(|short| !short.is_empty()).unwrap_or(name)
}

/// The streaming method that takes over when a caller asks for a stream.
fn twin<'a>(service: &'a Service, method: &Method) -> Option<&'a Method> {
    let name = &method.rule.stream_method;
    service.methods.iter().find(|twin| !name.is_empty() && twin.name == *name)
}

fn tags(model: &Model, rules: &[Rule]) -> Vec<Value> {
    let used = model.services.iter().enumerate();
    let used = used.filter(|(index, _)| rules.iter().any(|rule| rule.service == *index));
    let mut used: Vec<&Service> = used.map(|(_, service)| service).collect();
    used.sort_by_key(|service| short(service));
    let tag = |service: &&Service| json!({"name": short(service), "description": service.comment});
    used.iter().map(tag).collect()
}

/// The first sentence of a comment as summary, all of it as description.
fn describe(into: &mut Map<String, Value>, comment: &str) {
    // A summary is plain text.
    let summary = comments::first_sentence(comment).replace('`', "");
    into.insert("summary".to_owned(), summary.into());
    into.insert("description".to_owned(), comment.into());
}

/// Adds the members of an object to another, objects within objects too; the new ones win.
fn merge(into: &mut Map<String, Value>, from: Map<String, Value>) {
    for (name, value) in from {
        match (into.get_mut(&name), value) {
            (Some(Value::Object(old)), Value::Object(new)) => merge(old, new),
            (_, value) => {
                into.insert(name, value);
            }
        }
    }
}

/// The JSON in an option.
fn parsed(text: &str, option: &str) -> Result<Value, Failure> {
    serde_json::from_str(text).map_err(|error| format!("{option}: {error}: {text}").into())
}

/// A JSON object from pairs.
fn object<const N: usize>(pairs: [(&str, Value); N]) -> Map<String, Value> {
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}
