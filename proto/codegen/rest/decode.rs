//! Emits the decoders: one function a rule, from a call to its request: body, then query, then
//! path.

use std::fmt::Write;

use prost_reflect::{FieldDescriptor, Kind};

use super::{
    Input, bind, names,
    rules::{Body, Rule},
};
use crate::codegen::Failure;

/// A decoder for each rule.
pub fn decoders(input: &Input) -> Result<String, Failure> {
    input.rules.iter().map(|rule| decoder(input.root, rule)).collect()
}

fn decoder(root: &str, rule: &Rule) -> Result<String, Failure> {
    let kind = names::message(root, &rule.method.input);
    let mut code = body(root, rule)?;
    if matches!(rule.body, Body::Whole) {
        writeln!(code, "    call.no_query()?;")?;
    } else {
        match bind::is_bound(rule) {
            true => writeln!(code, "    call.query(|pair| bind_rule_{}(&mut m, pair))?;", rule.id)?,
            false => writeln!(code, "    call.no_query()?;")?,
        }
    }
    code += &mask(root, rule)?;
    code += &conditions(rule);
    for (index, path) in rule.vars.iter().enumerate() {
        code += &variable(root, rule, index, path)?;
    }
    let mutable = code.contains("m.") || code.contains("&mut m");
    let mutable = if mutable { "mut " } else { "" };
    let start = match rule.body {
        Body::Whole if rule.body.is_raw(&rule.method.input) => "call.raw()",
        Body::Whole => "call.whole()?",
        Body::Field(ref field) if !is_message(field) => "call.wrapped(FIELD)?",
        _ => "call.empty()",
    };
    let start = match &rule.body {
        Body::Field(field) => start.replace("FIELD", &format!("{:?}", field.name())),
        _ => start.to_owned(),
    };
    Ok(format!(
        "fn decode_{}(call: &Call) -> Decoded<{kind}> {{\n    \
         let {mutable}m: {kind} = {start};\n{code}    Ok(m)\n}}\n\n",
        rule.id
    ))
}

/// Sets the field that the body is, when it is a message.
fn body(root: &str, rule: &Rule) -> Result<String, Failure> {
    let Body::Field(field) = &rule.body else { return Ok(String::new()) };
    if !is_message(field) {
        return Ok(String::new());
    }
    if rule.body.is_raw(&rule.method.input) {
        return Ok(format!("    {}\n", bind::assign(root, "m.", field, "call.raw()")));
    }
    if let Some(oneof) = bind::oneof(field) {
        let (slot, path) = (names::field(oneof.name()), names::oneof(root, &oneof));
        let variant = names::variant(field);
        return Ok(format!("    m.{slot} = call.field()?.map({path}::{variant});\n"));
    }
    Ok(format!("    m.{} = call.field()?;\n", names::field(field.name())))
}

/// True for a field that holds one message which is an object in JSON, known by its own type.
fn is_message(field: &FieldDescriptor) -> bool {
    let kind = field.kind();
    let own = |package: &str| package != "google.protobuf";
    !field.is_list() && kind.as_message().is_some_and(|message| own(message.package_name()))
}

/// Fills the mask that the caller did not send.
fn mask(root: &str, rule: &Rule) -> Result<String, Failure> {
    let name = &rule.method.rule.mask_field;
    if name.is_empty() {
        return Ok(String::new());
    }
    let Body::Field(field) = &rule.body else {
        return Err(format!(
            "method {}: mask_field needs a body that is a field",
            rule.method.grpc_path
        )
        .into());
    };
    let Kind::Message(message) = field.kind() else {
        return Err(format!(
            "method {}: mask_field needs a body that is a message",
            rule.method.grpc_path
        )
        .into());
    };
    let name = names::field(name);
    Ok(format!(
        "    if m.{name}.is_none() {{\n        m.{name} = call.mask::<{}>()?;\n    }}\n",
        names::message(root, &message)
    ))
}

/// Takes `If-Match` in, or refuses it where a request would change something in spite of it.
fn conditions(rule: &Rule) -> String {
    let name = &rule.method.rule.if_match_field;
    match (name.is_empty(), rule.http.verb.as_str()) {
        (false, _) => format!("    call.if_match(&mut m.{})?;\n", names::field(name)),
        (true, "GET") => String::new(),
        (true, _) => "    call.unconditional()?;\n".to_owned(),
    }
}

/// Sets the field of a variable.
fn variable(
    root: &str,
    rule: &Rule,
    index: usize,
    path: &[FieldDescriptor],
) -> Result<String, Failure> {
    let written = &rule.template.vars[index].field;
    let Some((field, parents)) = path.split_last() else { return Ok(String::new()) };
    let parse = bind::parser(root, field).ok_or_else(|| {
        format!("method {}: {written} is of a kind that a path cannot hold", rule.method.grpc_path)
    })?;
    let parents =
        parents.iter().map(|p| format!("{}.get_or_insert_default().", names::field(p.name())));
    let place = format!("m.{}", parents.collect::<String>());
    let value = format!("call.var({index}, {written:?}, {parse})?");
    Ok(format!("    {}\n", bind::assign(root, &place, field, &value)))
}
