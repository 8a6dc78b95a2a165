//! Emits the decoders: one function a rule, from a call to its request: body, then query, then
//! path. For a method that takes a stream another one, from what path and query say and one piece
//! of the body to one message.

use std::fmt::Write;

use prost_reflect::{FieldDescriptor, Kind};

use super::{
    Input, bind, names,
    rules::{Body, Rule},
};
use crate::codegen::Failure;

/// A decoder for each rule.
pub fn decoders(input: &Input) -> Result<String, Failure> {
    let one = |rule: &Rule| {
        let piece =
            if rule.method.client_streaming { piece(input.root, rule)? } else { String::new() };
        Ok(decoder(input.root, rule)? + &piece)
    };
    input.rules.iter().map(one).collect()
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
    Ok(format!(
        "fn decode_{}(call: &Call) -> Decoded<{kind}> {{\n    \
         let {mutable}m: {kind} = {};\n{code}    Ok(m)\n}}\n\n",
        rule.id,
        start(rule)
    ))
}

/// What a request begins as.
fn start(rule: &Rule) -> String {
    match &rule.body {
        Body::Whole if rule.body.is_raw(&rule.method.input) => "call.raw()".to_owned(),
        Body::Whole => "call.whole()?".to_owned(),
        Body::Field(field) if !is_message(field) => format!("call.wrapped({:?})?", field.name()),
        Body::Field(_) | Body::Nowhere => "call.empty()".to_owned(),
    }
}

/// Decodes one piece: it is the message, on which the path is laid, or it is a field of the head.
fn piece(root: &str, rule: &Rule) -> Result<String, Failure> {
    let kind = names::message(root, &rule.method.input);
    let (head, code) = match &rule.body {
        Body::Field(field) if !is_message(field) => {
            let name = names::field(field.name());
            let start = start(rule);
            ("mut m", format!("    let piece: {kind} = {start};\n    m.{name} = piece.{name};\n"))
        }
        Body::Field(_) => ("mut m", body(root, rule)?),
        Body::Whole | Body::Nowhere => {
            let vars = rule.vars.iter().enumerate();
            let vars = vars.map(|(index, path)| variable(root, rule, index, path));
            let vars = vars.collect::<Result<String, _>>()?;
            let mutable = if vars.is_empty() { "" } else { "mut " };
            ("_", format!("    let {mutable}m: {kind} = {};\n{vars}", start(rule)))
        }
    };
    Ok(format!(
        "fn piece_{}(call: &Call, {head}: {kind}) -> Decoded<{kind}> {{\n{code}    Ok(m)\n}}\n\n",
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
pub fn is_message(field: &FieldDescriptor) -> bool {
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
