//! `google.protobuf.Value` and `Struct` to and from the JSON values that the store and the runtime
//! use.

use prost_types::value::Kind;
use prost_types::{ListValue, Struct};
use serde_json::{Map, Number, Value};

/// Most levels of nesting of any JSON that comes in. protobuf libraries read at most 100 levels of
/// messages, and a level of a
/// `Value` costs up to three: what REST took in deeper could not be read back over gRPC.
pub const DEPTH_MAX: u32 = 30;

/// Largest whole number that a double holds exactly.
const EXACT: f64 = 9_007_199_254_740_991.0;

/// The JSON of a `Value`; one without a kind is null.
#[must_use]
pub fn from_value(value: prost_types::Value) -> Value {
    match value.kind {
        None | Some(Kind::NullValue(_)) => Value::Null,
        Some(Kind::BoolValue(b)) => Value::Bool(b),
        Some(Kind::StringValue(text)) => Value::String(text),
        Some(Kind::NumberValue(n)) => number(n),
        Some(Kind::StructValue(fields)) => Value::Object(from_struct(fields)),
        Some(Kind::ListValue(list)) => {
            Value::Array(list.values.into_iter().map(from_value).collect())
        }
    }
}

/// True when a value has at most this many levels of nesting; a scalar has none.
#[must_use]
pub fn is_within(value: &Value, levels: u32) -> bool {
    let below = |inner: &Value| levels > 0 && is_within(inner, levels - 1);
    match value {
        Value::Array(values) => levels > 0 && values.iter().all(below),
        Value::Object(fields) => levels > 0 && fields.values().all(below),
        _ => true,
    }
}

/// The JSON of a `Struct`.
#[must_use]
pub fn from_struct(fields: Struct) -> Map<String, Value> {
    fields.fields.into_iter().map(|(name, value)| (name, from_value(value))).collect()
}

/// The `Value` of a JSON value.
#[must_use]
pub fn to_value(value: Value) -> prost_types::Value {
    let kind = match value {
        Value::Null => Kind::NullValue(0),
        Value::Bool(b) => Kind::BoolValue(b),
        Value::String(text) => Kind::StringValue(text),
        Value::Number(n) => Kind::NumberValue(n.as_f64().unwrap_or_default()),
        Value::Object(fields) => Kind::StructValue(to_struct(fields)),
        Value::Array(values) => {
            Kind::ListValue(ListValue { values: values.into_iter().map(to_value).collect() })
        }
    };
    prost_types::Value { kind: Some(kind) }
}

/// The `Struct` of a JSON object.
#[must_use]
pub fn to_struct(fields: Map<String, Value>) -> Struct {
    Struct { fields: fields.into_iter().map(|(name, value)| (name, to_value(value))).collect() }
}

/// Whole numbers stay whole, as ProtoJSON prints them.
fn number(n: f64) -> Value {
    if n.fract() == 0.0 && n.abs() <= EXACT {
        #[expect(clippy::cast_possible_truncation, reason = "whole and within 2^53")]
        return Value::Number(Number::from(n as i64));
    }
    Number::from_f64(n).map_or(Value::Null, Value::Number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn json_survives_the_way_there_and_back() {
        let value = json!({"a": [1, 2.5, null, true, "x", {}], "b": {"c": -3}, "d": 1e300});
        assert_eq!(from_value(to_value(value.clone())), value);
    }
}
