//! Any message of the probe, made of bytes. Called by the tests that compare the codec with another
//! implementation.

use prost_reflect::{
    DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, ReflectMessage, Value,
};

/// Where a message's values come from: bytes, of which fewer and smaller make a simpler message.
pub(super) struct Tape<'a>(pub(super) &'a [u8]);

impl Tape<'_> {
    pub(super) fn byte(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *first
    }

    pub(super) fn word(&mut self) -> u64 {
        let special =
            [0, 1, u64::MAX, 1 << 63, (1 << 63) - 1, 1 << 31, (1 << 31) - 1, u32::MAX.into()];
        match self.byte() {
            small @ 0..100 => u64::from(small),
            some @ 100..180 => special[usize::from(some) % special.len()],
            _ => (0..8).fold(0, |word, _| word << 8 | u64::from(self.byte())),
        }
    }

    pub(super) fn text(&mut self) -> String {
        let alphabet =
            ['a', 'Z', '0', '"', '\\', '\n', '\u{1}', 'é', '漢', '😀', '/', ' ', '<', '\u{2028}'];
        (0..self.byte() % 8).map(|_| alphabet[usize::from(self.byte()) % alphabet.len()]).collect()
    }

    pub(super) fn double(&mut self) -> f64 {
        let special =
            [0.0, -0.0, 1.0, 0.1, 1e300, 5e-324, f64::INFINITY, f64::NEG_INFINITY, f64::NAN];
        match self.byte() {
            some @ 0..100 => special[usize::from(some) % special.len()],
            _ => f64::from_bits(self.word()),
        }
    }
}

/// A message with some of its fields set.
pub(super) fn message(
    descriptor: &MessageDescriptor,
    tape: &mut Tape,
    depth: u32,
) -> DynamicMessage {
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
