//! The standard codec against another implementation: whatever message comes, both write the same
//! and read the same.

use std::sync::LazyLock;

use proptest::prelude::*;
use prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, ReflectMessage, Value,
};
use runplane::gateway::rest::json::{Entry, Options};

use super::entry;
use crate::probe::{self, standard as plain};

const MESSAGES: &[&str] = &["Scalars", "Optionals", "Many", "Tree", "Choice", "Known", "Resource"];
const STANDARD: Options = Options { types: plain::json::MESSAGES, ..Options::DEFAULT };

/// Where a message's values come from: bytes, of which fewer and smaller make a simpler message.
struct Tape<'a>(&'a [u8]);

impl Tape<'_> {
    fn byte(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *first
    }

    fn word(&mut self) -> u64 {
        let special =
            [0, 1, u64::MAX, 1 << 63, (1 << 63) - 1, 1 << 31, (1 << 31) - 1, u32::MAX.into()];
        match self.byte() {
            small @ 0..100 => u64::from(small),
            some @ 100..180 => special[usize::from(some) % special.len()],
            _ => (0..8).fold(0, |word, _| word << 8 | u64::from(self.byte())),
        }
    }

    fn text(&mut self) -> String {
        let alphabet =
            ['a', 'Z', '0', '"', '\\', '\n', '\u{1}', 'é', '漢', '😀', '/', ' ', '<', '\u{2028}'];
        (0..self.byte() % 8).map(|_| alphabet[usize::from(self.byte()) % alphabet.len()]).collect()
    }

    fn double(&mut self) -> f64 {
        let special =
            [0.0, -0.0, 1.0, 0.1, 1e300, 5e-324, f64::INFINITY, f64::NEG_INFINITY, f64::NAN];
        match self.byte() {
            some @ 0..100 => special[usize::from(some) % special.len()],
            _ => f64::from_bits(self.word()),
        }
    }
}

fn descriptor(name: &str) -> MessageDescriptor {
    static POOL: LazyLock<DescriptorPool> =
        LazyLock::new(|| DescriptorPool::decode(plain::DESCRIPTOR_SET).unwrap());
    POOL.get_message_by_name(name).unwrap()
}

fn message(descriptor: &MessageDescriptor, tape: &mut Tape, depth: u32) -> DynamicMessage {
    if let Some(known) = known(descriptor, tape, depth) {
        return known;
    }
    let mut message = DynamicMessage::new(descriptor.clone());
    for field in descriptor.fields() {
        if tape.byte() % 3 == 1 && (depth < 5 || field.kind().as_message().is_none()) {
            message.set_field(&field, value(&field, tape, depth));
        }
    }
    message
}

fn value(field: &FieldDescriptor, tape: &mut Tape, depth: u32) -> Value {
    if let Some(entry) = field.kind().as_message().filter(|_| field.is_map()) {
        let (key, item) = (entry.map_entry_key_field(), entry.map_entry_value_field());
        let pairs = (0..tape.byte() % 4).map(|_| {
            let key = single(&key.kind(), tape, depth).into_map_key().unwrap();
            (key, single(&item.kind(), tape, depth + 1))
        });
        return Value::Map(pairs.collect());
    }
    if field.is_list() {
        return Value::List(
            (0..tape.byte() % 4).map(|_| single(&field.kind(), tape, depth + 1)).collect(),
        );
    }
    single(&field.kind(), tape, depth)
}

#[expect(clippy::cast_possible_truncation, reason = "any bits will do")]
fn single(kind: &Kind, tape: &mut Tape, depth: u32) -> Value {
    match kind {
        Kind::Bool => Value::Bool(tape.byte() % 2 == 1),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Value::I32(tape.word() as i32),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Value::I64(tape.word() as i64),
        Kind::Uint32 | Kind::Fixed32 => Value::U32(tape.word() as u32),
        Kind::Uint64 | Kind::Fixed64 => Value::U64(tape.word()),
        Kind::Float => Value::F32(tape.double() as f32),
        Kind::Double => Value::F64(tape.double()),
        Kind::String => Value::String(tape.text()),
        Kind::Bytes => Value::Bytes(tape.text().into_bytes().into()),
        Kind::Enum(item) if item.full_name() == "google.protobuf.NullValue" => Value::EnumNumber(0),
        Kind::Enum(_) => Value::EnumNumber([0, 1, 2, -1, 99][usize::from(tape.byte()) % 5]),
        Kind::Message(descriptor) => Value::Message(message(descriptor, tape, depth + 1)),
    }
}

/// A message whose values must keep to some rule.
fn known(descriptor: &MessageDescriptor, tape: &mut Tape, depth: u32) -> Option<DynamicMessage> {
    let mut made = DynamicMessage::new(descriptor.clone());
    let nanos = [0, 1, 1000, 500_000_000, 999_999_999][usize::from(tape.byte()) % 5];
    match descriptor.full_name() {
        "google.protobuf.Timestamp" => {
            let seconds = tape.word() % 315_537_897_600;
            made.set_field_by_name(
                "seconds",
                Value::I64(i64::try_from(seconds).unwrap() - 62_135_596_800),
            );
            made.set_field_by_name("nanos", Value::I32(nanos));
        }
        "google.protobuf.Duration" => {
            let sign = if tape.byte() % 2 == 1 { -1 } else { 1 };
            let seconds = i64::try_from(tape.word() % 315_576_000_001).unwrap();
            made.set_field_by_name("seconds", Value::I64(seconds * i64::from(sign)));
            made.set_field_by_name("nanos", Value::I32(nanos * sign));
        }
        "google.protobuf.FieldMask" => {
            let paths =
                ["name", "display_name", "a.b_c.d"].iter().take(usize::from(tape.byte()) % 4);
            let paths = paths.map(|&path| Value::String(path.to_owned()));
            made.set_field_by_name("paths", Value::List(paths.collect()));
        }
        // The oracle writes a wrapped infinity as null.
        "google.protobuf.FloatValue" => made.set_field_by_name("value", Value::F32(0.1)),
        "google.protobuf.DoubleValue" => made.set_field_by_name("value", Value::F64(0.1)),
        "google.protobuf.Value" => set_value(&mut made, tape, depth),
        "google.protobuf.Any" => {
            let name = ["Scalars", "Choice"][usize::from(tape.byte()) % 2];
            let inner = descriptor.parent_pool().get_message_by_name(&format!("probe.json.{name}"));
            let inner = message(&inner.unwrap(), tape, depth.max(4) + 1);
            let url = format!("type.googleapis.com/probe.json.{name}");
            made.set_field_by_name("type_url", Value::String(url));
            made.set_field_by_name(
                "value",
                Value::Bytes(prost::Message::encode_to_vec(&inner).into()),
            );
        }
        _ => return None,
    }
    Some(made)
}

fn set_value(made: &mut DynamicMessage, tape: &mut Tape, depth: u32) {
    let kind = if depth < 5 { tape.byte() % 6 } else { tape.byte() % 4 };
    let number = Some(tape.double()).filter(|number| number.is_finite()).unwrap_or(0.5);
    let (name, value) = match kind {
        0 => ("null_value", Value::EnumNumber(0)),
        1 => ("bool_value", Value::Bool(true)),
        2 => ("number_value", Value::F64(number)),
        3 => ("string_value", Value::String(tape.text())),
        4 => {
            let field = made.descriptor().get_field_by_name("list_value").unwrap();
            ("list_value", single(&field.kind(), tape, depth))
        }
        _ => {
            let field = made.descriptor().get_field_by_name("struct_value").unwrap();
            ("struct_value", single(&field.kind(), tape, depth))
        }
    };
    made.set_field_by_name(name, value);
}

/// The oracle's JSON.
fn oracle_writes(message: &DynamicMessage) -> serde_json::Value {
    serde_json::to_value(message).unwrap()
}

/// The oracle's message; none: it refuses the text.
fn oracle_reads(descriptor: &MessageDescriptor, json: &[u8]) -> Option<DynamicMessage> {
    let mut source = serde_json::Deserializer::from_slice(json);
    let message = DynamicMessage::deserialize(descriptor.clone(), &mut source).ok()?;
    source.end().ok().map(|()| message)
}

/// Equal, but that `1` is `1.0` and a float may have been written as a double.
fn same(a: &serde_json::Value, b: &serde_json::Value) -> bool {
    use serde_json::Value::{Array, Number, Object};
    match (a, b) {
        #[expect(clippy::cast_possible_truncation, reason = "the oracle widens floats")]
        (Number(a), Number(b)) => {
            let (a, b) = (a.as_f64().unwrap(), b.as_f64().unwrap());
            a == b || a as f32 == b as f32 && (a as f32).is_finite()
        }
        (Array(a), Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Object(a), Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
        }
        _ => a == b,
    }
}

fn read_back(entry: &Entry, descriptor: &MessageDescriptor, json: &[u8]) -> DynamicMessage {
    let bytes = entry.from_json(json, &STANDARD).unwrap();
    DynamicMessage::decode(descriptor.clone(), bytes.as_slice()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    #[test]
    fn any_message_is_written_and_read_as_the_oracle_does(
        tape in proptest::collection::vec(any::<u8>(), 0..400),
        which in 0..MESSAGES.len(),
    ) {
        let name = format!("probe.json.{}", MESSAGES[which]);
        let descriptor = descriptor(&name);
        let message = message(&descriptor, &mut Tape(&tape), 0);
        let bytes = prost::Message::encode_to_vec(&message);
        let expected = oracle_writes(&message);

        let standard = entry(plain::json::MESSAGES, &name);
        let json = standard.to_json(&bytes, &STANDARD).unwrap();
        let written: serde_json::Value = serde_json::from_slice(&json).unwrap();
        prop_assert!(same(&written, &expected), "{written}\n{expected}");

        let back = read_back(standard, &descriptor, &serde_json::to_vec(&expected).unwrap());
        let read = oracle_writes(&back);
        prop_assert!(same(&read, &expected), "{read}\n{expected}");
        let back = oracle_reads(&descriptor, &json).unwrap();
        prop_assert!(same(&oracle_writes(&back), &expected));
    }

    #[test]
    fn any_message_survives_the_house_style(
        tape in proptest::collection::vec(any::<u8>(), 0..400),
        which in 0..MESSAGES.len(),
    ) {
        let name = format!("probe.json.{}", MESSAGES[which]);
        let descriptor = descriptor(&name);
        let message = message(&descriptor, &mut Tape(&tape), 0);
        let options = Options { types: probe::json::MESSAGES, ..Options::DEFAULT };
        let house = entry(probe::json::MESSAGES, &name);
        let json = house.to_json(&prost::Message::encode_to_vec(&message), &options).unwrap();
        let bytes = house.from_json(&json, &options).unwrap();
        prop_assert_eq!(house.to_json(&bytes, &options).unwrap(), json);
        let back = DynamicMessage::decode(descriptor, bytes.as_slice()).unwrap();
        prop_assert!(same(&oracle_writes(&back), &oracle_writes(&message)));
    }

    #[test]
    fn a_damaged_text_is_refused_or_read_as_the_oracle_does(
        tape in proptest::collection::vec(any::<u8>(), 0..200),
        which in 0..MESSAGES.len(),
        at in any::<prop::sample::Index>(),
        damage in prop::sample::select(&b"\"{}[],:0159.-eEntfx \\u"[..]),
    ) {
        let name = format!("probe.json.{}", MESSAGES[which]);
        let descriptor = descriptor(&name);
        let message = message(&descriptor, &mut Tape(&tape), 0);
        let mut json = serde_json::to_vec(&oracle_writes(&message)).unwrap();
        let at = at.index(json.len());
        json[at] = damage;
        let ours = entry(plain::json::MESSAGES, &name).from_json(&json, &STANDARD);
        if let (Ok(bytes), Some(theirs)) = (ours, oracle_reads(&descriptor, &json)) {
            let ours = DynamicMessage::decode(descriptor, bytes.as_slice()).unwrap();
            prop_assert!(same(&oracle_writes(&ours), &oracle_writes(&theirs)));
        }
    }
}
