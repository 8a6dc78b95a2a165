//! `google.protobuf.Any`: the JSON of the message within, with its type beside. Called through the
//! traits of the codec; the types are those of the registry.

use prost_types::Any;
use serde::de::{Error, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::super::registry::{Entry, find};
use super::super::{Context, Json, Writer};

impl Json for Any {
    fn write_json(&self, out: &mut Writer) {
        if self.type_url.is_empty() && self.value.is_empty() {
            return out.raw(b"{}");
        }
        let Some(entry) = entry(&self.type_url, out.types()) else {
            return out.fault("an Any of an unknown type");
        };
        out.raw(b"{\"@type\":");
        out.text(&self.type_url);
        out.comma();
        if (entry.write_typed)(&self.value, out).is_err() {
            out.raw(b"\"value\":");
            out.fault("an Any whose bytes are not of its type");
        }
        out.close(b'}');
    }

    fn read_json<'de, D: Deserializer<'de>>(source: D, cx: &Context) -> Result<Self, D::Error> {
        // The type may come last, so the text is looked through for it before it is read.
        cx.enter_any()?;
        let text = <&RawValue>::deserialize(source)?.get();
        let mut probe = serde_json::Deserializer::from_str(text);
        let type_url = probe.deserialize_map(TypeVisitor).map_err(D::Error::custom)?;
        let Some(type_url) = type_url else {
            cx.leave_any();
            return empty(text).map(|()| Self::default());
        };
        let entry = entry(&type_url, cx.options.types).ok_or_else(|| {
            D::Error::custom(format_args!("`@type` names the unknown type {type_url:?}"))
        })?;
        let value = (entry.read_typed)(text, cx).map_err(D::Error::custom)?;
        cx.leave_any();
        Ok(Self { type_url, value })
    }
}

/// The type that a URL names by what follows its last slash.
fn entry(type_url: &str, types: &'static [Entry]) -> Option<&'static Entry> {
    find(type_url.rsplit_once('/')?.1, types)
}

/// An object without a type must be empty.
fn empty<E: Error>(text: &str) -> Result<(), E> {
    let inside = text.trim_start_matches('{').trim_end_matches('}').trim();
    if inside.is_empty() { Ok(()) } else { Err(E::custom("an Any without `@type`")) }
}

/// Finds `@type` in an object.
struct TypeVisitor;

impl<'de> Visitor<'de> for TypeVisitor {
    type Value = Option<String>;

    fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str("an object with `@type`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Option<String>, A::Error> {
        let mut found = None;
        while let Some(name) = map.next_key::<String>()? {
            if name != "@type" {
                map.next_value::<IgnoredAny>()?;
            } else if found.replace(map.next_value()?).is_some() {
                return Err(A::Error::custom("`@type` given twice"));
            }
        }
        Ok(found)
    }
}
