//! One operation for one rule: its names, its parameters, its body and what it answers when all
//! goes well.

use prost_reflect::{FieldDescriptor, MessageDescriptor};
use serde_json::{Map, Value, json};

use super::{
    describe, field,
    form::{Form, removed},
    object, parameters, parsed,
    schemas::{Schemas, message_option},
    short, stream, twin,
};
use crate::codegen::{
    Failure,
    options::{self, Service},
    rest::rules::{Answer, Body, Rule},
};

/// The path of a rule and its operation.
pub fn of(
    service: &Service,
    rule: &Rule,
    schemas: &mut Schemas,
) -> Result<(String, Value), Failure> {
    let mut operation = Map::new();
    describe(&mut operation, &rule.method.comment);
    operation.insert("operationId".to_owned(), id(service, rule).into());
    operation.insert("tags".to_owned(), json!([short(service)]));
    operation.insert("x-grpc-method".to_owned(), rule.method.grpc_path.clone().into());
    if !rule.method.rule.scope.is_empty() {
        operation.insert("x-required-scope".to_owned(), rule.method.rule.scope.clone().into());
        let main = rule.method.http_rules.first();
        if main.is_some_and(|main| main.verb != "GET") {
            operation.insert("x-changes".to_owned(), true.into());
        }
    }
    if rule.method.rule.deprecation.is_some() {
        operation.insert("deprecated".to_owned(), true.into());
    }
    if !rule.method.rule.errors.is_empty() {
        operation.insert("x-errors".to_owned(), rule.method.rule.errors.clone().into());
    }
    let (path, mut all) = parameters::path(schemas, rule)?;
    all.extend(parameters::query(schemas, rule)?);
    all.extend(parameters::conditions(rule));
    if !all.is_empty() {
        operation.insert("parameters".to_owned(), all.into());
    }
    if let Some(body) = body(rule, schemas)? {
        operation.insert("requestBody".to_owned(), body.into());
    }
    let mut responses = responses(service, rule, schemas)?;
    tag(rule, &mut responses);
    operation.insert("responses".to_owned(), responses.into());
    Ok((path, operation.into()))
}

/// The entity tag of an answer, and the answer to a caller that has it already.
fn tag(rule: &Rule, responses: &mut Map<String, Value>) {
    if rule.method.rule.etag.is_empty() {
        return;
    }
    let tag = json!({"description": "Entity tag of the answer.", "schema": {"type": "string"}});
    for response in responses.values_mut() {
        response["headers"] = json!({ "ETag": tag });
    }
    if rule.http.verb == "GET" {
        let same = json!({"description": "The caller has it already.", "headers": {"ETag": tag}});
        responses.insert("304".to_owned(), same);
    }
}

/// `Service_Method`, with a number for each rule of the method after the first.
fn id(service: &Service, rule: &Rule) -> String {
    let rules = &rule.method.http_rules;
    let place = rules.iter().position(|other| std::ptr::eq(other, rule.http)).unwrap_or_default();
    let number = if place == 0 { String::new() } else { format!("_{}", place + 1) };
    format!("{}_{}{number}", short(service), rule.method.name)
}

fn body(rule: &Rule, schemas: &mut Schemas) -> Result<Option<Map<String, Value>>, Failure> {
    let input = &rule.method.input;
    match &rule.body {
        Body::Nowhere => Ok(None),
        body if body.is_raw(input) => Ok(Some(raw())),
        Body::Whole => {
            let form = Form::Body(removed(rule));
            let schema = object([("$ref", schemas.reference(input, &form)?.into())]);
            let open = |field: &FieldDescriptor| super::form::shown(field, &form);
            let needed = input.fields().any(|f| open(&f) && options::is_required(&f));
            if rule.method.client_streaming {
                return Ok(Some(lines(schema)));
            }
            Ok(Some(json_body(schema, needed, example(input, &removed(rule))?)))
        }
        Body::Field(field) => {
            let message = field.kind().as_message().cloned().filter(|_| !field.is_list());
            let patch = rule.http.verb == "PATCH" && !rule.method.rule.mask_field.is_empty();
            let form = if patch { Form::Patch } else { Form::Input };
            let schema = field::schema(schemas, field, &form)?;
            if rule.method.client_streaming {
                return Ok(Some(lines(schema)));
            }
            let example = message.map(|message| example(&message, &[])).transpose()?;
            Ok(Some(json_body(schema, options::is_required(field), example.flatten())))
        }
    }
}

fn json_body(
    schema: Map<String, Value>,
    required: bool,
    example: Option<Value>,
) -> Map<String, Value> {
    let mut media = object([("schema", schema.into())]);
    if let Some(example) = example {
        media.insert("example".to_owned(), example);
    }
    let content = object([("application/json", media.into())]);
    object([("required", required.into()), ("content", content.into())])
}

/// A body of any kind, passed on as it is.
fn raw() -> Map<String, Value> {
    object([("required", false.into()), ("content", json!({"*/*": {}}))])
}

/// A body of many messages, one a line.
fn lines(schema: Map<String, Value>) -> Map<String, Value> {
    let media = json!({"schema": schema, "x-stream": true});
    let content = object([("application/x-ndjson", media)]);
    object([("required", false.into()), ("content", content.into())])
}

/// The message's example without the fields that the path sets.
fn example(message: &MessageDescriptor, removed: &[String]) -> Result<Option<Value>, Failure> {
    let text = message_option(message, "example");
    if text.is_empty() {
        return Ok(None);
    }
    let mut example = parsed(&text, message.full_name())?;
    if let Value::Object(members) = &mut example {
        removed.iter().for_each(|name| drop(members.remove(name)));
    }
    Ok(Some(example))
}

/// The answers of a success.
fn responses(
    service: &Service,
    rule: &Rule,
    schemas: &mut Schemas,
) -> Result<Map<String, Value>, Failure> {
    let method = rule.method;
    let mut responses = Map::new();
    if method.server_streaming {
        let content = match rule.answers_raw() {
            true => json!({"*/*": {}}),
            false => stream::content(schemas, &method.output, true)?,
        };
        responses.insert("200".to_owned(), response("The stream.", content));
        return Ok(responses);
    }
    if method.rule.status == 204 {
        responses.insert("204".to_owned(), json!({"description": "Done."}));
        return Ok(responses);
    }
    let content = answer(rule, schemas)?;
    if !method.rule.pending_until.is_empty() {
        let field = &method.rule.pending_until;
        let text = format!("Accepted: the work goes on until `{field}` is set.");
        responses.insert("202".to_owned(), response(&text, content.clone()));
    }
    let said = match method.rule.status {
        201 => "Created.",
        202 => "Accepted: the work goes on.",
        _ => "Done.",
    };
    responses.insert(method.rule.status.to_string(), response(said, content));
    if let Some(twin) = twin(service, method) {
        let streamed = stream::content(schemas, &twin.output, false)?;
        let ok = responses.entry("200").or_insert_with(|| response("The stream.", json!({})));
        if let (Some(Value::Object(all)), Value::Object(more)) = (ok.get_mut("content"), streamed) {
            all.extend(more);
        }
    }
    Ok(responses)
}

fn answer(rule: &Rule, schemas: &mut Schemas) -> Result<Value, Failure> {
    if rule.answers_raw() {
        return Ok(json!({"*/*": {}}));
    }
    let output = &rule.method.output;
    let schema = match &rule.answer {
        Answer::Field(field) => field::schema(schemas, field, &Form::Output)?,
        Answer::Whole if output.package_name() == "google.protobuf" => field::known(output)?,
        Answer::Whole => object([("$ref", schemas.reference(output, &Form::Output)?.into())]),
    };
    Ok(json!({"application/json": {"schema": schema}}))
}

fn response(description: &str, content: Value) -> Value {
    json!({"description": description, "content": content})
}
