//! Schemas of fields: what the codec writes and how a request should be written. What it reads
//! besides (numbers as texts, other spellings, `null` for nothing) is not described: nobody should
//! write it.

use prost_reflect::{EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor};
use serde_json::{Map, Value, json};

use super::{form::Form, merge, object, parsed, schemas::Schemas};
use crate::codegen::{
    Failure, Model, comments,
    json::enums::word,
    options::{self, extension, text},
};

/// `transcode.v1.field`; empty texts are unset.
#[derive(Default)]
pub struct Rule {
    min: Option<f64>,
    max: Option<f64>,
    pattern: String,
    example: String,
    schema: String,
    /// Name of the event whose data the field is.
    pub event: String,
    /// True when that event is the last.
    pub terminal: bool,
}

impl Rule {
    /// What the options of a field say.
    pub fn of(field: &FieldDescriptor) -> Self {
        let options = field.options();
        let pool = field.parent_message().parent_pool();
        let Some(rule) = extension(pool, &options, "transcode.v1.field") else {
            return Self::default();
        };
        let Some(rule) = rule.as_message() else { return Self::default() };
        let number = |name: &str| {
            let set = rule.has_field_by_name(name);
            rule.get_field_by_name(name).filter(|_| set).and_then(|value| value.as_f64())
        };
        let terminal = rule.get_field_by_name("terminal").and_then(|value| value.as_bool());
        Self {
            min: number("min"),
            max: number("max"),
            pattern: text(rule, "pattern"),
            example: text(rule, "example"),
            schema: text(rule, "schema"),
            event: text(rule, "event"),
            terminal: terminal.unwrap_or_default(),
        }
    }

    fn apply(&self, schema: &mut Map<String, Value>) -> Result<(), Failure> {
        let names = match schema.get("type").and_then(Value::as_str) {
            Some("string") => ["minLength", "maxLength"],
            Some("array") => ["minItems", "maxItems"],
            Some("object") => ["minProperties", "maxProperties"],
            _ => ["minimum", "maximum"],
        };
        for (name, bound) in names.into_iter().zip([self.min, self.max]) {
            if let Some(bound) = bound {
                schema.insert(name.to_owned(), number(bound));
            }
        }
        if !self.pattern.is_empty() {
            let texts = match schema.get_mut("items") {
                Some(Value::Object(items)) => items,
                _ => &mut *schema,
            };
            texts.insert("pattern".to_owned(), self.pattern.clone().into());
        }
        if !self.example.is_empty() {
            let example = parsed(&self.example, "transcode.v1.field.example")?;
            schema.insert("examples".to_owned(), json!([example]));
        }
        if !self.schema.is_empty() {
            match parsed(&self.schema, "transcode.v1.field.schema")? {
                Value::Object(more) => merge(schema, more),
                _ => return Err("transcode.v1.field.schema is no object".into()),
            }
        }
        Ok(())
    }
}

/// The schema of a whole field with its description.
pub fn schema(
    schemas: &mut Schemas,
    field: &FieldDescriptor,
    form: &Form,
) -> Result<Map<String, Value>, Failure> {
    let rule = Rule::of(field);
    let bounded = rule.min.is_some() || rule.max.is_some();
    let mut schema = match (field.is_map(), field.kind()) {
        (true, Kind::Message(entry)) => {
            let value = entry.map_entry_value_field();
            let value = one(schemas, &value, &value.kind(), &inner(form), false)?;
            object([("type", "object".into()), ("additionalProperties", value.into())])
        }
        (_, kind) if field.is_list() => {
            let items = one(schemas, field, &kind, &inner(form), false)?;
            object([("type", "array".into()), ("items", items.into())])
        }
        (_, kind) => one(schemas, field, &kind, form, bounded)?,
    };
    let comment = comments::of(&field.parent_message().parent_file(), field.path());
    let comment = format!("{comment}{}", words(schemas.model(), field));
    if !comment.is_empty() {
        schema.insert("description".to_owned(), comment.into());
    }
    if options::field_deprecation(field)?.is_some() {
        schema.insert("deprecated".to_owned(), true.into());
    }
    // The limits are about what comes in; what goes out was let in once.
    match form {
        Form::Output => (),
        _ => rule.apply(&mut schema).map_err(|why| format!("{}: {why}", field.full_name()))?,
    }
    Ok(schema)
}

/// The form of elements: they are replaced as a whole.
fn inner(form: &Form) -> Form {
    match form {
        Form::Output => Form::Output,
        Form::Input | Form::Patch | Form::Body(_) => Form::Input,
    }
}

fn one(
    schemas: &mut Schemas,
    field: &FieldDescriptor,
    kind: &Kind,
    form: &Form,
    bounded: bool,
) -> Result<Map<String, Value>, Failure> {
    let output = *form == Form::Output;
    Ok(match kind {
        Kind::Message(message) if message.package_name() == "google.protobuf" => known(message)?,
        Kind::Message(message) => {
            let form = if let Form::Body(_) = form { &Form::Input } else { form };
            object([("$ref", schemas.reference(message, form)?.into())])
        }
        Kind::Enum(item) if item.package_name() == "google.protobuf" => {
            object([("type", "null".into())])
        }
        // A field that is always there may say that it is unset.
        Kind::Enum(item) => {
            let unset = output && !field.supports_presence() && !field.is_list();
            object([("type", "string".into()), ("enum", list(schemas.model(), item, unset))])
        }
        Kind::Double | Kind::Float if !bounded => float(),
        kind => scalar(kind, output),
    })
}

fn scalar(kind: &Kind, output: bool) -> Map<String, Value> {
    let typed =
        |kind: &str, format: &str| object([("type", kind.into()), ("format", format.into())]);
    match kind {
        Kind::Bool => object([("type", "boolean".into())]),
        Kind::Bytes => object([("type", "string".into()), ("contentEncoding", "base64".into())]),
        Kind::Double => typed("number", "double"),
        Kind::Float => typed("number", "float"),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => {
            let mut schema = typed("integer", "int32");
            if !output {
                schema.insert("minimum".to_owned(), i32::MIN.into());
                schema.insert("maximum".to_owned(), i32::MAX.into());
            }
            schema
        }
        Kind::Uint32 | Kind::Fixed32 => {
            let mut schema = typed("integer", "uint32");
            schema.insert("minimum".to_owned(), 0.into());
            schema.insert("maximum".to_owned(), u32::MAX.into());
            schema
        }
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => {
            let mut schema = typed("string", "int64");
            schema.insert("pattern".to_owned(), "^-?(0|[1-9][0-9]{0,18})$".into());
            schema
        }
        Kind::Uint64 | Kind::Fixed64 => {
            let mut schema = typed("string", "uint64");
            schema.insert("pattern".to_owned(), "^(0|[1-9][0-9]{0,19})$".into());
            schema
        }
        Kind::String | Kind::Enum(_) | Kind::Message(_) => object([("type", "string".into())]),
    }
}

/// A number that may be one that JSON has no digits for.
fn float() -> Map<String, Value> {
    let odd = json!({"type": "string", "enum": ["NaN", "Infinity", "-Infinity"]});
    object([("anyOf", json!([{"type": "number", "format": "double"}, odd]))])
}

/// The schema of a message that has a JSON form of its own.
pub fn known(message: &MessageDescriptor) -> Result<Map<String, Value>, Failure> {
    let schema = match message.name() {
        "Timestamp" => json!({"type": "string", "format": "date-time"}),
        "Duration" => json!({"type": "string", "pattern": "^-?[0-9]{1,12}(\\.[0-9]{1,9})?s$"}),
        "FieldMask" => json!({
            "type": "string",
            "pattern": "^(\\*|[a-z0-9_]+(\\.[a-z0-9_]+)*(,[a-z0-9_]+(\\.[a-z0-9_]+)*)*)?$",
        }),
        "Struct" => json!({"type": "object", "additionalProperties": true}),
        "ListValue" => json!({"type": "array", "items": {}}),
        "Value" => json!({}),
        "Empty" => json!({"type": "object", "additionalProperties": false}),
        "Any" => json!({
            "type": "object", "required": ["@type"], "properties": {"@type": {"type": "string"}},
        }),
        "BoolValue" => json!({"type": "boolean"}),
        "StringValue" => json!({"type": "string"}),
        "BytesValue" => json!({"type": "string", "contentEncoding": "base64"}),
        "DoubleValue" | "FloatValue" => return Ok(float()),
        "Int32Value" => return Ok(scalar(&Kind::Int32, false)),
        "UInt32Value" => return Ok(scalar(&Kind::Uint32, false)),
        "Int64Value" => return Ok(scalar(&Kind::Int64, false)),
        "UInt64Value" => return Ok(scalar(&Kind::Uint64, false)),
        name => return Err(format!("google.protobuf.{name} has no JSON form").into()),
    };
    match schema {
        Value::Object(schema) => Ok(schema),
        _ => Ok(Map::new()),
    }
}

/// The words of an enum; the one that means unset comes last, if it is asked for.
fn list(model: &Model, item: &EnumDescriptor, unset: bool) -> Value {
    let mut words: Vec<String> = Vec::new();
    let (none, some): (Vec<_>, Vec<_>) =
        item.values().partition(|value| is_unset(item, value.number()));
    for value in some.iter().chain(none.iter().filter(|_| unset)) {
        let word = word(model, item, value.name());
        if !words.contains(&word) {
            words.push(word);
        }
    }
    words.into()
}

/// What the words of a field's enum mean, as a list.
fn words(model: &Model, field: &FieldDescriptor) -> String {
    let Kind::Enum(item) = field.kind() else { return String::new() };
    if item.package_name() == "google.protobuf" {
        return String::new();
    }
    let mut text = String::from("\n");
    for value in item.values().filter(|value| !is_unset(&item, value.number())) {
        let comment = comments::of(&item.parent_file(), value.path());
        text += &format!("\n* `{}`: {comment}", word(model, &item, value.name()));
    }
    text
}

/// True for the value that only says that there is none.
fn is_unset(item: &EnumDescriptor, number: i32) -> bool {
    let name = item.get_value(number).map(|value| value.name().to_owned()).unwrap_or_default();
    number == 0 && name.ends_with("_UNSPECIFIED")
}

/// A whole number without a fraction in its text.
fn number(value: f64) -> Value {
    #[expect(clippy::cast_possible_truncation, reason = "checked to be whole and small")]
    let whole = (value.fract() == 0.0 && value.abs() < 9e15).then_some(value as i64);
    whole.map_or_else(|| value.into(), Value::from)
}
