//! Emits how streamed messages become items and server-sent events, and how `google.api.HttpBody`
//! becomes bytes.

use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};

use super::{Input, names};
use crate::codegen::{Failure, options};

/// An implementation for each message that some method streams over REST.
pub fn events(input: &Input) -> Result<String, Failure> {
    let mut seen: Vec<MessageDescriptor> = Vec::new();
    for service in input.services {
        let twin = |name: &str| service.methods.iter().any(|m| m.rule.stream_method == name);
        let streams = service.methods.iter().filter(|method| method.server_streaming);
        for method in streams.filter(|m| !m.http_rules.is_empty() || twin(&m.name)) {
            if !seen.contains(&method.output) && !options::is_raw(&method.output) {
                seen.push(method.output.clone());
            }
        }
    }
    seen.iter().map(|message| event(input.root, message)).collect()
}

/// The implementation for `google.api.HttpBody`, if the set has it.
pub fn raw(input: &Input) -> String {
    let Some(message) = input.model.pool.get_message_by_name("google.api.HttpBody") else {
        return String::new();
    };
    format!(
        "impl Raw for {0} {{\n    \
         fn new(content_type: String, data: bytes::Bytes) -> Self {{\n        \
         Self {{ content_type, data, extensions: Vec::new() }}\n    }}\n\n    \
         fn into_parts(self) -> (String, bytes::Bytes) {{\n        \
         (self.content_type, self.data)\n    }}\n}}\n\n",
        names::message(input.root, &message)
    )
}

fn event(root: &str, message: &MessageDescriptor) -> Result<String, Failure> {
    let rule = options::event(message)?;
    let mut body = "    fn write_item(&self, out: &mut Vec<u8>) {\n        \
                    json::append(self, out);\n    }\n\n"
        .to_owned();
    if let Some(rule) = &rule {
        for (function, name) in [("id", &rule.id), ("kind", &rule.kind)] {
            if let Some(field) = message.get_field_by_name(name) {
                body += &text(function, &field);
            }
        }
        if !rule.data.is_empty() {
            body += &data(root, message, &rule.data)?;
        }
    }
    Ok(format!("impl Event for {} {{\n{body}}}\n\n", names::message(root, message)))
}

fn text(function: &str, field: &FieldDescriptor) -> String {
    let name = names::field(field.name());
    let value = match field.supports_presence() {
        true => format!("self.{name}.as_deref().unwrap_or_default()"),
        false => format!("&self.{name}"),
    };
    format!("    fn {function}(&self) -> &str {{\n        {value}\n    }}\n\n")
}

fn data(root: &str, message: &MessageDescriptor, name: &str) -> Result<String, Failure> {
    let oneof = message.oneofs().find(|oneof| oneof.name() == name);
    let oneof = oneof.ok_or_else(|| format!("{} has no oneof {name}", message.full_name()))?;
    let path = names::oneof(root, &oneof);
    let mut arms = String::new();
    for field in oneof.fields() {
        if !matches!(field.kind(), Kind::Message(_)) {
            return Err(format!("{}: the data of an event is a message", field.full_name()).into());
        }
        let variant = names::variant(&field);
        arms += &format!("            Some({path}::{variant}(data)) => json::append(data, out),\n");
    }
    Ok(format!(
        "    fn write_data(&self, out: &mut Vec<u8>) {{\n        \
         match &self.{} {{\n{arms}            \
         None => out.extend_from_slice(b\"{{}}\"),\n        }}\n    }}\n",
        names::field(name)
    ))
}
