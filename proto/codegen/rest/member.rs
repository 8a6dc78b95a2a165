//! Emits what makes one member of an answer the response body: its writer, and for streams an item
//! that is the member.

use prost_reflect::FieldDescriptor;

use super::{
    Input, bind, names,
    rules::{Answer, Rule},
};
use crate::codegen::{Failure, json::shape};

/// The writers and items of all rules with a `response_body` that is JSON.
pub fn members(input: &Input) -> Result<String, Failure> {
    let rules = input.rules.iter().filter(|rule| !rule.answers_raw());
    let members = rules.map(|rule| match &rule.answer {
        Answer::Field(field) => member(input, rule, field),
        Answer::Whole => Ok(String::new()),
    });
    members.collect()
}

/// Name of the function that writes the member.
pub fn writer(rule: &Rule) -> String {
    format!("write_member_{}", rule.id)
}

/// Name of the item that is the member.
pub fn item(rule: &Rule) -> String {
    format!("Member{}", rule.id)
}

/// A closure that takes the field, a message, out of its message.
pub fn take(field: &FieldDescriptor) -> String {
    format!("|m| m.{}.unwrap_or_default()", names::field(field.name()))
}

fn member(input: &Input, rule: &Rule, field: &FieldDescriptor) -> Result<String, Failure> {
    let root = input.model.set.root;
    let (write, message) = (writer(rule), names::message(root, &rule.method.output));
    let mut code = format!(
        "fn {write}(m: &{message}, out: &mut json::Writer) {{\n{}}}\n\n",
        body(input, field)?
    );
    if rule.method.server_streaming {
        let item = item(rule);
        code += &format!(
            "struct {item}({message});\n\nimpl Event for {item} {{\n    \
             fn write_item(&self, out: &mut Vec<u8>) {{\n        \
             out.extend(json::written(|out| {write}(&self.0, out)));\n    }}\n}}\n\n"
        );
    }
    Ok(code)
}

/// A field that is not set is `null`.
fn body(input: &Input, field: &FieldDescriptor) -> Result<String, Failure> {
    let shape = shape::of(input.model, field)?;
    let write = |value: &str| format!("<{shape} as json::Shape<_>>::write({value}, out)");
    let one = match bind::oneof(field) {
        Some(oneof) => {
            let path = names::oneof(input.model.set.root, &oneof);
            Some((names::field(oneof.name()), format!("{path}::{}", names::variant(field))))
        }
        None if field.supports_presence() && !field.is_list() && !field.is_map() => {
            Some((names::field(field.name()), "Some".to_owned()))
        }
        None => None,
    };
    Ok(match one {
        Some((slot, some)) => {
            let some =
                if some == "Some" { "Some(v)".to_owned() } else { format!("Some({some}(v))") };
            format!(
                "    match &m.{slot} {{\n        {some} => {},\n        \
                 _ => out.raw(b\"null\"),\n    }}\n",
                write("v")
            )
        }
        None => format!("    {};\n", write(&format!("&m.{}", names::field(field.name())))),
    })
}
