//! The schemas of messages: made when something refers to them, each once in each of its forms.

use std::collections::BTreeMap;

use prost_reflect::{MessageDescriptor, OneofDescriptor};
use serde_json::{Map, Value, json};

use super::{
    field,
    form::{Form, Names, shown},
    merge, object, parsed,
};
use crate::codegen::{
    Failure, Model, comments,
    json::messages::{has_option, in_file_order, real_oneof, written},
    options::{self, extension, text},
    rest::rules::Rule,
};

/// The schemas of a document, growing.
pub struct Schemas<'a> {
    model: &'a Model<'a>,
    names: Names,
    done: BTreeMap<String, Value>,
}

impl<'a> Schemas<'a> {
    /// None yet.
    pub fn new(model: &'a Model<'a>, rules: &[Rule]) -> Result<Self, Failure> {
        Ok(Self { model, names: Names::new(model, rules), done: BTreeMap::new() })
    }

    /// What all is made from.
    pub fn model(&self) -> &'a Model<'a> {
        self.model
    }

    /// All that were referred to, by name.
    pub fn finish(self) -> Result<BTreeMap<String, Value>, Failure> {
        Ok(self.done)
    }

    /// Reference to a message's schema in a form; makes it when it is not there.
    pub fn reference(
        &mut self,
        message: &MessageDescriptor,
        form: &Form,
    ) -> Result<String, Failure> {
        let name = self.names.of(message, form);
        let place = format!("#/components/schemas/{name}");
        if self.done.contains_key(&name) {
            return Ok(place);
        }
        // Known before it is made: a message may hold itself.
        self.done.insert(name.clone(), Value::Null);
        let schema = self.message(message, form)?;
        self.done.insert(name, schema.into());
        Ok(place)
    }

    /// Adds a schema that is no message's.
    pub fn add(&mut self, name: &str, schema: Value) -> String {
        self.done.insert(name.to_owned(), schema);
        format!("#/components/schemas/{name}")
    }

    /// Name of a message in answers.
    pub fn name(&self, message: &MessageDescriptor) -> String {
        self.names.of(message, &Form::Output)
    }

    fn message(
        &mut self,
        message: &MessageDescriptor,
        form: &Form,
    ) -> Result<Map<String, Value>, Failure> {
        let mut properties = Map::new();
        let mut required = Vec::new();
        for item in in_file_order(message).iter().filter(|field| shown(field, form)) {
            let mut schema = field::schema(self, item, form)?;
            let name = written(self.model, item);
            let (must, mark) = match form {
                Form::Output => {
                    let always = self.model.set.style.defaults && !has_option(item);
                    (always, options::is_output_only(item).then_some("readOnly"))
                }
                Form::Patch => (false, None),
                _ => (
                    options::is_required(item),
                    options::is_input_only(item).then_some("writeOnly"),
                ),
            };
            if let Some(mark) = mark {
                schema.insert(mark.to_owned(), true.into());
            }
            if must {
                required.push(name.clone());
            }
            properties.insert(name, schema.into());
        }
        let mut schema = object([("type", "object".into()), ("properties", properties.into())]);
        if !required.is_empty() {
            schema.insert("required".to_owned(), required.into());
        }
        let comment = comments::of(&message.parent_file(), message.path());
        if !comment.is_empty() {
            schema.insert("description".to_owned(), comment.into());
        }
        if *form != Form::Output {
            self.restrict(message, form, &mut schema)?;
        }
        Ok(schema)
    }

    /// What only requests have to satisfy.
    fn restrict(
        &self,
        message: &MessageDescriptor,
        form: &Form,
        schema: &mut Map<String, Value>,
    ) -> Result<(), Failure> {
        schema.insert("additionalProperties".to_owned(), false.into());
        let all: Vec<Value> = message.oneofs().filter_map(|o| self.exclusive(&o, form)).collect();
        if !all.is_empty() {
            schema.insert("allOf".to_owned(), all.into());
        }
        let more = message_option(message, "schema");
        if !more.is_empty() && *form != Form::Patch {
            match parsed(&more, message.full_name())? {
                Value::Object(more) => merge(schema, more),
                _ => return Err(format!("{}: schema is no object", message.full_name()).into()),
            }
        }
        Ok(())
    }

    /// At most one member of a oneof.
    fn exclusive(&self, oneof: &OneofDescriptor, form: &Form) -> Option<Value> {
        let members: Vec<_> = oneof.fields().collect();
        let real = members.first().is_some_and(|field| real_oneof(field).is_some());
        let names: Vec<_> = members
            .iter()
            .filter(|field| real && shown(field, form))
            .map(|field| written(self.model, field))
            .collect();
        let pairs = names.iter().enumerate().flat_map(|(at, one)| {
            names[at + 1..].iter().map(move |other| json!({"required": [one, other]}))
        });
        let pairs: Vec<Value> = pairs.collect();
        match pairs.as_slice() {
            [] => None,
            [pair] => Some(json!({ "not": pair })),
            _ => Some(json!({"not": {"anyOf": pairs}})),
        }
    }
}

/// A text of `transcode.v1.message`; empty: unset.
pub fn message_option(message: &MessageDescriptor, name: &str) -> String {
    let options = message.options();
    let rule = extension(message.parent_pool(), &options, "transcode.v1.message");
    let rule = rule.as_deref().and_then(|rule| rule.as_message());
    rule.map(|rule| text(rule, name)).unwrap_or_default()
}
