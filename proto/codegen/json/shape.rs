//! How a field is kept in Rust, in the terms of the codec's `Shape`.

use prost_reflect::{FieldDescriptor, Kind};

use crate::codegen::{Failure, Model, names};

/// Messages of `google.protobuf` that the codec has a form for.
const KNOWN: &[&str] = &[
    "Any",
    "BoolValue",
    "BytesValue",
    "DoubleValue",
    "Duration",
    "Empty",
    "FieldMask",
    "FloatValue",
    "Int32Value",
    "Int64Value",
    "ListValue",
    "StringValue",
    "Struct",
    "Timestamp",
    "UInt32Value",
    "UInt64Value",
    "Value",
];

/// The shape of a whole field, lists and maps included, as a path behind the codec's alias `json`.
pub fn of(model: &Model, field: &FieldDescriptor) -> Result<String, Failure> {
    if field.is_map() {
        let Kind::Message(entry) = field.kind() else {
            return Err(format!("{} is a map without entries", field.full_name()).into());
        };
        return Ok(format!("json::Map<{}>", element(model, &entry.map_entry_value_field())?));
    }
    let element = element(model, field)?;
    Ok(if field.is_list() { format!("json::List<{element}>") } else { element })
}

/// The shape of one value of a field.
pub fn element(model: &Model, field: &FieldDescriptor) -> Result<String, Failure> {
    match field.kind() {
        Kind::Enum(item) if item.full_name() == "google.protobuf.NullValue" => {
            Ok("json::Null".to_owned())
        }
        Kind::Enum(item) => {
            Ok(format!("json::Enum<{}>", names::enumeration(model.set.root, &item)))
        }
        Kind::Message(message) if message.package_name() == "google.protobuf" => {
            if !KNOWN.contains(&message.name()) {
                return Err(format!("{} has no JSON form", message.full_name()).into());
            }
            let mask = message.name() == "FieldMask" && model.set.style.proto_names;
            Ok(if mask { "json::Mask" } else { "json::Plain" }.to_owned())
        }
        _ => Ok("json::Plain".to_owned()),
    }
}

/// True for a field of one message that has no JSON form of its own: a mask may go into it.
pub fn is_nest(field: &FieldDescriptor) -> bool {
    let message = field.kind().as_message().map(|message| message.package_name().to_owned());
    !field.is_list()
        && !field.is_map()
        && message.is_some_and(|package| package != "google.protobuf")
}
