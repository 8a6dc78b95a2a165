//! Emits the tables: rules as data, and the scope of every method.

use super::{
    Input, deprecated,
    rules::{Body, Rule},
    template::Segment,
};

use crate::codegen::Failure;

/// The scope of every method, REST or not.
pub fn scopes(input: &Input) -> String {
    let methods = input.services.iter().flat_map(|service| &service.methods);
    let scoped = methods.filter(|method| !method.rule.scope.is_empty());
    let mut rows: Vec<_> =
        scoped.map(|m| format!("    ({:?}, {:?}),\n", m.grpc_path, m.rule.scope)).collect();
    rows.sort();
    format!(
        "/// Scope that each method needs, by gRPC path, in order.\n\
         pub static SCOPES: &[(&str, &str)] = &[\n{}];\n\n\
         /// Scope that a method needs; none: it has no such method, or it needs none.\n\
         #[must_use]\n\
         pub fn required_scope(grpc_path: &str) -> Option<&'static str> {{\n    \
         let at = SCOPES.binary_search_by_key(&grpc_path, |row| row.0).ok()?;\n    \
         Some(SCOPES[at].1)\n}}\n\n",
        rows.concat()
    )
}

/// The rules.
pub fn rules(input: &Input) -> Result<String, Failure> {
    let rows: String = input.rules.iter().map(row).collect::<Result<_, _>>()?;
    Ok(format!("/// The REST rules of all services.\npub static RULES: &[Rule] = &[\n{rows}];\n\n"))
}

fn row(rule: &Rule) -> Result<String, Failure> {
    let segments = rule.template.segments.iter().map(|segment| match segment {
        Segment::Literal(text) => format!("Segment::Literal({text:?}), "),
        Segment::One => "Segment::One, ".to_owned(),
        Segment::Many => "Segment::Many, ".to_owned(),
    });
    let vars = rule.template.vars.iter();
    let vars = vars.map(|var| format!("({}, {}), ", var.covers.start, var.covers.end));
    let body = match rule.body {
        _ if rule.body.is_raw(&rule.method.input) => "Raw",
        Body::Nowhere => "Nowhere",
        Body::Whole => "Whole",
        Body::Field(_) => "Field",
    };
    Ok(format!(
        "    Rule {{\n        id: {},\n        http: {:?},\n        segments: &[{}],\n        \
         verb: {:?},\n        vars: &[{}],\n        grpc: {:?},\n        \
         shape: Shape::{},\n        body: Place::{body},\n        uploads: {},\n        \
         deprecated: {},\n    }},\n",
        rule.id,
        rule.http.verb,
        segments.collect::<String>(),
        rule.template.verb,
        vars.collect::<String>(),
        rule.method.grpc_path,
        shape(rule),
        rule.method.client_streaming,
        deprecated::of_method(rule)?,
    ))
}

fn shape(rule: &Rule) -> &'static str {
    let method = rule.method;
    match (method.server_streaming, method.rule.stream_method.is_empty()) {
        (true, _) if rule.answers_raw() => "RawStream",
        (true, _) => "Stream",
        (false, false) => "Twin",
        (false, true) if rule.answers_raw() => "Raw",
        (false, true) => "Unary",
    }
}
