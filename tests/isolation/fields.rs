//! The fields of requests that are ids, read from the descriptors, and requests that are right but
//! for one of them. What this file does not know how to fill fails the tests, which then say what
//! to add here.

use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor, MethodDescriptor};
use serde_json::{Map, Value, json};

use super::spaces::Space;
use crate::harness::contract::pool;
use crate::harness::rest::{http_rule, method_rule};

/// What an id names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Names {
    /// An agent.
    Agent,
    /// A run.
    Run,
    /// A key.
    Key,
    /// A project.
    Project,
    /// An organisation.
    Organisation,
    /// A tool call of a run.
    Call,
    /// Nothing: a word of the caller's own, by which lists filter.
    Label,
}

/// A field of a method's request that is an id.
#[derive(Debug, Clone)]
pub(super) struct IdField {
    /// The method.
    pub(super) method: MethodDescriptor,
    /// Names of the fields from the request down to it.
    pub(super) path: Vec<String>,
    /// What it names.
    pub(super) names: Names,
    /// True when no request is right without it.
    pub(super) required: bool,
}

/// All methods of the contract.
pub(super) fn methods() -> Vec<MethodDescriptor> {
    let services = pool().services().filter(|s| s.package_name() == "runplane.v1");
    let methods: Vec<_> = services.flat_map(|s| s.methods().collect::<Vec<_>>()).collect();
    assert!(methods.len() >= 40, "the contract was not found");
    methods
}

/// Its name, as in `AgentsService/GetAgent`.
pub(super) fn name(method: &MethodDescriptor) -> String {
    format!("{}/{}", method.parent_service().name(), method.name())
}

/// The scope that it needs.
pub(super) fn scope(method: &MethodDescriptor) -> String {
    let rule = method_rule(method).unwrap_or_else(|| panic!("{} has no rule", name(method)));
    let scope = rule.get_field_by_name("scope").expect("a scope");
    scope.as_str().expect("a text").to_owned()
}

/// True for a method of the server's operator.
pub(super) fn operates(method: &MethodDescriptor) -> bool {
    ["organisations:", "projects:"].iter().any(|of| scope(method).starts_with(of))
}

/// True for a method that changes nothing.
pub(super) fn reads(method: &MethodDescriptor) -> bool {
    let by_rule = http_rule(method).map(|rule| rule.has_field_by_name("get"));
    by_rule.unwrap_or_else(|| method.name().starts_with("Watch"))
}

/// Every id in every request.
pub(super) fn id_fields() -> Vec<IdField> {
    let mut found = Vec::new();
    for method in methods() {
        walk(&method, &method.input(), (&[], true), &mut found);
    }
    assert!(found.len() >= 40, "only {} ids", found.len());
    found
}

fn walk(
    method: &MethodDescriptor,
    message: &MessageDescriptor,
    (above, required): (&[String], bool),
    found: &mut Vec<IdField>,
) {
    for field in message.fields().filter(|field| !behaves(field, OUTPUT_ONLY)) {
        let path = [above, &[field.name().to_owned()]].concat();
        let required = required && behaves(&field, REQUIRED);
        match field.kind() {
            Kind::String if is_id(&field) => {
                let names = names(method, &field);
                found.push(IdField { method: method.clone(), path, names, required });
            }
            Kind::Message(of) if of.package_name() == "runplane.v1" && !field.is_map() => {
                walk(method, &of, (&path, required), found);
            }
            _ => {}
        }
    }
}

fn is_id(field: &FieldDescriptor) -> bool {
    !field.is_map() && (field.name() == "id" || field.name().ends_with("_id"))
}

const REQUIRED: i32 = 2;
const OUTPUT_ONLY: i32 = 3;

/// True for a field with this `google.api.field_behavior`.
fn behaves(field: &FieldDescriptor, behavior: i32) -> bool {
    let extension = pool().get_extension_by_name("google.api.field_behavior").expect("an option");
    let options = field.options();
    let value = options.get_extension(&extension);
    value.as_list().is_some_and(|list| list.iter().any(|v| v.as_enum_number() == Some(behavior)))
}

fn names(method: &MethodDescriptor, field: &FieldDescriptor) -> Names {
    let service = method.parent_service();
    match (field.name(), service.name()) {
        ("agent_id", _) | ("id", "AgentsService") => Names::Agent,
        ("run_id", _) | ("id", "RunsService") => Names::Run,
        ("key_id", _) | ("id", "KeysService") => Names::Key,
        ("project_id", _) | ("id", "ProjectsService") => Names::Project,
        ("organisation_id", _) | ("id", "OrganisationsService") => Names::Organisation,
        ("tool_call_id", _) => Names::Call,
        ("session_id", _) => Names::Label,
        (unknown, service) => panic!(
            "what {unknown} names in {service}/{} is not known: add it to `names` in \
             tests/isolation/fields.rs, and what such ids there are to `Space` in spaces.rs",
            method.name()
        ),
    }
}

/// A request with all that is required, with the ids of a space.
pub(super) fn request(method: &MethodDescriptor, space: &Space) -> Value {
    let input = method.input();
    let required = input.fields().filter(|field| behaves(field, REQUIRED));
    let pairs = required.map(|field| {
        let value = match is_id(&field) {
            true => Value::from(space.id(names(method, &field))),
            false => filler(method, &field, space),
        };
        (field.name().to_owned(), value)
    });
    Value::Object(pairs.collect::<Map<_, _>>())
}

fn filler(method: &MethodDescriptor, field: &FieldDescriptor, space: &Space) -> Value {
    match field.name() {
        "agent" => json!({"name": "new", "model": "sim", "sim": {"turns": [{"text": "Hi."}]}}),
        "name" => json!("new"),
        "key" | "project" | "organisation" => json!({"name": "new"}),
        "version" => json!(1),
        "tool_outputs" => json!([{"tool_call_id": space.id(Names::Call), "output": "yes"}]),
        unknown => panic!(
            "{} asks for {unknown}: add a right value to `filler` in tests/isolation/fields.rs",
            name(method)
        ),
    }
}

/// The request with another id in a field.
pub(super) fn with_id(mut request: Value, path: &[String], id: &str) -> Value {
    let mut at = &mut request;
    for name in path {
        // Of a list the first stands for all.
        at = if at[name].is_array() { &mut at[name][0] } else { &mut at[name] };
    }
    *at = Value::from(id);
    request
}
