//! Names of generated items, as prost gives them. Every generator that refers to a message, field
//! or oneof asks here.

use heck::{ToSnakeCase, ToUpperCamelCase};
use prost_reflect::{EnumDescriptor, FieldDescriptor, MessageDescriptor, OneofDescriptor};

/// Path of a message's struct. Types of `google.protobuf` are those of `prost_types`.
pub fn message(root: &str, message: &MessageDescriptor) -> String {
    let name = upper(message.name());
    if message.package_name() == "google.protobuf" {
        return match message.name() {
            "Empty" => "()".to_owned(),
            "BoolValue" => "bool".to_owned(),
            "BytesValue" => "::prost::alloc::vec::Vec<u8>".to_owned(),
            "DoubleValue" => "f64".to_owned(),
            "FloatValue" => "f32".to_owned(),
            "Int32Value" => "i32".to_owned(),
            "Int64Value" => "i64".to_owned(),
            "StringValue" => "::prost::alloc::string::String".to_owned(),
            "UInt32Value" => "u32".to_owned(),
            "UInt64Value" => "u64".to_owned(),
            _ => format!("::prost_types::{name}"),
        };
    }
    format!("{}::{name}", scope(root, message.package_name(), message.parent_message()))
}

/// Path of an enum.
pub fn enumeration(root: &str, item: &EnumDescriptor) -> String {
    if item.package_name() == "google.protobuf" {
        return format!("::prost_types::{}", upper(item.name()));
    }
    format!("{}::{}", scope(root, item.package_name(), item.parent_message()), upper(item.name()))
}

/// Path of the enum that a oneof becomes.
pub fn oneof(root: &str, oneof: &OneofDescriptor) -> String {
    let message = oneof.parent_message();
    let scope = scope(root, message.package_name(), Some(message.clone()));
    format!("{scope}::{}", upper(oneof.name()))
}

/// Name of a struct's field, for a field or a oneof.
pub fn field(name: &str) -> String {
    ident(name.to_snake_case())
}

/// Name of the variant that a member of a oneof becomes.
pub fn variant(field: &FieldDescriptor) -> String {
    upper(field.name())
}

/// Path of the module that a package, or a message within it, becomes.
fn scope(root: &str, package: &str, parent: Option<MessageDescriptor>) -> String {
    match parent {
        Some(parent) => {
            let scope = scope(root, package, parent.parent_message());
            format!("{scope}::{}", ident(parent.name().to_snake_case()))
        }
        None => package
            .split('.')
            .filter(|part| !part.is_empty())
            .fold(root.to_owned(), |path, part| format!("{path}::{}", ident(part.to_snake_case()))),
    }
}

fn upper(name: &str) -> String {
    ident(name.to_upper_camel_case())
}

/// Makes a name that Rust keeps for itself usable, in prost's way.
fn ident(name: String) -> String {
    const RAW: &[&str] = &[
        "as", "break", "const", "continue", "else", "enum", "false", "fn", "for", "if", "impl",
        "in", "let", "loop", "match", "mod", "move", "mut", "pub", "ref", "return", "static",
        "struct", "trait", "true", "type", "unsafe", "use", "where", "while", "dyn", "abstract",
        "become", "box", "do", "final", "macro", "override", "priv", "typeof", "unsized",
        "virtual", "yield", "async", "await", "try", "gen",
    ];
    match name.as_str() {
        "_" | "super" | "self" | "Self" | "extern" | "crate" => format!("{name}_"),
        raw if RAW.contains(&raw) => format!("r#{name}"),
        number if number.starts_with(char::is_numeric) => format!("_{name}"),
        _ => name,
    }
}
