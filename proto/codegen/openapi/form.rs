//! The forms in which one message occurs: as an answer, as a request, as a change of some fields,
//! as a body without the fields of its path. Decided here alone, so that a name and its schema
//! agree.

use std::collections::{BTreeMap, BTreeSet};

use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};

use super::{schemas::message_option, twin};
use crate::codegen::{
    Model,
    json::messages::in_file_order,
    options,
    rest::rules::{Body, Rule},
};

/// A form of a message.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Form {
    /// In an answer.
    Output,
    /// In a request.
    Input,
    /// In a request that changes what it names and nothing else.
    Patch,
    /// As the whole body, without these fields, which the path sets.
    Body(Vec<String>),
}

/// Which messages occur in answers and in requests, by full name, and how their forms are called.
pub struct Names {
    outputs: BTreeSet<String>,
    inputs: BTreeSet<String>,
    bodies: BTreeMap<String, BTreeSet<Vec<String>>>,
    doubled: BTreeSet<String>,
}

impl Names {
    /// Walks all that the rules reach.
    pub fn new(model: &Model, rules: &[Rule]) -> Self {
        let (outputs, inputs, bodies) = Default::default();
        let mut names = Self { outputs, inputs, bodies, doubled: doubled(model) };
        for rule in rules {
            names.output(&rule.method.output);
            if let Some(twin) = twin(&model.services[rule.service], rule.method) {
                names.output(&twin.output);
            }
            let input = &rule.method.input;
            match &rule.body {
                Body::Nowhere => (),
                Body::Whole => {
                    names.within(input, Form::Input);
                    let all = names.bodies.entry(input.full_name().to_owned()).or_default();
                    all.insert(removed(rule));
                }
                Body::Field(field) => {
                    if let Kind::Message(message) = field.kind() {
                        names.input(&message);
                    }
                }
            }
        }
        names
    }

    /// Name of a message's schema in this form.
    pub fn of(&self, message: &MessageDescriptor, form: &Form) -> String {
        let full = message.full_name();
        let base = self.base(message);
        let both = self.outputs.contains(full);
        match form {
            Form::Output => base,
            Form::Input if both => format!("{base}Input"),
            Form::Input => base,
            Form::Patch if !is_partial(message) => self.of(message, &Form::Input),
            Form::Patch => format!("{base}Patch"),
            Form::Body(removed) => {
                let all = self.bodies.get(full);
                let place = all.and_then(|all| all.iter().position(|other| other == removed));
                let taken = both || self.inputs.contains(full);
                match place.unwrap_or_default() {
                    0 if !taken => base,
                    0 => format!("{base}Body"),
                    place => format!("{base}Body{}", place + 1),
                }
            }
        }
    }

    fn base(&self, message: &MessageDescriptor) -> String {
        let full = message.full_name();
        let package = message.package_name();
        let local = full.strip_prefix(package).unwrap_or(full).trim_start_matches('.');
        // The joiner has a schema of this name.
        match local == "Error" || self.doubled.contains(local) {
            true => full.to_owned(),
            false => local.to_owned(),
        }
    }

    fn output(&mut self, message: &MessageDescriptor) {
        if self.outputs.insert(message.full_name().to_owned()) {
            self.within(message, Form::Output);
        }
    }

    fn input(&mut self, message: &MessageDescriptor) {
        if self.inputs.insert(message.full_name().to_owned()) {
            self.within(message, Form::Input);
        }
    }

    fn within(&mut self, message: &MessageDescriptor, form: Form) {
        for field in in_file_order(message).iter().filter(|field| shown(field, &form)) {
            match (element(field), &form) {
                (Some(inner), Form::Output) => self.output(&inner),
                (Some(inner), _) => self.input(&inner),
                (None, _) => (),
            }
        }
    }
}

/// True when a field belongs to a form.
pub fn shown(field: &FieldDescriptor, form: &Form) -> bool {
    match form {
        Form::Output => !options::is_input_only(field),
        Form::Body(removed) => {
            !options::is_output_only(field) && !removed.iter().any(|name| name == field.name())
        }
        Form::Input | Form::Patch => !options::is_output_only(field),
    }
}

/// True when a change may leave out what a whole message must have.
fn is_partial(message: &MessageDescriptor) -> bool {
    message.fields().any(|field| options::is_required(&field))
        || !message_option(message, "schema").is_empty()
}

/// The message of ours that a field, or an element of it, is.
pub fn element(field: &FieldDescriptor) -> Option<MessageDescriptor> {
    let kind = match field.kind() {
        Kind::Message(entry) if field.is_map() => entry.map_entry_value_field().kind(),
        kind => kind,
    };
    let message = kind.as_message()?.clone();
    (message.package_name() != "google.protobuf").then_some(message)
}

/// Fields of the request itself that the path sets.
pub fn removed(rule: &Rule) -> Vec<String> {
    let own = rule.vars.iter().filter(|path| path.len() == 1);
    let mut names: Vec<_> = own.map(|path| path[0].name().to_owned()).collect();
    names.sort();
    names
}

/// Names without package that two messages have.
fn doubled(model: &Model) -> BTreeSet<String> {
    let (mut seen, mut doubled) = (BTreeSet::new(), BTreeSet::new());
    let others = ["google.protobuf", "google.api", "transcode.v1"];
    for message in model.pool.all_messages() {
        let package = message.package_name();
        let local = message.full_name().strip_prefix(package).unwrap_or_default();
        let local = local.trim_start_matches('.').to_owned();
        if !others.contains(&package) && !seen.insert(local.clone()) {
            doubled.insert(local);
        }
    }
    doubled
}
