//! A value of the wrong type in every field of every body, and a bad word in every query, read from
//! the contract: a new field or method is covered on the day it is written.

use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor, MethodDescriptor};
use serde_json::{Value, json};

use super::{Ask, Site};
use crate::harness::contract::pool;
use crate::harness::rest::http_rule;

/// Levels of messages within each other that are walked.
const DEPTH_MAX: usize = 5;

/// A body that is wrong in one place: the body, the code and the field.
type Wrong = (Value, &'static str, String);

/// All methods of the contract that have a route: the method, the request line with the site's ids,
/// and the name of the field that is the body.
fn routes() -> Vec<(MethodDescriptor, String, String)> {
    let services = pool().services().filter(|s| s.package_name() == "runplane.v1");
    let methods: Vec<_> = services.flat_map(|s| s.methods().collect::<Vec<_>>()).collect();
    assert!(methods.len() >= 25, "the contract was not found");
    let routed = methods.into_iter().filter_map(|method| {
        let rule = http_rule(&method)?;
        let text =
            |name: &str| rule.get_field_by_name(name).and_then(|v| v.as_str().map(str::to_owned));
        let verbs = ["get", "put", "post", "delete", "patch"];
        let verb = verbs.into_iter().find(|verb| rule.has_field_by_name(verb))?;
        let path = text(verb)?;
        let own = ["AGENT", "RUN", "KEY"]
            .into_iter()
            .find(|name| path.to_uppercase().contains(&format!("/{name}S")))?;
        let path = path.replace("{id}", own).replace("{agent_id}", "AGENT");
        let path = path.replace("{run_id}", "RUN").replace("{version}", "1");
        assert!(!path.contains('{'), "{path} has a variable that this test does not know");
        let line = format!("{} {path}", verb.to_uppercase());
        Some((method, line, text("body").unwrap_or_default()))
    });
    routed.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_wrong_type_is_refused_in_every_field_of_every_body() {
    let site = Site::new().await;
    let mut count = 0;
    for (method, line, body) in routes() {
        let input = method.input();
        let message = match body.as_str() {
            "" => continue,
            "*" => input,
            field => message_of(&input.get_field_by_name(field).expect("the body")),
        };
        let mut wrong = Vec::new();
        walk(&message, &mut |value| value, "", DEPTH_MAX, &mut wrong);
        // A field of the path may not be in the body; it is tried all the same.
        let asks: Vec<_> = wrong
            .iter()
            .map(|(body, code, field)| {
                let body = body.to_string().into_bytes();
                (Ask { line: line.clone(), body, ..Ask::default() }, *code, field.as_str())
            })
            .collect();
        count += asks.len();
        site.refuses_all(&asks).await;
    }
    assert!(count > 500, "only {count} bodies");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_bad_word_is_refused_in_every_query() {
    let site = Site::new().await;
    let mut asks = Vec::new();
    for (method, line, body) in routes() {
        let ask = |query: String| Ask { line: format!("{line}?{query}"), ..Ask::default() };
        asks.push((ask("nosuch=1".to_owned()), "unknown_field", "nosuch".to_owned()));
        asks.push((ask("a.b=1".to_owned()), "unknown_field", "a.b".to_owned()));
        if !body.is_empty() {
            continue;
        }
        let path: Vec<_> = line.split('/').collect();
        for field in method.input().fields() {
            let bound = ["id", "agent_id", "run_id", "version"].contains(&field.name());
            if bound && path.iter().any(|part| ["AGENT", "RUN", "KEY"].contains(part)) {
                continue;
            }
            for word in bad_words(&field) {
                let name = field.name().to_owned();
                asks.push((ask(format!("{name}={word}")), "invalid_field", name));
            }
        }
    }
    assert!(asks.len() > 60, "only {} queries", asks.len());
    let asks: Vec<_> = asks.iter().map(|(ask, code, f)| (ask.clone(), *code, f.as_str())).collect();
    site.refuses_all(&asks).await;
}

/// Words that a field of a query cannot take; none for texts.
fn bad_words(field: &FieldDescriptor) -> Vec<&'static str> {
    match field.kind() {
        Kind::Int32 => vec!["x", "", "1.5", "2147483648", "0x10", "%201"],
        Kind::Bool => vec!["yes", "", "1", "True"],
        Kind::Double => vec!["x", "", "1e999"],
        Kind::Enum(_) => vec!["nonsense", "", "ASCENDING"],
        Kind::Message(m) if m.full_name() == "google.protobuf.Timestamp" => {
            vec!["yesterday", "", "2026-02-30T00:00:00Z", "1700000000", "2026-01-01"]
        }
        _ => Vec::new(),
    }
}

/// Bodies that are wrong in one field of a message, which `wrap` puts into the whole body.
fn walk(
    message: &MessageDescriptor,
    wrap: &mut dyn FnMut(Value) -> Value,
    path: &str,
    depth: usize,
    wrong: &mut Vec<Wrong>,
) {
    let dot = if path.is_empty() { "" } else { "." };
    wrong.push((wrap(json!({"nosuch": 1})), "unknown_field", format!("{path}{dot}nosuch")));
    for field in message.fields() {
        let path = format!("{path}{dot}{}", field.name());
        let mut put = |value: Value| wrap(json!({ field.name(): value }));
        if field.is_map() {
            for value in [json!([]), json!("x"), json!(5)] {
                wrong.push((put(value), "invalid_field", path.clone()));
            }
            for value in [json!(5), json!({}), json!(null)] {
                wrong.push((put(json!({ "k": value })), "invalid_field", format!("{path}.k")));
            }
        } else if field.is_list() {
            for value in [json!({}), json!("x"), json!(5)] {
                wrong.push((put(value), "invalid_field", path.clone()));
            }
            one(&field, &mut |value| put(json!([value])), &format!("{path}[0]"), depth, wrong);
        } else {
            one(&field, &mut put, &path, depth, wrong);
        }
    }
}

fn one(
    field: &FieldDescriptor,
    put: &mut dyn FnMut(Value) -> Value,
    path: &str,
    depth: usize,
    wrong: &mut Vec<Wrong>,
) {
    for value in misfits(&field.kind()) {
        wrong.push((put(value), "invalid_field", path.to_owned()));
    }
    if let Kind::Message(message) = field.kind()
        && message.package_name() != "google.protobuf"
        && depth > 0
    {
        walk(&message, put, path, depth - 1, wrong);
    }
}

fn misfits(kind: &Kind) -> Vec<Value> {
    match kind {
        Kind::String => vec![json!(5), json!(true), json!({}), json!([])],
        Kind::Int32 => {
            let all = [json!("x"), json!(1.5), json!(2_147_483_648_u32), json!(true), json!({})];
            all.into()
        }
        Kind::Double => vec![json!("x"), json!(true), json!({}), json!([])],
        Kind::Bool => vec![json!(1), json!("true"), json!({}), json!([])],
        Kind::Enum(_) => vec![json!("nonsense"), json!(""), json!(1.5), json!(true), json!({})],
        Kind::Message(message) => match message.full_name() {
            "google.protobuf.Value" => Vec::new(),
            "google.protobuf.Timestamp" => vec![json!("yesterday"), json!(5), json!({})],
            _ => vec![json!(5), json!("x"), json!([])],
        },
        other => panic!("the contract has a field of the kind {other:?}: say what does not fit"),
    }
}

fn message_of(field: &FieldDescriptor) -> MessageDescriptor {
    match field.kind() {
        Kind::Message(message) => message,
        other => panic!("the body {} is {other:?}", field.name()),
    }
}
