//! The REST door's side of the contract, read from the annotations: where a method lives, which
//! fields go where, and how an event stream is read.

use prost_reflect::{DynamicMessage, MethodDescriptor, Value as Reflected};
use serde_json::{Map, Value};

use super::contract::pool;
use crate::openapi::described;

/// One HTTP request.
#[derive(Debug, PartialEq)]
pub struct Call {
    /// `GET`.
    pub verb: String,
    /// Path and query.
    pub target: String,
    /// Body, if the method has one.
    pub body: Option<Value>,
    /// True asks for an event stream by `Accept`.
    pub accept_events: bool,
}

/// One server-sent event.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Frame {
    /// `id:`.
    pub id: String,
    /// `event:`.
    pub event: String,
    /// `data:`.
    pub data: String,
}

/// Reads frames from the bytes of an event stream as they come.
#[derive(Default)]
pub struct Frames {
    buffer: Vec<u8>,
}

impl Call {
    /// The request that calls a method with these fields.
    pub fn of(method: &MethodDescriptor, json: &Value) -> Self {
        let mut fields = json.as_object().expect("an object of fields").clone();
        if let Some(rule) = http_rule(method) {
            return Self::by(&rule, fields);
        }
        let (plain, stream_field) = plain_twin(method);
        let rule = http_rule(&plain).expect("a twin with a route");
        let accept_events = stream_field.is_empty();
        if !accept_events {
            fields.insert(stream_field, Value::Bool(true));
        }
        Self { accept_events, ..Self::by(&rule, fields) }
    }

    /// Panics when the description of the API does not foresee this answer.
    pub fn described(&self, status: u16, kind: &str, body: &Value) {
        let (verb, target) = (self.verb.as_str(), self.target.as_str());
        described::check(&described::Answer { verb, target, status, kind, body });
    }

    fn by(rule: &DynamicMessage, mut fields: Map<String, Value>) -> Self {
        let verbs = ["get", "put", "post", "delete", "patch"];
        let verb = verbs.iter().find(|v| rule.has_field_by_name(v)).expect("a verb");
        let mut target = String::new();
        for segment in text(rule, verb).split('/').skip(1) {
            let name = segment.strip_prefix('{').and_then(|s| s.strip_suffix('}'));
            let value = name.map(|name| plain(&fields.remove(name).unwrap_or_default()));
            let value = value.unwrap_or_else(|| segment.to_owned());
            target = format!("{target}/{}", if name.is_some() { escape(&value) } else { value });
        }
        let body = match text(rule, "body").as_str() {
            "" => None,
            "*" => Some(Value::Object(std::mem::take(&mut fields))),
            field => Some(fields.remove(field).unwrap_or_else(|| Value::Object(Map::new()))),
        };
        let mut pairs = Vec::new();
        fields.iter().for_each(|(name, value)| query(name, value, &mut pairs));
        // In one order, whatever that of the fields is.
        pairs.sort_by(|a, b| name_of(a).cmp(name_of(b)));
        if !pairs.is_empty() {
            target = format!("{target}?{}", pairs.join("&"));
        }
        Self { verb: verb.to_uppercase(), target, body, accept_events: false }
    }
}

impl Frames {
    /// Takes in what has come.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole frame; comments are passed over.
    pub fn next(&mut self) -> Option<Frame> {
        loop {
            let end = self.buffer.windows(2).position(|pair| pair == b"\n\n")? + 2;
            let block: Vec<u8> = self.buffer.drain(..end).collect();
            let block = String::from_utf8(block).expect("UTF-8 in an event stream");
            let mut frame = Frame::default();
            let mut data = Vec::new();
            for line in block.lines().filter(|line| !line.starts_with(':')) {
                let (name, value) = line.split_once(':').unwrap_or((line, ""));
                let value = value.strip_prefix(' ').unwrap_or(value);
                match name {
                    "id" => value.clone_into(&mut frame.id),
                    "event" => value.clone_into(&mut frame.event),
                    "data" => data.push(value),
                    _ => {}
                }
            }
            frame.data = data.join("\n");
            if frame != Frame::default() {
                return Some(frame);
            }
        }
    }
}

/// The `google.api.http` annotation of a method.
pub fn http_rule(method: &MethodDescriptor) -> Option<DynamicMessage> {
    option(method, "google.api.http")
}

/// The `transcode.v1.method` annotation of a method.
pub fn method_rule(method: &MethodDescriptor) -> Option<DynamicMessage> {
    option(method, "transcode.v1.method")
}

fn option(method: &MethodDescriptor, name: &str) -> Option<DynamicMessage> {
    let extension = pool().get_extension_by_name(name).expect("a known option");
    let options = method.options();
    options.has_extension(&extension).then(|| {
        let value = options.get_extension(&extension);
        value.as_message().expect("a message").clone()
    })
}

/// The method whose REST route a streaming twin takes over, and the field that asks for it.
fn plain_twin(method: &MethodDescriptor) -> (MethodDescriptor, String) {
    let service = method.parent_service().clone();
    let mut twins = service.methods().filter_map(|plain| {
        let rule = method_rule(&plain)?;
        (text(&rule, "stream_method") == method.name())
            .then(|| (plain.clone(), text(&rule, "stream_field")))
    });
    twins.next().unwrap_or_else(|| panic!("{} has no route and no twin", method.name()))
}

fn text(message: &DynamicMessage, field: &str) -> String {
    let value = message.get_field_by_name(field).map(std::borrow::Cow::into_owned);
    value.as_ref().and_then(Reflected::as_str).unwrap_or_default().to_owned()
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn query(name: &str, value: &Value, pairs: &mut Vec<String>) {
    match value {
        Value::Null => {}
        Value::Array(items) => items.iter().for_each(|item| query(name, item, pairs)),
        Value::Object(fields) => {
            fields.iter().for_each(|(field, v)| query(&format!("{name}.{field}"), v, pairs));
        }
        value => pairs.push(format!("{name}={}", escape(&plain(value)))),
    }
}

fn name_of(pair: &str) -> &str {
    pair.split('=').next().unwrap_or_default()
}

fn escape(text: &str) -> String {
    let keep = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let escaped = text.bytes().map(|b| match keep(b) {
        true => char::from(b).to_string(),
        false => format!("%{b:02X}"),
    });
    escaped.collect()
}

#[test]
fn a_call_is_made_as_its_annotation_says() {
    use serde_json::json;

    use super::contract::method;
    let of = |name: &str, fields: Value| Call::of(&method(name), &fields);
    let get = of("AgentsService/GetAgentVersion", json!({"agent_id": "a/b", "version": 2}));
    assert_eq!((get.verb.as_str(), get.target.as_str()), ("GET", "/v1/agents/a%2Fb/versions/2"));
    let fields = json!({"id": "x", "agent": {"name": "n"}, "update_mask": "name", "if_version": 1});
    let patch = of("AgentsService/UpdateAgent", fields);
    assert_eq!(patch.target, "/v1/agents/x?if_version=1&update_mask=name");
    assert_eq!(patch.body, Some(json!({"name": "n"})));
    let list = of("RunsService/ListRuns", json!({"status": ["queued", "failed"], "limit": 2}));
    assert_eq!(
        (list.body, list.target.as_str()),
        (None, "/v1/runs?limit=2&status=queued&status=failed")
    );
    let stream = of("RunsService/StreamRun", json!({"agent_id": "x"}));
    assert_eq!((stream.target.as_str(), stream.accept_events), ("/v1/runs", false));
    assert_eq!(stream.body, Some(json!({"agent_id": "x", "stream": true})));
    let watch = of("RunsService/WatchRun", json!({"run_id": "x", "after": "2"}));
    assert_eq!((watch.target.as_str(), watch.accept_events), ("/v1/runs/x/events?after=2", true));
}

#[test]
fn frames_are_read_as_they_come() {
    let mut frames = Frames::default();
    frames.push(b": ping\n\nid: 1\nevent: step\nda");
    assert_eq!(frames.next(), None);
    frames.push(b"ta: {\"a\":1}\n\n");
    let frame = frames.next().expect("a frame");
    assert_eq!(
        (frame.id.as_str(), frame.event.as_str(), frame.data.as_str()),
        ("1", "step", "{\"a\":1}")
    );
    assert_eq!(frames.next(), None);
}
