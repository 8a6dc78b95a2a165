//! Emits the query binders: for each rule a `match` over the names that its query may hold, and one
//! for each message that lies within a request.

use std::collections::BTreeMap;

use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor, OneofDescriptor};

use super::{
    Input, names,
    rules::{Body, Rule},
};
use crate::codegen::options;

/// Messages of `google.protobuf` that one text can carry.
const TEXTS: [&str; 12] = [
    "Timestamp",
    "Duration",
    "FieldMask",
    "BoolValue",
    "Int32Value",
    "Int64Value",
    "UInt32Value",
    "UInt64Value",
    "FloatValue",
    "DoubleValue",
    "StringValue",
    "BytesValue",
];

/// The binders of all rules and of the messages that they step into.
pub(super) fn binders(input: &Input) -> String {
    let mut within = BTreeMap::new();
    let mut code = String::new();
    for rule in input.rules.iter().filter(|rule| !matches!(rule.body, Body::Whole)) {
        for field in fields(&rule.method.input, &rule.taken()) {
            reach(&field, &mut within);
        }
        if is_bound(rule) {
            let name = format!("bind_rule_{}", rule.id);
            code += &binder(input.root, &name, &rule.method.input, rule);
        }
    }
    for message in within.values() {
        code += &inner_binder(input.root, message);
    }
    code
}

/// True when a query can set anything of the rule's request.
pub fn is_bound(rule: &Rule) -> bool {
    !matches!(rule.body, Body::Whole) && !fields(&rule.method.input, &rule.taken()).is_empty()
}

/// What reads a field's value from one text; none: nothing does.
pub fn parser(root: &str, field: &FieldDescriptor) -> Option<String> {
    match field.kind() {
        Kind::Enum(kind) if kind.package_name() == "google.protobuf" => None,
        Kind::Enum(kind) => Some(format!("text::read_enum::<{}>", names::enumeration(root, &kind))),
        Kind::Message(message) => is_text(&message).then(|| "text::read".to_owned()),
        _ => Some("text::read".to_owned()),
    }
}

/// Sets a field to a value; `place` ends in a dot.
pub fn assign(root: &str, place: &str, field: &FieldDescriptor, value: &str) -> String {
    let name = names::field(field.name());
    match oneof(field) {
        Some(oneof) => {
            let (slot, path) = (names::field(oneof.name()), names::oneof(root, &oneof));
            format!("{place}{slot} = Some({path}::{}({value}));", names::variant(field))
        }
        None if field.supports_presence() => format!("{place}{name} = Some({value});"),
        None => format!("{place}{name} = {value};"),
    }
}

/// The oneof that a field is a member of; `optional` makes none.
pub fn oneof(field: &FieldDescriptor) -> Option<OneofDescriptor> {
    field.containing_oneof().filter(|oneof| !oneof.is_synthetic())
}

fn is_text(message: &MessageDescriptor) -> bool {
    message.package_name() == "google.protobuf" && TEXTS.contains(&message.name())
}

/// Fields that a query can set, or set something within.
pub fn fields(message: &MessageDescriptor, taken: &[u32]) -> Vec<FieldDescriptor> {
    let bindable = |field: &FieldDescriptor| match field.kind() {
        _ if taken.contains(&field.number()) || field.is_map() => false,
        Kind::Message(inner) if options::is_raw(&inner) => false,
        Kind::Message(inner) if field.is_list() || inner.package_name() == "google.protobuf" => {
            !field.is_list() && is_text(&inner)
        }
        Kind::Enum(kind) => kind.package_name() != "google.protobuf",
        _ => true,
    };
    message.fields().filter(bindable).collect()
}

fn reach(field: &FieldDescriptor, within: &mut BTreeMap<String, MessageDescriptor>) {
    let Some(message) = inner(field) else { return };
    if within.insert(message.full_name().to_owned(), message.clone()).is_none() {
        fields(&message, &[]).iter().for_each(|field| reach(field, within));
    }
}

/// The message that a query steps into by this field.
pub fn inner(field: &FieldDescriptor) -> Option<MessageDescriptor> {
    match field.kind() {
        Kind::Message(message) if !is_text(&message) => Some(message),
        _ => None,
    }
}

fn binder(root: &str, name: &str, message: &MessageDescriptor, rule: &Rule) -> String {
    let taken = rule.taken_within();
    let refuse = match taken.is_empty() {
        true => String::new(),
        false => format!("    pair.refuse(&{taken:?})?;\n"),
    };
    function(root, name, message, &(refuse + &arms(root, message, &rule.taken())))
}

fn inner_binder(root: &str, message: &MessageDescriptor) -> String {
    function(root, &binder_name(message), message, &arms(root, message, &[]))
}

fn function(root: &str, name: &str, message: &MessageDescriptor, body: &str) -> String {
    let m = if body.contains("m.") { "m" } else { "_" };
    format!(
        "fn {name}({m}: &mut {}, pair: &mut Pair<'_>) -> Decoded<()> {{\n{body}    Ok(())\n}}\n\n",
        names::message(root, message)
    )
}

fn arms(root: &str, message: &MessageDescriptor, taken: &[u32]) -> String {
    let arms: String = fields(message, taken).iter().map(|field| arm(root, field)).collect();
    format!("    match pair.step() {{\n{arms}        _ => return Err(pair.unknown()),\n    }}\n")
}

fn arm(root: &str, field: &FieldDescriptor) -> String {
    let mut spellings = vec![format!("{:?}", field.name()), format!("{:?}", field.json_name())];
    spellings.dedup();
    let (name, number) = (names::field(field.name()), field.number());
    let member = oneof(field).map(|oneof| {
        format!("pair.member({}, {number})?; ", oneof.path().last().copied().unwrap_or_default())
    });
    let member = member.unwrap_or_default();
    let action = match (inner(field), parser(root, field)) {
        (None, Some(parse)) if field.is_list() => format!("m.{name}.push(pair.item({parse})?);"),
        (None, Some(parse)) => {
            let value = format!("pair.single({number}, {parse})?");
            format!("{member}{}", assign(root, "m.", field, &value))
        }
        (Some(message), _) => {
            let step = step(root, field, &message);
            format!("{member}pair.enter({number})?; {step}")
        }
        (None, None) => "return Err(pair.unknown());".to_owned(),
    };
    format!("        {} => {{ {action} }}\n", spellings.join(" | "))
}

/// Steps into a message, which is made when it is not there.
fn step(root: &str, field: &FieldDescriptor, message: &MessageDescriptor) -> String {
    let bind = binder_name(message);
    match oneof(field) {
        None => format!("{bind}(m.{}.get_or_insert_default(), pair)?;", names::field(field.name())),
        Some(oneof) => {
            let (slot, path) = (names::field(oneof.name()), names::oneof(root, &oneof));
            let variant = format!("{path}::{}", names::variant(field));
            format!(
                "if !matches!(m.{slot}, Some({variant}(_))) {{ \
                 m.{slot} = Some({variant}(Default::default())); }} \
                 if let Some({variant}(inner)) = &mut m.{slot} {{ {bind}(inner, pair)?; }}"
            )
        }
    }
}

fn binder_name(message: &MessageDescriptor) -> String {
    format!("bind_{}", heck::ToSnakeCase::to_snake_case(message.full_name()))
}
