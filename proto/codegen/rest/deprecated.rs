//! Emits what is deprecated: a table of methods, and for each rule whose request has deprecated
//! fields a function that tells which of them was set.

use std::collections::BTreeMap;

use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};

use super::{Input, bind, names, rules::Rule};
use crate::codegen::{
    Failure,
    options::{self, Deprecation},
};

/// Days from the first of March of the year 0 to the first of January 1970.
const DAYS_TO_1970: i64 = 719_468;

/// The table, and the functions.
pub fn deprecated(input: &Input) -> Result<String, Failure> {
    let mut rows = Vec::new();
    for method in input.services.iter().flat_map(|service| &service.methods) {
        if let Some(deprecation) = &method.rule.deprecation {
            let notice = notice(deprecation)
                .map_err(|failure| format!("method {}: {failure}", method.grpc_path))?;
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
    let mut messages = BTreeMap::new();
    for rule in &input.rules {
        reach(&rule.method.input, &mut messages)?;
    }
    for message in messages.values() {
        code += &function(input.root, message)?;
    }
    Ok(code)
}

/// Name of the function that tells which deprecated field of a rule's request was set; none: it has
/// no such field.
pub fn teller(rule: &Rule) -> Result<Option<String>, Failure> {
    Ok(is_touched(&rule.method.input)?.then(|| name(&rule.method.input)))
}

/// The notice of a rule's method, as an expression.
pub fn of_method(rule: &Rule) -> Result<String, Failure> {
    match &rule.method.rule.deprecation {
        Some(deprecation) => Ok(format!("Some(&{})", notice(deprecation)?)),
        None => Ok("None".to_owned()),
    }
}

/// True when a message, or what lies in it, has a deprecated field.
fn is_touched(message: &MessageDescriptor) -> Result<bool, Failure> {
    let mut messages = BTreeMap::new();
    reach(message, &mut messages)?;
    Ok(messages.contains_key(message.full_name()))
}

/// Collects messages that have a deprecated field or reach one.
fn reach(
    message: &MessageDescriptor,
    touched: &mut BTreeMap<String, MessageDescriptor>,
) -> Result<(), Failure> {
    let mut seen = vec![message.clone()];
    let mut next = 0;
    while let Some(message) = seen.get(next).cloned() {
        let inner = message.fields().filter_map(|field| inner(&field));
        let new: Vec<_> = inner.filter(|inner| !seen.contains(inner)).collect();
        seen.extend(new);
        next += 1;
    }
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
            return Ok(());
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

fn function(root: &str, message: &MessageDescriptor) -> Result<String, Failure> {
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
        if let Some(inner) = inner(&field).filter(|inner| is_touched(inner).unwrap_or(true)) {
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
            format!(
                "(if let Some({path}::{variant}(m)) = &m.{slot} {{ {tell}(m) }} else {{ None }})"
            )
        }
        None if field.is_map() => format!("m.{name}.values().find_map(|m| {tell}(m))"),
        None if field.is_list() => format!("m.{name}.iter().find_map(|m| {tell}(m))"),
        None => format!("m.{name}.as_ref().and_then(|m| {tell}(m))"),
    }
}

fn name(message: &MessageDescriptor) -> String {
    format!("deprecated_{}", heck::ToSnakeCase::to_snake_case(message.full_name()))
}

/// The notice as an expression, with its headers as they are sent.
fn notice(deprecation: &Deprecation) -> Result<String, Failure> {
    let Deprecation { since, sunset, link } = deprecation;
    let begin = day(since).ok_or_else(|| format!("since {since:?} is no day like 2026-01-31"))?;
    let end = match sunset.as_str() {
        "" => None,
        text => {
            Some(day(text).ok_or_else(|| format!("sunset {text:?} is no day like 2026-01-31"))?)
        }
    };
    if end.is_some_and(|end| end < begin) {
        return Err(format!("sunset {sunset} is before since {since}").into());
    }
    if !link.is_empty() && (!link.starts_with("https://") || link.contains(['<', '>', '"', ' '])) {
        return Err(format!("link {link:?} is no https URL").into());
    }
    let link =
        if link.is_empty() { String::new() } else { format!("<{link}>; rel=\"deprecation\"") };
    Ok(format!(
        "Notice {{ since: {:?}, sunset: {:?}, link: {link:?} }}",
        format!("@{}", begin * 86_400),
        end.map(http_date).unwrap_or_default()
    ))
}

/// Days from 1970 to a day that is written as in `2026-01-31`.
fn day(text: &str) -> Option<i64> {
    let parts: Vec<i64> = text.split('-').map(|part| part.parse().ok()).collect::<Option<_>>()?;
    let [year, month, day] = parts[..] else { return None };
    if text.len() != 10 || !(1970..=9999).contains(&year) {
        return None;
    }
    // Years that begin in March end with the day that leaps.
    let from_march = (month + 9) % 12;
    let year = if month < 3 { year - 1 } else { year };
    let of_year = (153 * from_march + 2) / 5 + day - 1;
    let days = year * 365 + year / 4 - year / 100 + year / 400 + of_year - DAYS_TO_1970;
    (civil(days) == (parts[0], month, day)).then_some(days)
}

/// Year, month and day of a number of days from 1970.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + DAYS_TO_1970;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (year + era * 400 + i64::from(month < 3), month, day)
}

/// Midnight of a day as HTTP writes it.
fn http_date(days: i64) -> String {
    const WEEK: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (year, month, day) = civil(days);
    let pick = |names: &[&'static str], at: i64| names[usize::try_from(at).unwrap_or_default()];
    let (week, month) = (pick(&WEEK, days % 7), pick(&MONTHS, month - 1));
    format!("{week}, {day:02} {month} {year} 00:00:00 GMT")
}
