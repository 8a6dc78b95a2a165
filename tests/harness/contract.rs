//! The contract as the tests know it: messages between JSON of the house form and bytes, by
//! reflection over the descriptor set. Shares no code with the generated codec, so that the two
//! check each other.

use std::sync::OnceLock;

use prost::Message;
use prost_reflect::{
    DescriptorPool, DeserializeOptions, DynamicMessage, EnumDescriptor, FieldDescriptor, Kind,
    MessageDescriptor, MethodDescriptor, ReflectMessage, Value as Reflected,
};
use serde_json::{Map, Value};

/// The descriptors of the contract, options included.
pub fn pool() -> &'static DescriptorPool {
    static POOL: OnceLock<DescriptorPool> = OnceLock::new();
    POOL.get_or_init(|| {
        DescriptorPool::decode(runplane::proto::DESCRIPTOR_SET).expect("the descriptor set")
    })
}

/// A method by its short name, `AgentsService/GetAgent`.
pub fn method(name: &str) -> MethodDescriptor {
    let (service, call) = name.split_once('/').expect("Service/Method");
    let service = pool()
        .get_service_by_name(&format!("runplane.v1.{service}"))
        .unwrap_or_else(|| panic!("no service {service}"));
    service.methods().find(|m| m.name() == call).unwrap_or_else(|| panic!("no method {name}"))
}

/// The bytes of a message in JSON of the house form. Panics on what does not fit: the test is
/// wrong.
pub fn encode(kind: &MessageDescriptor, json: &Value) -> Vec<u8> {
    let standard = standard(kind, json);
    let options = DeserializeOptions::new().deny_unknown_fields(true);
    DynamicMessage::deserialize_with_options(kind.clone(), &standard, &options)
        .unwrap_or_else(|e| panic!("{} from {json}: {e}", kind.name()))
        .encode_to_vec()
}

/// A message in JSON of the house form.
pub fn decode(kind: &MessageDescriptor, bytes: &[u8]) -> Value {
    let message = DynamicMessage::decode(kind.clone(), bytes)
        .unwrap_or_else(|e| panic!("bytes of {}: {e}", kind.name()));
    house(&message)
}

/// JSON where a number without a fraction is an integer, so that two writers compare.
pub fn normal(json: Value) -> Value {
    match json {
        Value::Number(number) => number
            .as_f64()
            .filter(|n| n.fract() == 0.0 && n.abs() < 9e15)
            .map_or(Value::Number(number), whole),
        Value::Array(items) => items.into_iter().map(normal).collect(),
        Value::Object(fields) => fields.into_iter().map(|(k, v)| (k, normal(v))).collect(),
        other => other,
    }
}

#[expect(clippy::cast_possible_truncation, reason = "checked: whole and below 2^53")]
fn whole(number: f64) -> Value {
    Value::from(number as i64)
}

/// Writes what ADR 0003 says: names of the proto, words for enums, and every field without
/// presence.
fn house(message: &DynamicMessage) -> Value {
    let kind = message.descriptor();
    if kind.parent_file().package_name() == "google.protobuf" {
        return serde_json::to_value(message).expect("a well-known type");
    }
    let shown = |field: &FieldDescriptor| !field.supports_presence() || message.has_field(field);
    let pair = |field: FieldDescriptor| {
        (field.name().to_owned(), field_json(&field, &message.get_field(&field)))
    };
    Value::Object(kind.fields().filter(shown).map(pair).collect())
}

fn field_json(field: &FieldDescriptor, value: &Reflected) -> Value {
    match value {
        Reflected::List(items) => items.iter().map(|item| plain(&field.kind(), item)).collect(),
        Reflected::Map(entries) => {
            let kind = map_value(field).kind();
            let key = |key: &prost_reflect::MapKey| match key {
                prost_reflect::MapKey::String(text) => text.clone(),
                other => Reflected::from(other.clone()).to_string(),
            };
            Value::Object(entries.iter().map(|(k, v)| (key(k), plain(&kind, v))).collect())
        }
        value => plain(&field.kind(), value),
    }
}

fn plain(kind: &Kind, value: &Reflected) -> Value {
    match value {
        Reflected::Bool(v) => Value::from(*v),
        Reflected::I32(v) => Value::from(*v),
        Reflected::U32(v) => Value::from(*v),
        Reflected::I64(v) => Value::from(v.to_string()),
        Reflected::U64(v) => Value::from(v.to_string()),
        Reflected::F32(v) => Value::from(*v),
        Reflected::F64(v) => Value::from(*v),
        Reflected::String(v) => Value::from(v.clone()),
        Reflected::EnumNumber(number) => match kind {
            Kind::Enum(of) => word(of, *number),
            _ => Value::from(*number),
        },
        Reflected::Message(message) => house(message),
        Reflected::Bytes(_) | Reflected::List(_) | Reflected::Map(_) => {
            panic!("the contract has no such field")
        }
    }
}

/// The type of the values of a map.
fn map_value(field: &FieldDescriptor) -> FieldDescriptor {
    let Kind::Message(entry) = field.kind() else { panic!("{} is no map", field.name()) };
    entry.map_entry_value_field()
}

/// `RUN_STATUS_IN_PROGRESS` as `in_progress`; an unknown number as it is.
fn word(of: &EnumDescriptor, number: i32) -> Value {
    let Some(value) = of.get_value(number) else { return Value::from(number) };
    Value::from(value.name().trim_start_matches(&prefix(of)).to_lowercase())
}

/// `RunStatus` as `RUN_STATUS_`.
fn prefix(of: &EnumDescriptor) -> String {
    let mut text = String::new();
    for c in of.name().chars() {
        if c.is_uppercase() && !text.is_empty() {
            text.push('_');
        }
        text.extend(c.to_uppercase());
    }
    text + "_"
}

/// House JSON as standard ProtoJSON reads it: enum words in full, masks in camelCase.
fn standard(kind: &MessageDescriptor, json: &Value) -> Value {
    let Value::Object(fields) = json else { return json.clone() };
    if kind.parent_file().package_name() == "google.protobuf" {
        return json.clone();
    }
    let pairs = fields.iter().map(|(name, value)| {
        let field = kind.get_field_by_name(name);
        (name.clone(), field.map_or(value.clone(), |field| standard_field(&field, value)))
    });
    Value::Object(pairs.collect::<Map<_, _>>())
}

fn standard_field(field: &FieldDescriptor, value: &Value) -> Value {
    if field.is_map() {
        let of = map_value(field);
        let Value::Object(entries) = value else { return value.clone() };
        return entries.iter().map(|(k, v)| (k.clone(), standard_field(&of, v))).collect();
    }
    if field.is_list()
        && let Value::Array(items) = value
    {
        return items.iter().map(|item| standard_one(&field.kind(), item)).collect();
    }
    standard_one(&field.kind(), value)
}

fn standard_one(kind: &Kind, value: &Value) -> Value {
    match (kind, value) {
        (Kind::Enum(of), Value::String(text)) if *text == text.to_lowercase() => {
            Value::from(prefix(of) + &text.to_uppercase())
        }
        (Kind::Message(of), Value::String(text)) if of.name() == "FieldMask" => {
            Value::from(camel(text))
        }
        (Kind::Message(of), value) => standard(of, value),
        _ => value.clone(),
    }
}

fn camel(snake: &str) -> String {
    let mut text = String::new();
    let mut upper = false;
    for c in snake.chars() {
        if c == '_' {
            upper = true;
        } else {
            text.extend(c.to_uppercase().take(usize::from(upper)));
            text.extend((!upper).then_some(c));
            upper = false;
        }
    }
    text
}

#[test]
fn house_json_goes_to_bytes_and_back() {
    let kind = method("AgentsService/CreateAgent").input();
    let agent = serde_json::json!({
        "name": "a", "model": "sim", "metadata": {"k": "v"}, "max_steps": 3,
        "parameters": [{"name": "p", "type": "enum", "options": ["x", 1, null]}],
        "sim": {"turns": [{"text": "t"}], "tokens_per_second": 1.5},
    });
    let bytes = encode(&kind, &serde_json::json!({ "agent": agent }));
    let back = &decode(&kind, &bytes)["agent"];
    assert_eq!(back["parameters"][0]["type"], "enum");
    assert_eq!(normal(back["parameters"][0]["options"].clone()), serde_json::json!(["x", 1, null]));
    assert_eq!(back["sim"]["tokens_per_second"], 1.5);
    assert_eq!(back["max_steps"], 3);
    // Without presence: written. With presence and unset: not.
    assert_eq!(back["description"], "");
    assert_eq!(back["environment"], "unspecified");
    assert_eq!(back.get("timeout_seconds"), None);
    assert_eq!(back.get("created_at"), None);
}
