//! A JSON value that keeps the order of its members, as files for review should: read from the
//! codec's JSON and from YAML, written as YAML. Knows no message of ours.

use std::fmt;

use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Number, Value};

use super::exit::{Failure, Outcome};
use crate::proto::codec::{Json, to_vec};

/// A value with its members in order.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Ordered {
    /// `null`, a truth value, a number or a text.
    Plain(Value),
    /// An array.
    List(Vec<Self>),
    /// An object.
    Map(Vec<(String, Self)>),
}

impl Ordered {
    /// The JSON of a message.
    pub(super) fn of<M: Json>(message: &M) -> Outcome<Self> {
        serde_json::from_slice(&to_vec(message)).map_err(|error| error.to_string().into())
    }

    /// The documents of a YAML text, which may be JSON too.
    pub(super) fn documents(text: &str) -> Outcome<Vec<Self>> {
        let options = serde_saphyr::options! { strict_booleans: true, with_snippet: false };
        let read = serde_saphyr::from_multiple_with_options(text, options);
        read.map_err(|error| Failure::usage(error.to_string()))
    }

    /// The value as YAML, ended by a line break.
    pub(super) fn yaml(&self) -> Outcome<String> {
        serde_saphyr::to_string(self).map_err(|error| error.to_string().into())
    }

    /// The value as JSON.
    pub(super) fn json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// The member of this name.
    pub(super) fn get(&self, name: &str) -> Option<&Self> {
        let Self::Map(members) = self else { return None };
        members.iter().find(|(own, _)| own == name).map(|(_, value)| value)
    }

    /// Takes members out of an object, by their names.
    pub(super) fn without(mut self, names: &[&str]) -> Self {
        if let Self::Map(members) = &mut self {
            members.retain(|(name, _)| !names.contains(&name.as_str()));
        }
        self
    }

    /// The value without members that say nothing: those that are `null` or empty.
    pub(super) fn full(self) -> Self {
        match self {
            Self::Map(members) => {
                let members = members.into_iter().map(|(name, value)| (name, value.full()));
                Self::Map(members.filter(|(_, value)| !value.is_empty()).collect())
            }
            Self::List(items) => Self::List(items.into_iter().map(Self::full).collect()),
            plain @ Self::Plain(_) => plain,
        }
    }

    fn is_empty(&self) -> bool {
        match self {
            Self::Plain(value) => value.is_null() || value == "",
            Self::List(items) => items.is_empty(),
            Self::Map(members) => members.is_empty(),
        }
    }
}

impl Serialize for Ordered {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Plain(value) => value.serialize(serializer),
            Self::List(items) => {
                let mut list = serializer.serialize_seq(Some(items.len()))?;
                items.iter().try_for_each(|item| list.serialize_element(item))?;
                list.end()
            }
            Self::Map(members) => {
                let mut map = serializer.serialize_map(Some(members.len()))?;
                members.iter().try_for_each(|(name, value)| map.serialize_entry(name, value))?;
                map.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for Ordered {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Read)
    }
}

struct Read;

impl<'de> Visitor<'de> for Read {
    type Value = Ordered;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Ordered, E> {
        Ok(Ordered::Plain(Value::Null))
    }

    fn visit_none<E>(self) -> Result<Ordered, E> {
        Ok(Ordered::Plain(Value::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Ordered, D::Error> {
        deserializer.deserialize_any(Self)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Ordered, E> {
        Ok(Ordered::Plain(Value::Bool(value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Ordered, E> {
        Ok(Ordered::Plain(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Ordered, E> {
        Ok(Ordered::Plain(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Ordered, E> {
        let number = Number::from_f64(value).ok_or_else(|| E::custom("a number without end"))?;
        Ok(Ordered::Plain(Value::Number(number)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Ordered, E> {
        Ok(Ordered::Plain(Value::String(value.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Ordered, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Ordered::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Ordered, A::Error> {
        let mut members: Vec<(String, Ordered)> = Vec::new();
        while let Some((name, value)) = map.next_entry::<String, Ordered>()? {
            if members.iter().any(|(other, _)| *other == name) {
                return Err(serde::de::Error::custom(format!("{name} is there twice")));
            }
            members.push((name, value));
        }
        Ok(Ordered::Map(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_and_the_lines_of_a_text_stay() {
        let text = "{\"z\":1,\"a\":\"one\\n  two\\n\",\"m\":[{\"k\":true},null,\"no\",\"0x1\"]}";
        let value: Ordered = serde_json::from_str(text).unwrap();
        let yaml = value.yaml().unwrap();
        assert!(yaml.starts_with("z: 1\na: |\n  one\n    two\n"), "{yaml}");
        assert_eq!(Ordered::documents(&yaml).unwrap(), [value.clone()]);
        assert_eq!(value.json(), text);
    }

    #[test]
    fn a_word_is_a_text_and_a_name_is_there_once() {
        let read = Ordered::documents("a: yes\n---\na: on\n").unwrap();
        assert_eq!(read[0].json() + &read[1].json(), "{\"a\":\"yes\"}{\"a\":\"on\"}");
        assert!(Ordered::documents("a: 1\na: 2\n").is_err());
        assert!(Ordered::documents("a: [1\n").is_err());
    }
}
