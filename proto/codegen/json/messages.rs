//! Generates the table, the writer and the reader of a message.

use std::collections::BTreeMap;
use std::fmt::Write;

use prost_reflect::{FieldDescriptor, MessageDescriptor, OneofDescriptor};

use super::shape;
use crate::codegen::{Failure, Model, names, options};

/// Most fields of one message: what the reader's bitmap holds.
const FIELDS_MAX: usize = 256;

pub fn generate(
    model: &Model,
    message: &MessageDescriptor,
    out: &mut String,
) -> Result<(), Failure> {
    let fields = in_file_order(message);
    if fields.len() > FIELDS_MAX {
        return Err(format!("{} fields, at most {FIELDS_MAX}", fields.len()).into());
    }
    let path = names::message(model.set.root, message);
    writeln!(
        out,
        "impl json::Json for {path} {{
    fn write_json(&self, out: &mut json::Writer) {{
        out.open(b'{{');
        json::Message::write_fields(self, out);
        out.close(b'}}');
    }}

    fn read_json<'de, D>(source: D, cx: &json::Context) -> Result<Self, D::Error>
    where
        D: ::serde::Deserializer<'de>,
    {{
        json::read_message(source, cx)
    }}
}}

impl json::Message for {path} {{"
    )?;
    table(model, message, &fields, out)?;
    index(&fields, out)?;
    writer(model, &fields, out)?;
    reader(model, &fields, out)?;
    writeln!(out, "}}\n")?;
    Ok(())
}

fn table(
    model: &Model,
    message: &MessageDescriptor,
    fields: &[FieldDescriptor],
    out: &mut String,
) -> Result<(), Failure> {
    writeln!(out, "    fn table() -> &'static json::Table {{")?;
    writeln!(out, "        static FIELDS: &[json::Field] = &[")?;
    for field in fields {
        let inner = match field.kind().as_message().filter(|_| shape::is_nest(field)) {
            Some(inner) => {
                let path = names::message(model.set.root, inner);
                format!("Some(<{path} as json::Message>::table)")
            }
            None => "None".to_owned(),
        };
        writeln!(
            out,
            "json::Field {{ name: {:?}, written: {:?}, output_only: {}, inner: {inner} }},",
            field.name(),
            written(model, field),
            options::is_output_only(field),
        )?;
    }
    writeln!(
        out,
        "        ];
        static TABLE: json::Table = json::Table {{
            name: {:?},
            fields: FIELDS,
            index: <{} as json::Message>::index,
        }};
        &TABLE
    }}\n",
        message.full_name(),
        names::message(model.set.root, message),
    )?;
    Ok(())
}

/// Generates the look-up of a name: first by length, so that few texts are compared.
fn index(fields: &[FieldDescriptor], out: &mut String) -> Result<(), Failure> {
    let mut by_name = BTreeMap::new();
    for (index, field) in fields.iter().enumerate() {
        for name in [field.name(), field.json_name()] {
            if by_name.insert((name.len(), name.to_owned()), index).is_some_and(|old| old != index)
            {
                return Err(format!("two fields are {name} in JSON").into());
            }
        }
    }
    writeln!(out, "    fn index(name: &str) -> Option<usize> {{\n        match name.len() {{")?;
    let mut lengths: Vec<_> = by_name.keys().map(|(length, _)| *length).collect();
    lengths.dedup();
    for length in lengths {
        writeln!(out, "            {length} => match name {{")?;
        for ((_, name), index) in by_name.iter().filter(|((other, _), _)| *other == length) {
            writeln!(out, "                {name:?} => Some({index}),")?;
        }
        writeln!(out, "                _ => None,\n            }},")?;
    }
    writeln!(out, "            _ => None,\n        }}\n    }}\n")?;
    Ok(())
}

fn writer(model: &Model, fields: &[FieldDescriptor], out: &mut String) -> Result<(), Failure> {
    let unused = if fields.is_empty() { "_" } else { "" };
    writeln!(out, "    fn write_fields(&self, {unused}out: &mut json::Writer) {{")?;
    let mut done = Vec::new();
    for field in fields {
        if let Some(oneof) = real_oneof(field) {
            if !done.contains(&oneof) {
                write_oneof(model, &oneof, out)?;
                done.push(oneof);
            }
            continue;
        }
        let put = match (has_option(field), model.set.style.defaults || field.is_required()) {
            (true, _) => "put_some",
            (false, true) => "put",
            (false, false) => "put_set",
        };
        let (shape, name) = (shape::of(model, field)?, names::field(field.name()));
        writeln!(
            out,
            "        json::{put}::<{shape}, _>(out, {:?}, &self.{name});",
            key(model, field)
        )?;
    }
    writeln!(out, "    }}\n")?;
    Ok(())
}

fn write_oneof(model: &Model, oneof: &OneofDescriptor, out: &mut String) -> Result<(), Failure> {
    let path = names::oneof(model.set.root, oneof);
    writeln!(out, "        match &self.{} {{", names::field(oneof.name()))?;
    writeln!(out, "            None => (),")?;
    for field in oneof.fields() {
        let (shape, variant) = (shape::of(model, &field)?, names::variant(&field));
        let key = key(model, &field);
        writeln!(out, "            Some({path}::{variant}(value)) => {{")?;
        writeln!(
            out,
            "                json::put::<{shape}, _>(out, {key:?}, value);\n            }}"
        )?;
    }
    writeln!(out, "        }}")?;
    Ok(())
}

fn reader(model: &Model, fields: &[FieldDescriptor], out: &mut String) -> Result<(), Failure> {
    let unused = if fields.is_empty() { "_" } else { "" };
    writeln!(
        out,
        "    fn read_field<'de, A>(
        &mut self,
        index: usize,
        {unused}map: &mut A,
        {unused}cx: &json::Context,
    ) -> Result<(), A::Error>
    where
        A: ::serde::de::MapAccess<'de>,
    {{
        match index {{"
    )?;
    for (index, field) in fields.iter().enumerate() {
        let (shape, name) = (shape::of(model, field)?, names::field(field.name()));
        if let Some(oneof) = real_oneof(field) {
            let (path, slot) = (names::oneof(model.set.root, &oneof), names::field(oneof.name()));
            let variant = names::variant(field);
            writeln!(
                out,
                "            {index} => {{
                if let Some(value) = json::one::<{shape}, _, _>(map, cx, self.{slot}.is_some())? {{
                    self.{slot} = Some({path}::{variant}(value));
                }}
                Ok(())
            }}"
            )?;
            continue;
        }
        let read = if has_option(field) { "read_some" } else { "read" };
        writeln!(
            out,
            "            {index} => json::{read}::<{shape}, _, _>(map, cx, &mut self.{name}),"
        )?;
    }
    writeln!(out, "            _ => Ok(()),\n        }}\n    }}")?;
    Ok(())
}

/// The fields of a message in the order of its file.
pub fn in_file_order(message: &MessageDescriptor) -> Vec<FieldDescriptor> {
    let mut fields: Vec<_> = message.fields().collect();
    fields.sort_by_key(|field| field.path().last().copied());
    fields
}

/// The oneof of a field, unless it only stands for `optional`.
pub fn real_oneof(field: &FieldDescriptor) -> Option<OneofDescriptor> {
    field.containing_oneof().filter(|oneof| !oneof.is_synthetic())
}

/// True when the Rust field is an `Option`.
pub fn has_option(field: &FieldDescriptor) -> bool {
    field.supports_presence() && !field.is_required() && !field.is_list() && !field.is_map()
}

/// The name that is written in JSON.
pub fn written(model: &Model, field: &FieldDescriptor) -> String {
    let name = if model.set.style.proto_names { field.name() } else { field.json_name() };
    name.to_owned()
}

/// The name in quotes and a colon.
fn key(model: &Model, field: &FieldDescriptor) -> String {
    // A name has no control characters, but a `json_name` may have quotes.
    let name = written(model, field).replace('\\', "\\\\").replace('"', "\\\"");
    format!("\"{name}\":")
}
