//! Typed parameters: what an agent may declare, and what a run may give. Called when an agent is
//! written and when a run is created; what comes out is pinned with the run.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::error::{Error, Reason, Result};
use super::schema::Schema;
use super::spec::{Parameter, ParameterType};

/// Names that override the model's settings.
pub const RESERVED: [&str; 3] = ["temperature", "max_tokens", "top_p"];

const PARAMETERS_MAX: usize = 64;
const OPTIONS_MAX: usize = 100;
const NAME_CHARS_MAX: usize = 64;
const DESCRIPTION_CHARS_MAX: usize = 1000;
/// Largest number that a double holds exactly with all below it.
const INTEGER_MAX: f64 = 9_007_199_254_740_991.0;
const TOKENS_MAX: f64 = 1_000_000.0;

/// Checks what an agent declares.
///
/// # Errors
/// `missing_field` or `invalid_field`, naming the field, such as `parameters[0].default`.
pub fn check_declared(declared: &[Parameter]) -> Result<()> {
    if declared.len() > PARAMETERS_MAX {
        return Err(Error::field("parameters", format!("at most {PARAMETERS_MAX} parameters")));
    }
    let mut names = HashSet::new();
    for (i, parameter) in declared.iter().enumerate() {
        let field = format!("parameters[{i}]");
        check_name(&field, &parameter.name)?;
        if !names.insert(parameter.name.as_str()) {
            let message = format!("the name {} is there twice", parameter.name);
            return Err(Error::field(format!("{field}.name"), message));
        }
        check_rest(&field, parameter)?;
    }
    Ok(())
}

fn check_name(field: &str, name: &str) -> Result<()> {
    let field = format!("{field}.name");
    if name.is_empty() {
        return Err(Error::missing(field));
    }
    if RESERVED.contains(&name) {
        return Err(Error::field(field, format!("{name} is reserved: it sets the model")));
    }
    let first = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let rest = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !first || !rest || name.len() > NAME_CHARS_MAX {
        let message = "must be a letter or _ and then letters, digits or _, at most 64 in all";
        return Err(Error::field(field, message));
    }
    Ok(())
}

fn check_rest(field: &str, parameter: &Parameter) -> Result<()> {
    if parameter.description.chars().count() > DESCRIPTION_CHARS_MAX {
        let message = format!("at most {DESCRIPTION_CHARS_MAX} characters");
        return Err(Error::field(format!("{field}.description"), message));
    }
    let options = format!("{field}.options");
    if parameter.options.is_empty() && parameter.r#type == ParameterType::Enum {
        return Err(Error::missing(options));
    }
    if parameter.options.len() > OPTIONS_MAX {
        return Err(Error::field(options, format!("at most {OPTIONS_MAX} options")));
    }
    for (i, option) in parameter.options.iter().enumerate() {
        if !has_type(parameter.r#type, option) {
            let message = format!("must be {}", expected(parameter.r#type));
            return Err(Error::field(format!("{options}[{i}]"), message));
        }
    }
    if let Some(schema) = &parameter.schema {
        Schema::compile(schema).map_err(|why| Error::field(format!("{field}.schema"), why))?;
    }
    match &parameter.default {
        None | Some(Value::Null) => Ok(()),
        Some(value) => fit(parameter, value)
            .map(|_| ())
            .map_err(|misfit| Error::field(format!("{field}.default"), misfit.message)),
    }
}

/// Checks what a run gives against what its agent declares, and fills in the rest: the default, or
/// else null. The reserved ones that were given are kept.
///
/// # Errors
/// `unknown_parameter`, `invalid_parameter_value` or `missing_field`, naming the field, such as
/// `parameters.tone`.
pub fn fill(declared: &[Parameter], given: &Map<String, Value>) -> Result<Map<String, Value>> {
    let mut filled = Map::new();
    for (name, value) in given.iter().filter(|(_, value)| !value.is_null()) {
        if RESERVED.contains(&name.as_str()) {
            filled.insert(name.clone(), reserved(name, value)?);
        } else if !declared.iter().any(|parameter| parameter.name == *name) {
            return Err(unknown(declared, name));
        }
    }
    for parameter in declared {
        let field = format!("parameters.{}", parameter.name);
        let value = match given.get(&parameter.name) {
            Some(value) if !value.is_null() => fit(parameter, value)
                .map_err(|misfit| misfit.into_error(&field, &parameter.name))?,
            _ if parameter.required => return Err(Error::missing(field)),
            _ => default_of(parameter),
        };
        filled.insert(parameter.name.clone(), value);
    }
    Ok(filled)
}

fn default_of(parameter: &Parameter) -> Value {
    let default = parameter.default.as_ref().unwrap_or(&Value::Null);
    fit(parameter, default).unwrap_or_else(|_| default.clone())
}

fn unknown(declared: &[Parameter], name: &str) -> Error {
    let names: Vec<&str> = declared.iter().map(|p| p.name.as_str()).collect();
    let known = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    let message = format!("the agent has no parameter {name}; it has: {known}");
    Error::new(Reason::UnknownParameter, message)
        .with("field", format!("parameters.{name}"))
        .with("allowed", known)
}

/// Why a value does not fit.
struct Misfit {
    message: String,
    allowed: Option<String>,
}

impl Misfit {
    fn must_be(what: impl Into<String>) -> Self {
        let what = what.into();
        Self { message: format!("must be {what}"), allowed: Some(what) }
    }

    fn into_error(self, field: &str, name: &str) -> Error {
        let message = format!("parameter {name} {}", self.message);
        let error = Error::new(Reason::InvalidParameterValue, message).with("field", field);
        match self.allowed {
            Some(allowed) => error.with("allowed", allowed),
            None => error,
        }
    }
}

fn fit(parameter: &Parameter, value: &Value) -> Result<Value, Misfit> {
    let listed = |options: &[Value]| {
        let options: Vec<String> = options.iter().map(plain).collect();
        Misfit::must_be(format!("one of: {}", options.join(", ")))
    };
    if !has_type(parameter.r#type, value) {
        return Err(Misfit::must_be(expected(parameter.r#type)));
    }
    if !parameter.options.is_empty() && !parameter.options.iter().any(|o| same(o, value)) {
        return Err(listed(&parameter.options));
    }
    if let Some(schema) = &parameter.schema {
        Schema::compile(schema)
            .and_then(|schema| schema.check(value))
            .map_err(|why| Misfit { message: why, allowed: None })?;
    }
    Ok(if parameter.r#type == ParameterType::Integer { whole(value) } else { value.clone() })
}

fn has_type(r#type: ParameterType, value: &Value) -> bool {
    match r#type {
        ParameterType::String => value.is_string(),
        ParameterType::Number => value.is_number(),
        ParameterType::Integer => value.as_f64().is_some_and(is_whole),
        ParameterType::Boolean => value.is_boolean(),
        ParameterType::Enum => !value.is_null(),
        ParameterType::Object => value.is_object(),
        ParameterType::Array => value.is_array(),
    }
}

fn expected(r#type: ParameterType) -> &'static str {
    match r#type {
        ParameterType::String => "a string",
        ParameterType::Number => "a number",
        ParameterType::Integer => "a whole number within plus or minus 2^53 - 1",
        ParameterType::Boolean => "true or false",
        ParameterType::Enum => "one of the options",
        ParameterType::Object => "an object",
        ParameterType::Array => "an array",
    }
}

fn is_whole(number: f64) -> bool {
    number.fract() == 0.0 && number.abs() <= INTEGER_MAX
}

/// A whole number without a fraction: `5.0`, as it may have come over the wire, becomes `5`.
#[expect(clippy::cast_possible_truncation, reason = "checked to be whole and within 2^53")]
fn whole(value: &Value) -> Value {
    match value.as_f64() {
        Some(number) if value.is_f64() && is_whole(number) => Value::from(number as i64),
        _ => value.clone(),
    }
}

fn same(a: &Value, b: &Value) -> bool {
    match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => a.total_cmp(&b).is_eq(),
        _ => a == b,
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn reserved(name: &str, value: &Value) -> Result<Value> {
    let number = value.as_f64();
    let (right, allowed) = match name {
        "temperature" => (number.is_some_and(|n| (0.0..=2.0).contains(&n)), "a number, 0 to 2"),
        "top_p" => (number.is_some_and(|n| n > 0.0 && n <= 1.0), "a number, above 0 and at most 1"),
        _ => {
            let right = number.is_some_and(|n| is_whole(n) && (1.0..=TOKENS_MAX).contains(&n));
            (right, "a whole number, 1 to 1000000")
        }
    };
    if right {
        return Ok(if name == "max_tokens" { whole(value) } else { value.clone() });
    }
    Err(Misfit::must_be(allowed).into_error(&format!("parameters.{name}"), name))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn declared(parameters: Value) -> Vec<Parameter> {
        serde_json::from_value(parameters).unwrap()
    }

    fn filled(parameters: Value, given: Value) -> Result<Value> {
        let declared = declared(parameters);
        check_declared(&declared)?;
        fill(&declared, given.as_object().unwrap()).map(Value::Object)
    }

    #[test]
    fn what_is_not_given_is_filled_in() {
        let parameters = json!([
            {"name": "tone", "type": "enum", "options": ["formal", "rude"], "default": "formal"},
            {"name": "count", "type": "integer"},
            {"name": "city", "type": "string", "required": true}
        ]);
        let filled =
            filled(parameters, json!({"city": "Bern", "temperature": 1, "max_tokens": 5.0}));
        let expected = json!({
            "tone": "formal", "count": null, "city": "Bern", "temperature": 1, "max_tokens": 5
        });
        assert_eq!(filled.unwrap(), expected);
    }

    #[test]
    fn a_whole_number_loses_its_fraction_point() {
        let parameters = json!([{"name": "n", "type": "integer", "options": [5, 6]}]);
        assert_eq!(filled(parameters, json!({"n": 5.0})).unwrap().to_string(), r#"{"n":5}"#);
    }

    #[test]
    fn an_unknown_name_is_told_what_there_is() {
        let parameters = json!([{"name": "a", "type": "string"}, {"name": "b", "type": "string"}]);
        let error = filled(parameters, json!({"c": 1})).unwrap_err();
        assert_eq!(error.reason, Reason::UnknownParameter);
        assert_eq!(error.message, "the agent has no parameter c; it has: a, b");
        assert_eq!(error.fact("field"), Some("parameters.c"));
    }

    #[test]
    fn a_value_of_another_type_is_told_what_is_allowed() {
        for (r#type, bad) in [
            ("string", json!(1)),
            ("number", json!("1")),
            ("integer", json!(1.5)),
            ("integer", json!(1e300)),
            ("boolean", json!("true")),
            ("object", json!([])),
            ("array", json!({})),
        ] {
            let error =
                filled(json!([{"name": "p", "type": r#type}]), json!({"p": bad})).unwrap_err();
            assert_eq!(error.reason, Reason::InvalidParameterValue, "{type}");
            assert_eq!(error.fact("field"), Some("parameters.p"));
            assert!(error.fact("allowed").is_some());
        }
        let tone = json!([{"name": "tone", "type": "enum", "options": ["formal", 2]}]);
        let error = filled(tone, json!({"tone": "rude"})).unwrap_err();
        assert_eq!(error.message, "parameter tone must be one of: formal, 2");
    }

    #[test]
    fn a_value_must_satisfy_its_schema() {
        let list = json!([{"name": "l", "type": "array", "schema": {"maxItems": 1}}]);
        assert!(filled(list.clone(), json!({"l": [1]})).is_ok());
        let error = filled(list, json!({"l": [1, 2]})).unwrap_err();
        assert_eq!(error.reason, Reason::InvalidParameterValue);
    }

    #[test]
    fn a_required_one_must_be_given() {
        let parameters = json!([{"name": "p", "type": "string", "required": true, "default": "x"}]);
        for given in [json!({}), json!({"p": null})] {
            let error = filled(parameters.clone(), given).unwrap_err();
            assert_eq!(error.reason, Reason::MissingField);
            assert_eq!(error.fact("field"), Some("parameters.p"));
        }
    }

    #[test]
    fn the_reserved_ones_have_their_ranges() {
        for (name, bad) in [
            ("temperature", json!(2.1)),
            ("temperature", json!("1")),
            ("top_p", json!(0)),
            ("top_p", json!(1.1)),
            ("max_tokens", json!(0)),
            ("max_tokens", json!(1.5)),
            ("max_tokens", json!(1_000_001)),
        ] {
            let error = filled(json!([]), json!({name: bad})).unwrap_err();
            assert_eq!(error.reason, Reason::InvalidParameterValue, "{name}");
        }
    }

    #[test]
    fn a_bad_declaration_is_refused_with_its_place() {
        for (parameters, field) in [
            (json!([{"name": "", "type": "string"}]), "parameters[0].name"),
            (json!([{"name": "1a", "type": "string"}]), "parameters[0].name"),
            (json!([{"name": "top_p", "type": "number"}]), "parameters[0].name"),
            (
                json!([{"name": "a", "type": "string"}, {"name": "a", "type": "string"}]),
                "parameters[1].name",
            ),
            (json!([{"name": "a", "type": "enum"}]), "parameters[0].options"),
            (
                json!([{"name": "a", "type": "integer", "options": ["x"]}]),
                "parameters[0].options[0]",
            ),
            (json!([{"name": "a", "type": "integer", "default": "x"}]), "parameters[0].default"),
            (
                json!([{"name": "a", "type": "enum", "options": ["x"], "default": "y"}]),
                "parameters[0].default",
            ),
            (
                json!([{"name": "a", "type": "object", "schema": {"type": 1}}]),
                "parameters[0].schema",
            ),
        ] {
            let error = check_declared(&declared(parameters)).unwrap_err();
            assert_eq!(error.fact("field"), Some(field), "{}", error.message);
        }
    }
}
