//! Emits the tables: rules as data, and what a caller needs for every method.

use super::{
    Input, deprecated,
    rules::{Body, Rule},
    template::Segment,
};

use crate::codegen::{
    Failure,
    options::{Method, Service},
};

/// What a caller needs for each method, REST or not, and what a call of it does.
pub fn methods(input: &Input) -> String {
    let mut rows = Vec::new();
    for service in input.services {
        let scoped = service.methods.iter().filter(|method| !method.rule.scope.is_empty());
        for method in scoped {
            rows.push(method_row(service, method));
        }
    }
    rows.sort();
    format!(
        "/// The methods that need a scope, by gRPC path, in order.\n\
         pub static METHODS: &[Method] = &[\n{}];\n\n\
         /// The method with this gRPC path; none: there is none, or it needs no scope.\n\
         #[must_use]\n\
         pub fn method(grpc_path: &str) -> Option<&'static Method> {{\n    \
         let at = METHODS.binary_search_by_key(&grpc_path, |method| method.grpc).ok()?;\n    \
         Some(&METHODS[at])\n}}\n\n",
        rows.concat()
    )
}

/// A stream that has no rule of its own is called by that of its twin.
fn method_row(service: &Service, method: &Method) -> String {
    let twin = service.methods.iter().find(|other| other.rule.stream_method == method.name);
    let route = twin.unwrap_or(method);
    let action = method.grpc_path.rsplit('/').next().unwrap_or_default();
    let short = service.name.rsplit('.').next().unwrap_or_default();
    let verb = route.http_rules.first().map(|rule| rule.verb.as_str());
    format!(
        "    Method {{\n        grpc: {:?},\n        action: \"{short}/{action}\",\n        \
         scope: {:?},\n        changes: {},\n        route: {:?},\n        goes_on: {},\n    }},\n",
        method.grpc_path,
        method.rule.scope,
        verb != Some("GET"),
        route.grpc_path,
        method.server_streaming || !method.rule.stream_method.is_empty() || method.rule.goes_on,
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
