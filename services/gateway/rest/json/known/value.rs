//! `google.protobuf.Value`, `Struct` and `ListValue`: any JSON. Called through the traits of the
//! codec.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;

use prost_types::value::Kind;
use prost_types::{ListValue, Struct, Value};
use serde::Deserializer;
use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Unexpected, Visitor};

use super::super::{Context, Json, Step, Writer};

impl Json for Value {
    const NULL: bool = true;

    fn write_json(&self, out: &mut Writer) {
        match &self.kind {
            None | Some(Kind::NullValue(_)) => out.raw(b"null"),
            Some(Kind::BoolValue(value)) => value.write_json(out),
            Some(Kind::NumberValue(number)) if number.is_finite() => out.double(*number),
            Some(Kind::NumberValue(_)) => out.fault("a number within a Value that is none"),
            Some(Kind::StringValue(text)) => out.text(text),
            Some(Kind::StructValue(object)) => object.write_json(out),
            Some(Kind::ListValue(list)) => list.write_json(out),
        }
    }

    fn read_json<'de, D: Deserializer<'de>>(source: D, cx: &Context) -> Result<Self, D::Error> {
        source.deserialize_any(Any(cx))
    }
}

impl Json for Struct {
    fn write_json(&self, out: &mut Writer) {
        out.open(b'{');
        for (name, value) in &self.fields {
            out.text(name);
            out.raw(b":");
            value.write_json(out);
            out.comma();
        }
        out.close(b'}');
    }

    fn read_json<'de, D: Deserializer<'de>>(source: D, cx: &Context) -> Result<Self, D::Error> {
        source.deserialize_map(Object(cx))
    }
}

impl Json for ListValue {
    fn write_json(&self, out: &mut Writer) {
        out.open(b'[');
        for value in &self.values {
            value.write_json(out);
            out.comma();
        }
        out.close(b']');
    }

    fn read_json<'de, D: Deserializer<'de>>(source: D, cx: &Context) -> Result<Self, D::Error> {
        source.deserialize_seq(Array(cx))
    }
}

/// Reads the one value of `google.protobuf.NullValue`.
pub(in super::super) struct NullVisitor;

impl Visitor<'_> for NullVisitor {
    type Value = i32;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("null")
    }

    fn visit_unit<E>(self) -> Result<i32, E> {
        Ok(0)
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<i32, E> {
        match name {
            "NULL_VALUE" => Ok(0),
            _ => Err(E::invalid_value(Unexpected::Str(name), &self)),
        }
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<i32, E> {
        match number {
            0 => Ok(0),
            _ => Err(E::invalid_value(Unexpected::Unsigned(number), &self)),
        }
    }
}

struct Any<'a>(&'a Context);

impl<'de> DeserializeSeed<'de> for Any<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, source: D) -> Result<Value, D::Error> {
        source.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Any<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Kind::NullValue(0).into_value())
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Kind::BoolValue(value).into_value())
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(Kind::NumberValue(number).into_value())
    }

    #[expect(clippy::cast_precision_loss, reason = "a Value holds doubles")]
    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Kind::NumberValue(number as f64).into_value())
    }

    #[expect(clippy::cast_precision_loss, reason = "a Value holds doubles")]
    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(Kind::NumberValue(number as f64).into_value())
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Kind::StringValue(text.to_owned()).into_value())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, elements: A) -> Result<Value, A::Error> {
        Ok(Kind::ListValue(Array(self.0).visit_seq(elements)?).into_value())
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<Value, A::Error> {
        Ok(Kind::StructValue(Object(self.0).visit_map(members)?).into_value())
    }
}

struct Object<'a>(&'a Context);

impl<'de> Visitor<'de> for Object<'_> {
    type Value = Struct;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Struct, A::Error> {
        let cx = self.0;
        cx.enter()?;
        let mut fields = BTreeMap::new();
        while let Some(name) = members.next_key::<String>()? {
            let slot = match fields.entry(name) {
                Entry::Vacant(slot) => slot,
                Entry::Occupied(slot) => {
                    let step = Step::Key(slot.key().clone());
                    return Err(cx.at(step, A::Error::custom("given twice")));
                }
            };
            match members.next_value_seed(Any(cx)) {
                Ok(value) => slot.insert(value),
                Err(error) => return Err(cx.at(Step::Key(slot.into_key()), error)),
            };
        }
        cx.leave();
        Ok(Struct { fields })
    }
}

struct Array<'a>(&'a Context);

impl<'de> Visitor<'de> for Array<'_> {
    type Value = ListValue;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<ListValue, A::Error> {
        let cx = self.0;
        cx.enter()?;
        let mut values = Vec::new();
        for index in 0.. {
            let element = elements.next_element_seed(Any(cx));
            match element.map_err(|error| cx.at(Step::Index(index), error))? {
                Some(value) => values.push(value),
                None => break,
            }
        }
        cx.leave();
        Ok(ListValue { values })
    }
}

/// Wraps a kind, which alone is no value.
trait IntoValue {
    fn into_value(self) -> Value;
}

impl IntoValue for Kind {
    fn into_value(self) -> Value {
        Value { kind: Some(self) }
    }
}
