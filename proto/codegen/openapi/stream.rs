//! Streams: one schema for each server-sent event, and one for a line of JSON.

use prost_reflect::MessageDescriptor;
use serde_json::{Map, Value, json};

use super::{field::Rule, form::Form, object, schemas::Schemas};
use crate::codegen::{Failure, comments, options};

/// The schema that the joiner adds for failures.
const ERROR: &str = "#/components/schemas/Error";

/// The media types of a stream of these messages; with `array` also one JSON array.
pub fn content(
    schemas: &mut Schemas,
    message: &MessageDescriptor,
    array: bool,
) -> Result<Value, Failure> {
    let item = schemas.reference(message, &Form::Output)?;
    let name = schemas.name(message);
    let event = events(schemas, message, &item)?;
    let event = schemas.add(&format!("ServerSent{name}"), event);
    let line = json!({
        "description": "One line: a message, or the failure that ends the stream.",
        "oneOf": [
            {"type": "object", "required": ["result"], "properties": {"result": {"$ref": item}}},
            {"$ref": ERROR},
        ],
    });
    let line = schemas.add(&format!("{name}Line"), line);
    let mut content = json!({
        "text/event-stream": {"schema": {"$ref": event}, "x-stream": true},
        "application/x-ndjson": {"schema": {"$ref": line}, "x-stream": true},
    });
    if array {
        let items = json!({"type": "array", "items": {"$ref": item}});
        content["application/json"] = json!({"schema": items, "x-stream": true});
    }
    Ok(content)
}

/// The schema of one event: a choice of all that there are.
fn events(
    schemas: &mut Schemas,
    message: &MessageDescriptor,
    item: &str,
) -> Result<Value, Failure> {
    let rule = options::event(message)?;
    let oneof = rule.as_ref().and_then(|rule| message.oneofs().find(|o| o.name() == rule.data));
    let mut choices = Vec::new();
    match oneof {
        None => choices.push(event("message", item, "One message.", false)),
        Some(oneof) => {
            for field in oneof.fields() {
                let kind = field.kind();
                let data = kind.as_message().ok_or("the data of an event is a message")?;
                let data = schemas.reference(data, &Form::Output)?;
                let rule = Rule::of(&field);
                let name = if rule.event.is_empty() { field.name() } else { &rule.event };
                let comment = comments::of(&field.parent_message().parent_file(), field.path());
                choices.push(event(name, &data, &comment, rule.terminal));
            }
        }
    }
    let failure = "The stream failed; nothing follows.";
    choices.push(event("stream-error", ERROR, failure, true));
    Ok(json!({
        "description": "One server-sent event, by its name.",
        "oneOf": choices,
    }))
}

fn event(name: &str, data: &str, comment: &str, terminal: bool) -> Map<String, Value> {
    let mut schema = object([
        ("type", "object".into()),
        ("title", name.into()),
        ("description", comment.into()),
        ("required", json!(["event", "data"])),
        (
            "properties",
            json!({
                "event": {"const": name},
                "id": {"type": "string"},
                "data": {
                    "type": "string",
                    "contentMediaType": "application/json",
                    "contentSchema": {"$ref": data},
                },
            }),
        ),
    ]);
    if terminal {
        schema.insert("x-terminal".to_owned(), true.into());
    }
    schema
}
