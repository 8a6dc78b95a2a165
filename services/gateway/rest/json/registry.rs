//! Messages by name: what an `Any` may hold, and what tests and tools read and write without
//! knowing the type. Holds no state: the tables are generated.

use prost_types::{Any, Duration, FieldMask, ListValue, Struct, Timestamp, Value};
use serde::Deserializer;
use serde::de::{Error, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::message::{Message, read_typed};
use super::shape::Shape;
use super::{Context, Json, JsonError, Options, Plain, Writer};

/// A message type, by functions from and to its binary form.
pub struct Entry {
    /// Full name, such as `runplane.v1.Agent`.
    pub name: &'static str,
    /// Writes a binary message as JSON.
    write: fn(&[u8], &mut Writer) -> Result<(), prost::DecodeError>,
    /// Writes a binary message as the members that follow `@type`.
    pub(super) write_typed: fn(&[u8], &mut Writer) -> Result<(), prost::DecodeError>,
    /// Reads JSON to a binary message.
    read: fn(&[u8], &Context) -> serde_json::Result<Vec<u8>>,
    /// Reads an object with `@type` to a binary message.
    pub(super) read_typed: fn(&str, &Context) -> serde_json::Result<Vec<u8>>,
}

impl Entry {
    /// The entry of a generated message.
    pub const fn of<M: Message>(name: &'static str) -> Self {
        Self {
            name,
            write: write::<M>,
            write_typed: write_members::<M>,
            read: read::<M>,
            read_typed: |text, cx| {
                let mut source = serde_json::Deserializer::from_str(text);
                read_typed::<M, _>(&mut source, cx).map(|message| message.encode_to_vec())
            },
        }
    }

    /// The entry of a type with a JSON form of its own.
    const fn known<M: Json + prost::Message>(name: &'static str) -> Self {
        Self {
            name,
            write: write::<M>,
            write_typed: |bytes, out| {
                let value = M::decode(bytes)?;
                out.raw(b"\"value\":");
                value.write_json(out);
                Ok(())
            },
            read: read::<M>,
            read_typed: |text, cx| {
                let mut source = serde_json::Deserializer::from_str(text);
                let value = source.deserialize_map(ValueVisitor(cx))?;
                let value =
                    value.ok_or_else(|| serde_json::Error::custom("an Any without `value`"))?;
                read::<M>(value.get().as_bytes(), cx)
            },
        }
    }

    /// Writes a binary message as JSON.
    pub fn to_json(&self, bytes: &[u8], options: &Options) -> Result<Vec<u8>, JsonError> {
        let mut out = Writer::new(Vec::new(), options);
        if (self.write)(bytes, &mut out).is_err() {
            out.fault("bytes that are no such message");
        }
        out.finish()
    }

    /// Reads JSON to a binary message.
    pub fn from_json(&self, json: &[u8], options: &Options) -> Result<Vec<u8>, JsonError> {
        let cx = Context::new(*options);
        (self.read)(json, &cx).map_err(|error| cx.explain(&error))
    }
}

/// Types with a JSON form of their own, sorted by name.
const KNOWN: &[Entry] = &[
    Entry::known::<Any>("google.protobuf.Any"),
    Entry::known::<bool>("google.protobuf.BoolValue"),
    Entry::known::<Vec<u8>>("google.protobuf.BytesValue"),
    Entry::known::<f64>("google.protobuf.DoubleValue"),
    Entry::known::<Duration>("google.protobuf.Duration"),
    Entry::known::<()>("google.protobuf.Empty"),
    Entry::known::<FieldMask>("google.protobuf.FieldMask"),
    Entry::known::<f32>("google.protobuf.FloatValue"),
    Entry::known::<i32>("google.protobuf.Int32Value"),
    Entry::known::<i64>("google.protobuf.Int64Value"),
    Entry::known::<ListValue>("google.protobuf.ListValue"),
    Entry::known::<String>("google.protobuf.StringValue"),
    Entry::known::<Struct>("google.protobuf.Struct"),
    Entry::known::<Timestamp>("google.protobuf.Timestamp"),
    Entry::known::<u32>("google.protobuf.UInt32Value"),
    Entry::known::<u64>("google.protobuf.UInt64Value"),
    Entry::known::<Value>("google.protobuf.Value"),
];

/// Finds a type by its full name: a well-known one, one of the contract, or one of `types`.
pub fn find(name: &str, types: &'static [Entry]) -> Option<&'static Entry> {
    [KNOWN, crate::proto::json::MESSAGES, types].into_iter().find_map(
        |entries: &'static [Entry]| {
            let at = entries.binary_search_by(|entry| entry.name.cmp(name)).ok()?;
            entries.get(at)
        },
    )
}

fn write<M: Json + prost::Message>(
    bytes: &[u8],
    out: &mut Writer,
) -> Result<(), prost::DecodeError> {
    M::decode(bytes)?.write_json(out);
    Ok(())
}

fn write_members<M: Message>(bytes: &[u8], out: &mut Writer) -> Result<(), prost::DecodeError> {
    M::decode(bytes)?.write_fields(out);
    Ok(())
}

fn read<M: Json + prost::Message>(json: &[u8], cx: &Context) -> serde_json::Result<Vec<u8>> {
    let mut source = serde_json::Deserializer::from_slice(json);
    let message: M = Plain::read(&mut source, cx)?;
    source.end()?;
    Ok(message.encode_to_vec())
}

/// Finds `value` beside `@type`.
struct ValueVisitor<'a>(&'a Context);

impl<'de> Visitor<'de> for ValueVisitor<'_> {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str("an object with `@type` and `value`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(name) = map.next_key::<String>()? {
            match name.as_str() {
                "value" if found.is_some() => return Err(A::Error::custom("`value` given twice")),
                "value" => found = Some(map.next_value()?),
                other if other != "@type" && !self.0.options.ignore_unknown => {
                    return Err(self.0.unknown(other));
                }
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(found)
    }
}
