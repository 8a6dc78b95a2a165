//! The rules of all services, checked: what cannot be routed, bound or told apart fails the build
//! with the method's name.

use std::collections::HashMap;

use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};

use crate::codegen::{
    Failure,
    options::{self, HttpRule, Method, Service},
};

use super::{bind, decode, template::Template};

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
    /// What of the answer is the response body.
    pub answer: Answer,
}

/// What of the answer is the response body.
pub enum Answer {
    /// All of it.
    Whole,
    /// This field.
    Field(FieldDescriptor),
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

impl Body {
    /// True when the body is a `google.api.HttpBody`: the request of this type, or the field.
    pub fn is_raw(&self, request: &MessageDescriptor) -> bool {
        match self {
            Self::Nowhere => false,
            Self::Whole => options::is_raw(request),
            Self::Field(field) => is_raw(field),
        }
    }
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
    /// True when the response body is a `google.api.HttpBody`.
    pub fn answers_raw(&self) -> bool {
        match &self.answer {
            Answer::Whole => options::is_raw(&self.method.output),
            Answer::Field(field) => is_raw(field),
        }
    }

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
    let template = Template::parse(&http.template)?;
    let vars = template.vars.iter().map(|var| variable(&method.input, &var.field));
    let vars = vars.collect::<Result<Vec<_>, _>>()?;
    let names: std::collections::HashSet<_> = template.vars.iter().map(|var| &var.field).collect();
    if names.len() < vars.len() {
        return Err("two variables set the same field".into());
    }
    let body = body(method, http)?;
    check_stream(method, &body)?;
    let answer = answer(method, http)?;
    Ok(Rule { id, service, method, http, template, vars, body, answer })
}

/// True for a field that is one `google.api.HttpBody`.
fn is_raw(field: &FieldDescriptor) -> bool {
    !field.is_list() && field.kind().as_message().is_some_and(options::is_raw)
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

/// A stream that a caller sends needs a body, and leaves no request to ask for another stream.
fn check_stream(method: &Method, body: &Body) -> Result<(), Failure> {
    match (method.client_streaming, body) {
        (true, Body::Nowhere) => Err("a method that takes a stream needs a body".into()),
        (true, _) if !method.rule.stream_method.is_empty() => {
            Err("a method that takes a stream has no stream_method".into())
        }
        (true, _) if !method.rule.mask_field.is_empty() => {
            Err("a method that takes a stream has no mask_field".into())
        }
        (true, Body::Field(field))
            if !decode::is_message(field) && bind::oneof(field).is_some() =>
        {
            Err(format!("body: {} is a member of a oneof", field.name()).into())
        }
        _ => Ok(()),
    }
}

fn answer(method: &Method, http: &HttpRule) -> Result<Answer, Failure> {
    let name = &http.response_body;
    if name.is_empty() {
        return Ok(Answer::Whole);
    }
    if !method.rule.stream_method.is_empty() {
        return Err("response_body: not beside a stream_method".into());
    }
    let field = method.output.get_field_by_name(name);
    let why = || format!("response_body: {} has no field {name}", method.output.full_name());
    let field = field.ok_or_else(why)?;
    if is_raw(&field) && bind::oneof(&field).is_some() {
        return Err(format!("response_body: {name} is a HttpBody in a oneof").into());
    }
    Ok(Answer::Field(field))
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
