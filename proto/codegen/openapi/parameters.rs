//! Paths and parameters of an operation: the same variables that the router captures, the same
//! names that the generated binder of the query knows.

use prost_reflect::FieldDescriptor;
use serde_json::{Map, Value, json};

use super::{field, form::Form, object, schemas::Schemas};
use crate::codegen::{
    Failure, comments,
    json::messages::written,
    options,
    rest::{
        bind,
        rules::{Body, Rule},
        template::Segment,
    },
};

/// Fields within fields that the binder steps through.
const DEPTH_MAX: usize = 8;

/// Most parameters that are listed: a message that holds itself has more than anybody reads.
const LISTED_MAX: usize = 128;

/// The path with a parameter for each star, and those parameters.
pub fn path(
    schemas: &mut Schemas,
    rule: &Rule,
) -> Result<(String, Vec<Map<String, Value>>), Failure> {
    let (mut path, mut parameters) = (String::new(), Vec::new());
    let mut nameless = 0;
    for (at, segment) in rule.template.segments.iter().enumerate() {
        if let Segment::Literal(text) = segment {
            path += &format!("/{text}");
            continue;
        }
        let many = *segment == Segment::Many;
        let var = rule.template.vars.iter().position(|var| var.covers.contains(&at));
        let Some(var) = var else {
            nameless += 1;
            let name = format!("segment_{nameless}");
            path += &format!("/{{{name}}}");
            let schema = object([("type", "string".into())]);
            parameters.push(parameter(&name, "path", schema, many));
            continue;
        };
        let covers = rule.template.vars[var].covers.clone();
        let star = |segment: &&Segment| !matches!(segment, Segment::Literal(_));
        let before = rule.template.segments[covers.start..at].iter().filter(star).count();
        let name = match before {
            0 => rule.template.vars[var].field.clone(),
            _ => format!("{}_{before}", rule.template.vars[var].field),
        };
        path += &format!("/{{{name}}}");
        let whole = covers.len() == 1;
        parameters.push(variable(schemas, &rule.vars[var], &name, (many, whole))?);
    }
    if path.is_empty() {
        path.push('/');
    }
    if !rule.template.verb.is_empty() {
        path += &format!(":{}", rule.template.verb);
    }
    Ok((path, parameters))
}

/// The parameters that the query may have.
pub fn query(schemas: &mut Schemas, rule: &Rule) -> Result<Vec<Map<String, Value>>, Failure> {
    let mut parameters = Vec::new();
    if matches!(rule.body, Body::Whole) {
        return Ok(parameters);
    }
    let within: Vec<String> = rule.taken_within();
    let mut level: Vec<(String, FieldDescriptor)> = Vec::new();
    for field in bind::fields(&rule.method.input, &rule.taken()) {
        level.push((written(schemas.model(), &field), field));
    }
    // Level by level, so that the nearest are listed when there are too many.
    for depth in 1..=DEPTH_MAX {
        let mut next = Vec::new();
        for (name, field) in level {
            if within.contains(&name) || parameters.len() >= LISTED_MAX {
                continue;
            }
            let Some(message) = bind::inner(&field) else {
                parameters.push(pair(schemas, &name, &field, depth)?);
                continue;
            };
            for field in bind::fields(&message, &[]) {
                next.push((format!("{name}.{}", written(schemas.model(), &field)), field));
            }
        }
        level = next;
    }
    Ok(parameters)
}

/// Headers with the condition under which the call is to be made.
pub fn conditions(rule: &Rule) -> Vec<Map<String, Value>> {
    let options = &rule.method.rule;
    let mut all = Vec::new();
    if !options.if_match_field.is_empty() {
        all.push(tags("If-Match", "Makes the change only to what has one of these entity tags."));
    }
    if !options.etag.is_empty() && rule.http.verb == "GET" {
        all.push(tags(
            "If-None-Match",
            "Answers 304 to a caller that has one of these entity tags.",
        ));
    }
    all
}

fn tags(name: &str, comment: &str) -> Map<String, Value> {
    let pattern = r#"^(\*|(W/)?"[!#-~]*"(, (W/)?"[!#-~]*")*)$"#;
    let schema =
        object([("type", "string".into()), ("minLength", 1.into()), ("pattern", pattern.into())]);
    let mut parameter = parameter(name, "header", schema, false);
    parameter.insert("description".to_owned(), format!("{comment} `*`: any.").into());
    parameter
}

fn pair(
    schemas: &mut Schemas,
    name: &str,
    field: &FieldDescriptor,
    depth: usize,
) -> Result<Map<String, Value>, Failure> {
    let mut schema = field::schema(schemas, field, &Form::Input)?;
    let description = schema.remove("description");
    let mut parameter = parameter(name, "query", schema, false);
    if let Some(description) = description {
        parameter.insert("description".to_owned(), description);
    }
    if field.is_list() {
        parameter.insert("style".to_owned(), "form".into());
        parameter.insert("explode".to_owned(), true.into());
    }
    if depth == 1 && options::is_required(field) {
        parameter.insert("required".to_owned(), true.into());
    }
    Ok(parameter)
}

fn variable(
    schemas: &mut Schemas,
    fields: &[FieldDescriptor],
    name: &str,
    (many, whole): (bool, bool),
) -> Result<Map<String, Value>, Failure> {
    let field = fields.last().ok_or("a variable without a field")?;
    // A star that is only a part of the value has nothing of the field but its comment.
    let mut schema = match whole {
        true => field::schema(schemas, field, &Form::Input)?,
        false => object([("type", "string".into())]),
    };
    schema.remove("description");
    let mut parameter = parameter(name, "path", schema, many);
    let comment = comments::of(&field.parent_message().parent_file(), field.path());
    parameter.insert("description".to_owned(), comment.into());
    Ok(parameter)
}

fn parameter(
    name: &str,
    place: &str,
    mut schema: Map<String, Value>,
    many: bool,
) -> Map<String, Value> {
    let text = schema.get("type").is_some_and(|kind| kind == "string");
    let open = !schema.contains_key("enum") && !schema.contains_key("format");
    if place == "path" && text && open && !many {
        schema.entry("minLength").or_insert_with(|| 1.into());
    }
    // Examples of a parameter stand beside its schema: tools look there.
    let example = schema.remove("examples").and_then(|list| list.get(0).cloned());
    let mut parameter =
        object([("name", name.into()), ("in", place.into()), ("schema", schema.into())]);
    if let Some(example) = example {
        parameter.insert("example".to_owned(), example);
    }
    if place == "path" {
        parameter.insert("required".to_owned(), true.into());
    }
    if many {
        parameter.insert("x-multi-segment".to_owned(), json!(true));
    }
    parameter
}
