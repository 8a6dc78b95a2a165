//! Emits what is deprecated: a table of methods, and for each rule whose request has deprecated
//! fields a function that tells which of them was set.

use std::collections::BTreeMap;

use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor, prost_types::Timestamp};

use super::{Input, bind, names, rules::Rule};
use crate::codegen::{
    Failure,
    options::{self, Deprecation, Method},
};

/// Seconds of a day.
const DAY: i64 = 86_400;

/// The table, and the functions.
pub fn deprecated(input: &Input) -> Result<String, Failure> {
    let mut rows = Vec::new();
    for method in input.services.iter().flat_map(|service| &service.methods) {
        if let Some(deprecation) = &method.rule.deprecation {
            let notice = method_notice(method, deprecation)?;
            rows.push(format!("    ({:?}, {notice}),\n", method.grpc_path));
        }
    }
    rows.sort();
    let mut code = format!(
        "/// Methods that are deprecated, by gRPC path, in order.\n\
         pub static DEPRECATIONS: &[(&str, Notice)] = &[\n{}];\n\n\
         /// Since when a method is deprecated; none: it is not.\n\
         #[must_use]\n\
         pub fn deprecation(grpc_path: &str) -> Option<&'static Notice> {{\n    \
         let at = DEPRECATIONS.binary_search_by_key(&grpc_path, |row| row.0).ok()?;\n    \
         Some(&DEPRECATIONS[at].1)\n}}\n\n",
        rows.concat()
    );
    for message in input.touched.values() {
        code += &function(input, message)?;
    }
    Ok(code)
}

/// Name of the function that tells which deprecated field of a rule's request was set; none: it has
/// no such field.
pub fn teller(input: &Input, rule: &Rule) -> Option<String> {
    let message = &rule.method.input;
    input.touched.contains_key(message.full_name()).then(|| name(message))
}

/// The notice of a rule's method, as an expression.
pub fn of_method(rule: &Rule) -> Result<String, Failure> {
    match &rule.method.rule.deprecation {
        Some(deprecation) => Ok(format!("Some(&{})", method_notice(rule.method, deprecation)?)),
        None => Ok("None".to_owned()),
    }
}

/// Messages of requests that have a deprecated field or reach one, by full name.
pub type Touched = BTreeMap<String, MessageDescriptor>;

/// Finds them.
pub fn touched(rules: &[Rule]) -> Result<Touched, Failure> {
    let mut seen: Vec<_> = rules.iter().map(|rule| rule.method.input.clone()).collect();
    let mut next = 0;
    while let Some(message) = seen.get(next).cloned() {
        let inner = message.fields().filter_map(|field| inner(&field));
        let new: Vec<_> = inner.filter(|inner| !seen.contains(inner)).collect();
        seen.extend(new);
        next += 1;
    }
    let mut touched = Touched::new();
    // What reaches something touched is touched, as long as that adds any.
    loop {
        let before = touched.len();
        for message in &seen {
            for field in message.fields() {
                let within = inner(&field).is_some_and(|i| touched.contains_key(i.full_name()));
                if within || options::field_deprecation(&field)?.is_some() {
                    touched.insert(message.full_name().to_owned(), message.clone());
                }
            }
        }
        if touched.len() == before {
            return Ok(touched);
        }
    }
}

/// The message that a field holds, in a list or a map too; none: a well-known or no message.
fn inner(field: &FieldDescriptor) -> Option<MessageDescriptor> {
    let held = match field.kind() {
        Kind::Message(entry) if field.is_map() => entry.map_entry_value_field().kind(),
        kind => kind,
    };
    let message = held.as_message().cloned();
    message.filter(|message| !message.package_name().starts_with("google."))
}

fn function(input: &Input, message: &MessageDescriptor) -> Result<String, Failure> {
    let root = input.root;
    let mut body = String::new();
    for field in message.fields() {
        if let Some(deprecation) = options::field_deprecation(&field)? {
            let notice = notice(&deprecation)
                .map_err(|failure| format!("field {}: {failure}", field.full_name()))?;
            body += &format!(
                "    if {} {{\n        return Some(&{notice});\n    }}\n",
                is_set(root, &field)
            );
        }
        let inner = inner(&field).filter(|inner| input.touched.contains_key(inner.full_name()));
        if let Some(inner) = inner {
            body += &format!(
                "    if let Some(notice) = {} {{\n        return Some(notice);\n    }}\n",
                within(root, &field, &name(&inner))
            );
        }
    }
    Ok(format!(
        "fn {}(m: &{}) -> Option<&'static Notice> {{\n{body}    None\n}}\n\n",
        name(message),
        names::message(root, message)
    ))
}

fn is_set(root: &str, field: &FieldDescriptor) -> String {
    let name = names::field(field.name());
    match bind::oneof(field) {
        Some(oneof) => {
            let (slot, path) = (names::field(oneof.name()), names::oneof(root, &oneof));
            format!("matches!(m.{slot}, Some({path}::{}(_)))", names::variant(field))
        }
        None if field.is_list() || field.is_map() => format!("!m.{name}.is_empty()"),
        None if field.supports_presence() => format!("m.{name}.is_some()"),
        None => format!("m.{name} != Default::default()"),
    }
}

fn within(root: &str, field: &FieldDescriptor, tell: &str) -> String {
    let name = names::field(field.name());
    match bind::oneof(field) {
        Some(oneof) => {
            let (slot, path) = (names::field(oneof.name()), names::oneof(root, &oneof));
            let variant = names::variant(field);
            format!("match &m.{slot} {{ Some({path}::{variant}(m)) => {tell}(m), _ => None }}")
        }
        None if field.is_map() => format!("m.{name}.values().find_map(|m| {tell}(m))"),
        None if field.is_list() => format!("m.{name}.iter().find_map(|m| {tell}(m))"),
        None => format!("m.{name}.as_ref().and_then(|m| {tell}(m))"),
    }
}

fn name(message: &MessageDescriptor) -> String {
    format!("deprecated_{}", heck::ToSnakeCase::to_snake_case(message.full_name()))
}

fn method_notice(method: &Method, deprecation: &Deprecation) -> Result<String, Failure> {
    let named = |failure| format!("method {}: {failure}", method.grpc_path).into();
    notice(deprecation).map_err(named)
}

/// The notice as an expression, with its headers as they are sent.
fn notice(deprecation: &Deprecation) -> Result<String, Failure> {
    let Deprecation { since, sunset, link } = deprecation;
    let named = |name: &str, text: &str| {
        day(text).ok_or_else(|| format!("{name} {text:?} is no day like 2026-01-31"))
    };
    let begin = named("since", since)?;
    let mut end = String::new();
    if !sunset.is_empty() {
        let second = named("sunset", sunset)?;
        if second < begin {
            return Err(format!("sunset {sunset} is before since {since}").into());
        }
        end = http_date(sunset, second).unwrap_or_default();
    }
    if !link.is_empty() && (!link.starts_with("https://") || link.contains(['<', '>', '"', ' '])) {
        return Err(format!("link {link:?} is no https URL").into());
    }
    let link =
        if link.is_empty() { String::new() } else { format!("<{link}>; rel=\"deprecation\"") };
    Ok(format!("Notice {{ since: \"@{begin}\", sunset: {end:?}, link: {link:?} }}"))
}

/// The second at which a day begins that is written as in `2026-01-31`.
fn day(text: &str) -> Option<i64> {
    let begin: Timestamp = text.parse().ok()?;
    let written = format!("{text}T00:00:00Z");
    (begin.seconds >= 0 && begin.to_string() == written).then_some(begin.seconds)
}

/// Midnight of such a day, and the second that it is, as HTTP writes it.
fn http_date(day: &str, begin: i64) -> Option<String> {
    const WEEK: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let [year, month, day] = day.split('-').collect::<Vec<_>>()[..] else { return None };
    let month = MONTHS.get(month.parse::<usize>().ok()?.checked_sub(1)?)?;
    let week = WEEK[usize::try_from(begin / DAY % 7).ok()?];
    Some(format!("{week}, {day} {month} {year} 00:00:00 GMT"))
}
