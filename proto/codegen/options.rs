//! Reads the options of services, methods, messages and fields into plain structs. Every generator
//! takes them from here; a rule that contradicts itself fails the build with the method's name.

use std::borrow::Cow;

use prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, MethodDescriptor,
    Value,
};

use super::{Failure, Set, comments};

/// A service of the compiled files.
pub struct Service {
    /// Full name, such as `runplane.v1.AgentsService`.
    pub name: String,
    /// What the comment says of it.
    pub comment: String,
    /// Its methods, in the order of the file.
    pub methods: Vec<Method>,
}

/// A method with everything that its options say.
pub struct Method {
    /// Name, such as `GetAgent`.
    pub name: String,
    /// Path of a gRPC call, such as `/runplane.v1.AgentsService/GetAgent`.
    pub grpc_path: String,
    /// What the comment says of it.
    pub comment: String,
    /// Type of the request.
    pub input: MessageDescriptor,
    /// Type of the answer, or of each message of the stream.
    pub output: MessageDescriptor,
    /// True when the caller sends a stream.
    pub client_streaming: bool,
    /// True when the answer is a stream.
    pub server_streaming: bool,
    /// REST bindings, the main one first. Empty: the method has none.
    pub http_rules: Vec<HttpRule>,
    /// How the method is called and answered over REST.
    pub rule: MethodRule,
}

/// One binding of `google.api.http`.
pub struct HttpRule {
    /// HTTP method in capitals, or that of a custom pattern.
    pub verb: String,
    /// Path template, such as `/v1/agents/{id}`.
    pub template: String,
    /// Field of the request that is the body, `*` for the whole request, empty for none.
    pub body: String,
    /// Field of the answer that is the response body; empty: the whole answer.
    pub response_body: String,
}

/// `transcode.v1.method`; empty texts are unset.
pub struct MethodRule {
    /// HTTP status of a success.
    pub status: u16,
    /// Field of the answer without which the status is 202.
    pub pending_until: String,
    /// Server-streaming method of the same service that takes over for a stream.
    pub stream_method: String,
    /// Bool field of the request that asks for the stream.
    pub stream_field: String,
    /// FieldMask field of the request that is filled with the paths of the body.
    pub mask_field: String,
    /// Scope that a caller needs.
    pub scope: String,
    /// Codes of the failures that the method itself has.
    pub errors: Vec<String>,
    /// String field of the answer that is its entity tag; `*`: a digest of its JSON.
    pub etag: String,
    /// Repeated string field of the request that takes the tags of `If-Match`.
    pub if_match_field: String,
    /// True when the service goes on from an answer that was kept.
    pub goes_on: bool,
    /// Since when the method is deprecated; none: it is not.
    pub deprecation: Option<Deprecation>,
}

/// `transcode.v1.Deprecation`; empty texts are unset.
pub struct Deprecation {
    /// Day from which something is deprecated.
    pub since: String,
    /// Day from which it may be gone.
    pub sunset: String,
    /// Page that says more.
    pub link: String,
}

/// `transcode.v1.event`; empty texts are unset.
pub struct EventRule {
    /// String field that becomes `id:`.
    pub id: String,
    /// String field that becomes `event:`.
    pub kind: String,
    /// Oneof whose set member becomes `data:`.
    pub data: String,
}

/// Reads all services of the pool, which has none but those of the compiled files.
pub fn services(pool: &DescriptorPool, set: &Set) -> Result<Vec<Service>, Failure> {
    pool.services()
        .map(|service| {
            let methods = service.methods().map(|method| {
                read_method(pool, set, &method)
                    .map_err(|failure| format!("method {}: {failure}", method.full_name()).into())
            });
            Ok(Service {
                name: service.full_name().to_owned(),
                comment: comments::of(&service.parent_file(), service.path()),
                methods: methods.collect::<Result<_, Failure>>()?,
            })
        })
        .collect()
}

/// True for `google.api.HttpBody`, a body that is no JSON.
pub fn is_raw(message: &MessageDescriptor) -> bool {
    message.full_name() == "google.api.HttpBody"
}

/// Reads how a streamed message becomes a server-sent event; none: the message has no such option.
pub fn event(message: &MessageDescriptor) -> Result<Option<EventRule>, Failure> {
    let options = message.options();
    let Some(rule) = extension(message.parent_pool(), &options, "transcode.v1.event") else {
        return Ok(None);
    };
    let rule = rule.as_message().cloned().ok_or("transcode.v1.event is no message")?;
    let rule =
        EventRule { id: text(&rule, "id"), kind: text(&rule, "type"), data: text(&rule, "data") };
    for name in [&rule.id, &rule.kind] {
        want(message, name, "a string field", |field| matches!(field.kind(), Kind::String))?;
    }
    if !rule.data.is_empty() && !message.oneofs().any(|oneof| oneof.name() == rule.data) {
        return Err(format!("{} has no oneof {}", message.full_name(), rule.data).into());
    }
    Ok(Some(rule))
}

/// True for a field that the server sets and ignores when given, by `google.api.field_behavior`.
pub fn is_output_only(field: &FieldDescriptor) -> bool {
    behaves(field, 3)
}

/// True for a field that a request must have.
pub fn is_required(field: &FieldDescriptor) -> bool {
    behaves(field, 2)
}

/// True for a field that an answer never has.
pub fn is_input_only(field: &FieldDescriptor) -> bool {
    behaves(field, 4)
}

/// True when `google.api.field_behavior` of the field has this number.
fn behaves(field: &FieldDescriptor, number: i32) -> bool {
    let options = field.options();
    let pool = field.parent_message().parent_pool();
    let list = extension(pool, &options, "google.api.field_behavior");
    let wanted = Value::EnumNumber(number);
    list.is_some_and(|list| list.as_list().is_some_and(|list| list.contains(&wanted)))
}

fn read_method(
    pool: &DescriptorPool,
    set: &Set,
    method: &MethodDescriptor,
) -> Result<Method, Failure> {
    let options = method.options();
    let written = extension(pool, &options, "transcode.v1.method");
    let mut rule = read_rule(written.as_deref())?;
    let written = written.as_deref().and_then(Value::as_message);
    rule.deprecation = deprecation(&options, written)?;
    let http_rules = match extension(pool, &options, "google.api.http") {
        Some(http) => read_http(http.as_message().ok_or("google.api.http is no message")?, true)?,
        None => Vec::new(),
    };
    check_rule(set, method, &rule)?;
    Ok(Method {
        name: method.name().to_owned(),
        grpc_path: format!("/{}/{}", method.parent_service().full_name(), method.name()),
        comment: comments::of(&method.parent_service().parent_file(), method.path()),
        input: method.input(),
        output: method.output(),
        client_streaming: method.is_client_streaming(),
        server_streaming: method.is_server_streaming(),
        http_rules,
        rule,
    })
}

/// Since when a field is deprecated; none: it is not.
pub fn field_deprecation(field: &FieldDescriptor) -> Result<Option<Deprecation>, Failure> {
    let options = field.options();
    let pool = field.parent_message().parent_pool();
    let written = extension(pool, &options, "transcode.v1.deprecation");
    let written = written.as_deref().and_then(Value::as_message);
    let read = match (is_deprecated(&options), written) {
        (false, None) => return Ok(None),
        (deprecated, written) => pair(deprecated, written.map(read_deprecation)),
    };
    read.map_err(|failure| format!("field {}: {failure}", field.full_name()).into())
}

/// That of a method, within its rule.
fn deprecation(
    options: &DynamicMessage,
    rule: Option<&DynamicMessage>,
) -> Result<Option<Deprecation>, Failure> {
    let written = rule.filter(|rule| rule.has_field_by_name("deprecation"));
    let written = written.and_then(|rule| rule.get_field_by_name("deprecation"));
    let written = written.as_deref().and_then(Value::as_message);
    pair(is_deprecated(options), written.map(read_deprecation))
}

/// What is deprecated says since when, and what says so is.
fn pair(deprecated: bool, written: Option<Deprecation>) -> Result<Option<Deprecation>, Failure> {
    match (deprecated, written) {
        (true, None) => {
            Err("deprecated, without transcode.v1 deprecation saying since when".into())
        }
        (false, Some(_)) => Err("transcode.v1 deprecation of what is not deprecated".into()),
        (_, written) => Ok(written),
    }
}

fn read_deprecation(written: &DynamicMessage) -> Deprecation {
    let get = |name| text(written, name);
    Deprecation { since: get("since"), sunset: get("sunset"), link: get("link") }
}

fn is_deprecated(options: &DynamicMessage) -> bool {
    options.get_field_by_name("deprecated").is_some_and(|value| value.as_bool() == Some(true))
}

fn read_rule(rule: Option<&Value>) -> Result<MethodRule, Failure> {
    let rule = rule.and_then(Value::as_message);
    let get = |name| rule.map(|rule| text(rule, name)).unwrap_or_default();
    let status = rule.and_then(|rule| rule.get_field_by_name("status")?.as_i32()).unwrap_or(0);
    let status = if status == 0 { 200 } else { u16::try_from(status)? };
    if !(200..300).contains(&status) {
        return Err(format!("transcode.v1.method: status {status} is no success").into());
    }
    Ok(MethodRule {
        status,
        pending_until: get("pending_until"),
        stream_method: get("stream_method"),
        stream_field: get("stream_field"),
        mask_field: get("mask_field"),
        scope: get("scope"),
        errors: rule.map(|rule| texts(rule, "errors")).unwrap_or_default(),
        etag: get("etag"),
        if_match_field: get("if_match_field"),
        goes_on: rule.is_some_and(|rule| flag(rule, "goes_on")),
        deprecation: None,
    })
}

fn read_http(rule: &DynamicMessage, main: bool) -> Result<Vec<HttpRule>, Failure> {
    let verbs = ["get", "put", "post", "delete", "patch"];
    let plain = verbs.iter().find(|verb| rule.has_field_by_name(verb));
    let (verb, template) = match plain {
        Some(verb) => (verb.to_uppercase(), text(rule, verb)),
        None => {
            let custom = rule.get_field_by_name("custom");
            let custom = custom.as_deref().and_then(Value::as_message);
            let custom = custom.filter(|_| rule.has_field_by_name("custom"));
            let custom = custom.ok_or("google.api.http: a rule without a pattern")?;
            (text(custom, "kind"), text(custom, "path"))
        }
    };
    let mut rules = vec![HttpRule {
        verb,
        template,
        body: text(rule, "body"),
        response_body: text(rule, "response_body"),
    }];
    let more = rule.get_field_by_name("additional_bindings");
    for more in more.as_deref().and_then(Value::as_list).unwrap_or_default() {
        let more = more.as_message().ok_or("google.api.http: a binding is no message")?;
        if !main {
            return Err("google.api.http: additional_bindings within additional_bindings".into());
        }
        rules.extend(read_http(more, false)?);
    }
    Ok(rules)
}

fn check_rule(set: &Set, method: &MethodDescriptor, rule: &MethodRule) -> Result<(), Failure> {
    if set.scopes_required && rule.scope.is_empty() {
        return Err("transcode.v1.method: no scope".into());
    }
    let (input, output) = (method.input(), method.output());
    want(&output, &rule.pending_until, "a field of the answer", |_| true)?;
    want(&input, &rule.stream_field, "a bool field", |field| matches!(field.kind(), Kind::Bool))?;
    want(&input, &rule.mask_field, "a FieldMask field", |field| {
        field.kind().as_message().is_some_and(|m| m.full_name() == "google.protobuf.FieldMask")
    })?;
    check_tags(method, rule)?;
    if rule.stream_method.is_empty() {
        return match rule.stream_field.is_empty() {
            true => Ok(()),
            false => Err("transcode.v1.method: stream_field without stream_method".into()),
        };
    }
    let service = method.parent_service();
    let twin = service.methods().find(|twin| twin.name() == rule.stream_method);
    let fits = twin.is_some_and(|twin| twin.is_server_streaming() && twin.input() == input);
    match fits {
        true => Ok(()),
        false => Err(format!(
            "transcode.v1.method: stream_method {} is no streaming twin of the same request",
            rule.stream_method
        )
        .into()),
    }
}

fn check_tags(method: &MethodDescriptor, rule: &MethodRule) -> Result<(), Failure> {
    let (etag, output) = (rule.etag.as_str(), method.output());
    if etag == "*" && method.is_server_streaming() {
        return Err("transcode.v1.method: a stream has no etag".into());
    }
    if etag != "*" {
        let plain = |field: &FieldDescriptor| {
            field.containing_oneof().is_none_or(|oneof| oneof.is_synthetic())
        };
        want(&output, etag, "a string field", |field| {
            matches!(field.kind(), Kind::String) && plain(field)
        })?;
    }
    let (name, input) = (&rule.if_match_field, method.input());
    let list = |field: FieldDescriptor| field.is_list() && matches!(field.kind(), Kind::String);
    match name.is_empty() || input.get_field_by_name(name).is_some_and(list) {
        true => Ok(()),
        false => Err(format!("{name} is not a repeated string of {}", input.full_name()).into()),
    }
}

/// Refuses an option that names a field which is not there or not of the right kind; an empty name
/// is fine.
fn want(
    message: &MessageDescriptor,
    name: &str,
    kind: &str,
    fits: impl Fn(&FieldDescriptor) -> bool,
) -> Result<(), Failure> {
    let field = message.get_field_by_name(name);
    match name.is_empty() || field.is_some_and(|field| !field.is_list() && fits(&field)) {
        true => Ok(()),
        false => Err(format!("{name} is not {kind} of {}", message.full_name()).into()),
    }
}

/// The value of an extension in options; none: it is not set.
pub fn extension<'a>(
    pool: &DescriptorPool,
    options: &'a DynamicMessage,
    name: &str,
) -> Option<Cow<'a, Value>> {
    let extension = pool.get_extension_by_name(name)?;
    options.has_extension(&extension).then(|| options.get_extension(&extension))
}

/// A text field of an option; empty: unset.
pub fn text(message: &DynamicMessage, name: &str) -> String {
    let value = message.get_field_by_name(name);
    value.and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

fn flag(message: &DynamicMessage, name: &str) -> bool {
    let value = message.get_field_by_name(name);
    value.is_some_and(|value| value.as_bool() == Some(true))
}

fn texts(message: &DynamicMessage, name: &str) -> Vec<String> {
    let value = message.get_field_by_name(name);
    let list = value.as_deref().and_then(Value::as_list).unwrap_or_default();
    list.iter().filter_map(|item| item.as_str().map(str::to_owned)).collect()
}
