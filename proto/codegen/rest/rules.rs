//! The rules of all services, checked: what cannot be routed, bound or told apart fails the build
//! with the method's name.

use std::collections::HashMap;

use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};

use crate::codegen::{
    Failure,
    options::{HttpRule, Method, Service},
};

use super::{bind, template::Template};

/// One rule with what it refers to.
pub struct Rule<'a> {
    /// Index in the table.
    pub id: usize,
    /// Index of its service.
    pub service: usize,
    /// Its method.
    pub method: &'a Method,
    /// The rule as written.
    pub http: &'a HttpRule,
    /// Its template.
    pub template: Template,
    /// Fields of its variables, each with those it lies in.
    pub vars: Vec<Vec<FieldDescriptor>>,
    /// Where the body goes.
    pub body: Body,
}

/// Where the body of a request goes.
pub enum Body {
    /// Nowhere.
    Nowhere,
    /// It is the request.
    Whole,
    /// It is this field.
    Field(FieldDescriptor),
}

/// Reads and checks the rules of all services.
pub fn read(services: &[Service]) -> Result<Vec<Rule<'_>>, Failure> {
    let mut rules = Vec::new();
    for (service, of) in services.iter().enumerate() {
        for method in &of.methods {
            for http in &method.http_rules {
                check_twin(of, method)?;
                let rule = rule(rules.len(), service, method, http).map_err(|failure| {
                    format!(
                        "method {}: {} {}: {failure}",
                        method.grpc_path, http.verb, http.template
                    )
                })?;
                rules.push(rule);
            }
        }
    }
    refuse_twice(&rules)?;
    Ok(rules)
}

impl Rule<'_> {
    /// Fields of the request itself that a query cannot set: those that the path or the body sets,
    /// and the other members of their oneofs.
    pub fn taken(&self) -> Vec<u32> {
        let vars = self.vars.iter().filter(|path| path.len() == 1).map(|path| &path[0]);
        let body = match &self.body {
            Body::Field(field) => Some(field),
            Body::Nowhere | Body::Whole => None,
        };
        let fields = vars.chain(body).flat_map(|field| match bind::oneof(field) {
            Some(oneof) => oneof.fields().map(|field| field.number()).collect(),
            None => vec![field.number()],
        });
        fields.collect()
    }

    /// Names, in every spelling, of fields within fields that the path sets.
    pub fn taken_within(&self) -> Vec<String> {
        self.vars.iter().filter(|path| path.len() > 1).flat_map(|path| spellings(path)).collect()
    }
}

fn rule<'a>(
    id: usize,
    service: usize,
    method: &'a Method,
    http: &'a HttpRule,
) -> Result<Rule<'a>, Failure> {
    if method.client_streaming {
        return Err("a method that takes a stream has no REST form".into());
    }
    let template = Template::parse(&http.template)?;
    let vars = template.vars.iter().map(|var| variable(&method.input, &var.field));
    let vars = vars.collect::<Result<Vec<_>, _>>()?;
    let names: std::collections::HashSet<_> = template.vars.iter().map(|var| &var.field).collect();
    if names.len() < vars.len() {
        return Err("two variables set the same field".into());
    }
    let body = body(method, http)?;
    check_answer(method, http)?;
    Ok(Rule { id, service, method, http, template, vars, body })
}

fn variable(message: &MessageDescriptor, path: &str) -> Result<Vec<FieldDescriptor>, Failure> {
    let mut message = message.clone();
    let mut fields: Vec<FieldDescriptor> = Vec::new();
    for name in path.split('.') {
        if let Some(last) = fields.last() {
            message = match last.kind() {
                Kind::Message(inner) if bind::oneof(last).is_none() => inner,
                _ => return Err(format!("{path}: {} has no fields", last.name()).into()),
            };
        }
        let field = message.get_field_by_name(name);
        let field =
            field.ok_or_else(|| format!("{path}: {} has no field {name}", message.full_name()))?;
        if field.is_list() || field.is_map() {
            return Err(format!("{path}: {name} is repeated, which a path cannot be").into());
        }
        fields.push(field);
    }
    Ok(fields)
}

fn body(method: &Method, http: &HttpRule) -> Result<Body, Failure> {
    let field = match http.body.as_str() {
        "" => return Ok(Body::Nowhere),
        "*" => return Ok(Body::Whole),
        name => method.input.get_field_by_name(name),
    };
    let field = field
        .ok_or_else(|| format!("body: {} has no field {}", method.input.full_name(), http.body))?;
    Ok(Body::Field(field))
}

fn check_answer(method: &Method, http: &HttpRule) -> Result<(), Failure> {
    let name = &http.response_body;
    if name.is_empty() {
        return Ok(());
    }
    if method.server_streaming || !method.rule.stream_method.is_empty() {
        return Err("response_body: a stream has none".into());
    }
    match method.output.get_field_by_name(name) {
        Some(_) => Ok(()),
        None => {
            Err(format!("response_body: {} has no field {name}", method.output.full_name()).into())
        }
    }
}

/// A caller of a method and of its stream needs the same scope: the gate asks before it knows which
/// it will be.
fn check_twin(service: &Service, method: &Method) -> Result<(), Failure> {
    let twin = service.methods.iter().find(|twin| twin.name == method.rule.stream_method);
    match twin.filter(|twin| twin.rule.scope != method.rule.scope) {
        Some(twin) => {
            let (path, other) = (&method.grpc_path, &twin.grpc_path);
            Err(format!("method {path}: its scope is not that of its stream {other}").into())
        }
        None => Ok(()),
    }
}

fn refuse_twice(rules: &[Rule<'_>]) -> Result<(), Failure> {
    let mut seen: HashMap<(&str, String), &Rule<'_>> = HashMap::new();
    for rule in rules {
        let key = (rule.http.verb.as_str(), rule.template.shape());
        if let Some(other) = seen.insert(key, rule) {
            return Err(format!(
                "method {}: {} {} cannot be told from {} of {}",
                rule.method.grpc_path,
                rule.http.verb,
                rule.http.template,
                other.http.template,
                other.method.grpc_path
            )
            .into());
        }
    }
    Ok(())
}

/// Every way to write a path of fields: each name as in the proto file or in camelCase.
fn spellings(path: &[FieldDescriptor]) -> Vec<String> {
    path.iter().fold(vec![String::new()], |begun, field| {
        let mut names = vec![field.name(), field.json_name()];
        names.dedup();
        let all = begun.iter().flat_map(|begun| {
            let dot = if begun.is_empty() { "" } else { "." };
            names.iter().map(move |name| format!("{begun}{dot}{name}"))
        });
        all.collect()
    })
}
