//! Emits the services as one API: a struct that holds them, and one function a rule that decodes,
//! calls and encodes.

use std::fmt::Write;

use heck::{ToSnakeCase, ToUpperCamelCase};
use prost_reflect::FieldDescriptor;

use super::{
    Input, bind, deprecated, member, names,
    rules::{Answer, Rule},
};
use crate::codegen::{
    Failure,
    options::{self, Service},
};

/// The struct of services and its dispatch.
pub fn services(input: &Input) -> Result<String, Failure> {
    let used: Vec<_> = input
        .services
        .iter()
        .enumerate()
        .filter(|(index, _)| input.rules.iter().any(|rule| rule.service == *index))
        .map(|(_, service)| service)
        .collect();
    let mut params = String::new();
    let mut bounds = String::new();
    let mut fields = String::new();
    for service in &used {
        let (short, server) = (short(service), server(input.root, &service.name));
        write!(params, "{short}, ")?;
        write!(bounds, "{short}: {server}, ")?;
        let field = names::field(&short);
        write!(
            fields,
            "    /// Implements `{}`.\n    pub {field}: ::std::sync::Arc<{short}>,\n",
            service.name
        )?;
    }
    let mut code = format!(
        "/// The services behind the rules.\n#[derive(Debug)]\n\
         pub struct Services<{params}> {{\n{fields}}}\n\n\
         impl<{bounds}> Api for Services<{params}> {{\n    \
         fn rules(&self) -> &'static [Rule] {{\n        RULES\n    }}\n\n"
    );
    code += &dispatch(input);
    write!(code, "}}\n\nimpl<{bounds}> Services<{params}> {{\n")?;
    for rule in &input.rules {
        code += &function(input, rule)?;
    }
    code += "}\n\n";
    Ok(code)
}

fn dispatch(input: &Input) -> String {
    let arms = input.rules.iter();
    let arms =
        arms.map(|rule| format!("            {0} => Box::pin(self.call_{0}(call)),\n", rule.id));
    format!(
        "    fn dispatch(&self, call: Call) -> Answering<'_> {{\n        \
         match call.rule() {{\n{}            \
         _ => call.lost(),\n        }}\n    }}\n",
        arms.collect::<String>()
    )
}

fn function(input: &Input, rule: &Rule) -> Result<String, Failure> {
    let short = short(&input.services[rule.service]);
    let call = |method: &str| {
        format!("{short}::{}(&self.{}, request).await?", names::field(method), names::field(&short))
    };
    let method = rule.method;
    let mut body = match method.client_streaming {
        true => format!("        let request = call.upload(decode_{0}, piece_{0})?;\n", rule.id),
        false => format!("        let request = call.request(decode_{})?;\n", rule.id),
    };
    let begun = std::mem::take(&mut body);
    if method.server_streaming {
        writeln!(body, "        {}.await", stream(rule, &call(&method.name)))?;
    } else {
        if !method.rule.stream_method.is_empty() {
            write!(
                body,
                "        if call.streams({}) {{\n            \
                 return call.stream({}).await;\n        }}\n",
                asked(rule)?,
                call(&method.rule.stream_method)
            )?;
        }
        let response = match options::is_raw(&method.output) {
            true => call(&method.name),
            false => format!(
                "match call.remembered()? {{\n            Some(response) => response,\n            \
                 None => {},\n        }}",
                call(&method.name)
            ),
        };
        write!(body, "        let response = {response};\n{}", reply(rule)?)?;
    }
    // A stream of requests is past by the time that one of them says something, and a deprecated
    // method says more than its fields.
    let silent = method.client_streaming || method.rule.deprecation.is_some();
    let teller = deprecated::teller(input, rule).filter(|_| !silent);
    if let Some(tell) = teller {
        body = format!(
            "        let notice = {tell}(request.get_ref());\n        \
             let answer = async {{\n{body}        }};\n        \
             notice::mark(answer.await, notice)\n"
        );
    }
    Ok(format!(
        "    async fn call_{}(&self, mut call: Call) -> Answer {{\n{begun}{body}    }}\n\n",
        rule.id
    ))
}

/// What the request itself says about a stream.
fn asked(rule: &Rule) -> Result<String, Failure> {
    let name = &rule.method.rule.stream_field;
    if name.is_empty() {
        return Ok("false".to_owned());
    }
    let field = plain_field(rule, rule.method.input.get_field_by_name(name))?;
    let default = if field.supports_presence() { ".unwrap_or_default()" } else { "" };
    Ok(format!("request.get_ref().{}{default}", names::field(name)))
}

fn reply(rule: &Rule) -> Result<String, Failure> {
    let options = &rule.method.rule;
    let mut status = options.status.to_string();
    let mut code = String::new();
    if !options.pending_until.is_empty() {
        let field = rule.method.output.get_field_by_name(&options.pending_until);
        let field = plain_field(rule, field)?;
        let unset = if field.supports_presence() { ".is_none()" } else { " == Default::default()" };
        write!(
            code,
            "        let pending = response.get_ref().{}{unset};\n        \
             let status = if pending {{ 202 }} else {{ {status} }};\n",
            names::field(&options.pending_until)
        )?;
        status = "status".to_owned();
    }
    match &rule.answer {
        _ if options.status == 204 => writeln!(code, "        call.reply_empty(response, 204)")?,
        Answer::Field(field) if rule.answers_raw() => {
            let taken = member::take(field);
            writeln!(code, "        call.reply_raw(response.map({taken}), {status})")?;
        }
        Answer::Field(_) => {
            let write = member::writer(rule);
            writeln!(code, "        call.reply_member(response, {status}, {write})")?;
        }
        Answer::Whole if rule.answers_raw() => {
            writeln!(code, "        call.reply_raw(response, {status})")?;
        }
        Answer::Whole => code += &tagged(rule, &status),
    }
    Ok(code)
}

/// Answers with the whole message, and with its entity tag when it has one.
fn tagged(rule: &Rule, status: &str) -> String {
    let name = &rule.method.rule.etag;
    let field = rule.method.output.get_field_by_name(name);
    match (name.as_str(), field) {
        ("*", _) => format!("        call.reply_digested(response, {status})\n"),
        (_, Some(field)) => {
            let default = if field.supports_presence() { ".unwrap_or_default()" } else { "" };
            format!(
                "        let tag = response.get_ref().{}.clone(){default};\n        \
                 call.reply_tagged(response, {status}, tag)\n",
                names::field(name)
            )
        }
        (_, None) => format!("        call.reply(response, {status})\n"),
    }
}

/// The answer of a method that streams.
fn stream(rule: &Rule, response: &str) -> String {
    match &rule.answer {
        Answer::Field(field) if rule.answers_raw() => {
            format!("call.stream_raw(stream::map({response}, {}))", member::take(field))
        }
        Answer::Field(_) => format!("call.stream(stream::map({response}, {}))", member::item(rule)),
        Answer::Whole if rule.answers_raw() => format!("call.stream_raw({response})"),
        Answer::Whole => format!("call.stream({response})"),
    }
}

fn plain_field(rule: &Rule, field: Option<FieldDescriptor>) -> Result<FieldDescriptor, Failure> {
    let field = field.filter(|field| bind::oneof(field).is_none());
    let why = || format!("method {}: an option names a field in a oneof", rule.method.grpc_path);
    field.ok_or_else(|| why().into())
}

/// Path of the trait that tonic makes for a service.
fn server(root: &str, service: &str) -> String {
    let (package, name) = service.rsplit_once('.').unwrap_or(("", service));
    let package = package.split('.').map(|part| format!("{}::", names::field(part)));
    let package: String = package.collect();
    format!("{root}::{package}{}_server::{}", name.to_snake_case(), name.to_upper_camel_case())
}

/// Name of a service without its package and suffix, in the struct.
fn short(service: &Service) -> String {
    let name = service.name.rsplit('.').next().unwrap_or_default().to_snake_case();
    name.trim_end_matches("_service").to_upper_camel_case()
}
