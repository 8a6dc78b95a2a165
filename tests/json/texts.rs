//! JSON for any message of the probe, made of bytes: right and wrong, in every notation that a
//! reader may meet. Called by the test that reads it with two implementations.

use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};

use super::tape::Tape;

/// Something in a text that the two implementations do not agree about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Oddity {
    /// A name or key twice. The specification: refused. The oracle takes the last.
    Twice,
    /// A number in quotes as Rust reads it and JSON does not: `"+1"`, `"01"`, `"inf"`, `"1e400"`.
    /// The specification: refused. The oracle takes it.
    Lax,
    /// A whole number in quotes with a point or an exponent. The specification: taken. The oracle
    /// refuses it.
    Exponent,
    /// An integer beyond the range that a double rounds into it. The specification: refused. The
    /// oracle takes it as the last within.
    Beyond,
    /// An `Any` with nothing in it. The specification: taken. The oracle refuses it.
    EmptyAny,
    /// A path of a mask that has an underscore or another mark. The specification: refused. The
    /// oracle takes it.
    Mask,
}

impl Oddity {
    /// True when the codec takes what the oracle refuses, not the other way round.
    pub(super) fn is_taken(self) -> bool {
        matches!(self, Self::Exponent | Self::EmptyAny)
    }
}

const TIMES: &[&str] = &[
    "1970-01-01T00:00:00Z",
    "2026-02-28T23:59:59.123456789Z",
    "2000-02-29T12:00:00.5+05:30",
    "0001-01-01T00:00:00Z",
    "9999-12-31T23:59:59.999999999Z",
    "1969-12-31T16:00:00-08:00",
    "2026-02-30T00:00:00Z",
    "1970-01-01T00:00:00",
    "1970-01-01t00:00:00Z",
    "1970-01-01 00:00:00Z",
    "9999-12-31T23:59:59-01:00",
    "0000-12-31T23:59:59Z",
];

const SPANS: &[&str] =
    &["0s", "1.5s", "-0.5s", "315576000000s", "-1.000000001s", "1", "1h", "315576000001s", ""];

const MASKS: &[&str] = &["", "displayName", "displayName,a.bC.d1", "a"];

/// A text on its way.
pub(super) struct Text<'a> {
    tape: Tape<'a>,
    json: String,
    odd: Vec<Oddity>,
}

/// The JSON of a message, and what is odd about it.
pub(super) fn text(descriptor: &MessageDescriptor, tape: &[u8]) -> (String, Vec<Oddity>) {
    let mut text = Text { tape: Tape(tape), json: String::new(), odd: Vec::new() };
    text.message(descriptor, 0);
    (text.json, text.odd)
}

impl Text<'_> {
    fn put(&mut self, json: &str) {
        self.json.push_str(json);
    }

    /// One of some texts; the first when the tape is at its end.
    fn pick<'t>(&mut self, texts: &[&'t str]) -> &'t str {
        texts[usize::from(self.tape.byte()) % texts.len()]
    }

    fn is(&mut self, one_in: u8) -> bool {
        self.tape.byte() % one_in == 1
    }

    /// A member or element after others.
    fn comma(&mut self, first: &mut bool) {
        if !std::mem::take(first) {
            let comma = self.pick(&[",", ",", " ,\n"]);
            self.put(comma);
        }
    }

    fn message(&mut self, descriptor: &MessageDescriptor, depth: u32) {
        if descriptor.package_name() == "google.protobuf" {
            return self.known(descriptor, depth);
        }
        self.put("{");
        self.members(descriptor, depth, true);
        self.put("}");
    }

    fn members(&mut self, descriptor: &MessageDescriptor, depth: u32, mut first: bool) {
        for field in descriptor.fields() {
            if !self.is(4) || (depth > 3 && field.kind().as_message().is_some()) {
                continue;
            }
            let mut times = 1;
            if self.is(250) {
                self.odd.push(Oddity::Twice);
                times = 2;
            }
            for _ in 0..times {
                self.comma(&mut first);
                let name = if self.is(2) { field.name() } else { field.json_name() };
                self.put(&format!("\"{name}\":"));
                self.value(&field, depth);
            }
        }
        if self.is(200) {
            self.comma(&mut first);
            self.put("\"noSuchField\":[1]");
        }
    }

    fn value(&mut self, field: &FieldDescriptor, depth: u32) {
        let many = field.is_list() || field.is_map();
        // The oracle panics at `null` for many of `google.protobuf.Value`.
        let value = field
            .kind()
            .as_message()
            .is_some_and(|kind| !field.is_list() || kind.name() == "Value");
        if self.is(12) && !(many && value) {
            return self.put("null");
        }
        if let Some(entry) = field.kind().as_message().filter(|_| field.is_map()) {
            return self.map(entry, depth);
        }
        if !field.is_list() {
            return self.single(&field.kind(), depth);
        }
        self.put("[");
        for index in 0..self.tape.byte() % 4 {
            self.comma(&mut (index == 0));
            self.single(&field.kind(), depth + 1);
        }
        self.put("]");
    }

    fn map(&mut self, entry: &MessageDescriptor, depth: u32) {
        let (key, item) = (entry.map_entry_key_field(), entry.map_entry_value_field());
        self.put("{");
        let mut keys = Vec::new();
        for index in 0..self.tape.byte() % 4 {
            let key = match key.kind() {
                Kind::String => serde_json::Value::from(self.tape.text()).to_string(),
                Kind::Bool => self.pick(&["\"true\"", "\"false\"", "\"1\""]).to_owned(),
                kind => format!("\"{}\"", self.whole(&kind)),
            };
            if keys.contains(&key) {
                self.odd.push(Oddity::Twice);
            }
            self.comma(&mut (index == 0));
            self.put(&format!("{key}:"));
            keys.push(key);
            self.single(&item.kind(), depth + 1);
        }
        self.put("}");
    }

    fn single(&mut self, kind: &Kind, depth: u32) {
        if self.is(150) {
            let wrong = self.pick(&["{}", "[]", "true", "\"?\"", "1.5", "[null]"]);
            return self.put(wrong);
        }
        match kind {
            Kind::Bool => {
                let word = self.pick(&["true", "false"]);
                self.put(word);
            }
            Kind::Float | Kind::Double => self.real(kind),
            Kind::String => self.string(),
            Kind::Bytes => {
                let forms = ["\"\"", "\"+/8=\"", "\"-_8\"", "\"AQI=\"", "\"AQI\"", "\"AQ\""];
                let form = self.pick(&forms);
                self.put(form);
            }
            Kind::Enum(item) if item.full_name() == "google.protobuf.NullValue" => {
                let form = self.pick(&["null", "\"NULL_VALUE\""]);
                self.put(form);
            }
            Kind::Enum(_) => {
                let forms =
                    ["0", "\"COLOR_RED\"", "\"COLOR_BELOW_ZERO\"", "2", "-1", "99", "\"MAUVE\""];
                let last = if self.is(8) { forms.len() } else { forms.len() - 1 };
                let form = self.pick(&forms[..last]);
                self.put(form);
            }
            Kind::Message(inner) => self.message(inner, depth + 1),
            _ => self.integer(kind),
        }
    }

    /// An integer within the range of its type.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        reason = "any bits will do"
    )]
    fn whole(&mut self, kind: &Kind) -> i128 {
        let word = self.tape.word();
        match kind {
            Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => i128::from(word as i32),
            Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => i128::from(word as i64),
            Kind::Uint32 | Kind::Fixed32 => i128::from(word as u32),
            _ => i128::from(word),
        }
    }

    fn integer(&mut self, kind: &Kind) {
        let number = self.whole(kind);
        // Beyond this a double may stand for another integer.
        let small = number.abs() < 1 << 53;
        let json = match self.tape.byte() % 64 {
            0..32 => number.to_string(),
            32..48 => format!("\"{number}\""),
            48..52 if small => format!("{number}.0"),
            52..56 if small => format!("{number}e0"),
            56..58 if small => {
                self.odd.push(Oddity::Exponent);
                let tail = self.pick(&["e0", ".0", "0E-1"]);
                format!("\"{number}{tail}\"")
            }
            58 if number >= 0 => {
                self.odd.push(Oddity::Lax);
                let head = self.pick(&["+", "0"]);
                format!("\"{head}{number}\"")
            }
            59 if matches!(kind, Kind::Int64 | Kind::Sint64 | Kind::Sfixed64) => {
                self.odd.push(Oddity::Beyond);
                "-9223372036854775809".to_owned()
            }
            59 => self.pick(&["36893488147419103232", "\" 1\""]).to_owned(),
            60 => self.pick(&["0.5", "\"0.5\"", "\"\"", "\"x\"", "1e99"]).to_owned(),
            _ => "7".to_owned(),
        };
        self.put(&json);
    }

    fn real(&mut self, kind: &Kind) {
        let number = self.tape.double();
        let single = matches!(kind, Kind::Float);
        #[expect(clippy::cast_possible_truncation, reason = "rounding is what is asked for")]
        let number = if single { f64::from(number as f32) } else { number };
        let shown = match number {
            _ if number.is_nan() => "\"NaN\"".to_owned(),
            _ if number.is_infinite() && number > 0.0 => "\"Infinity\"".to_owned(),
            _ if number.is_infinite() => "\"-Infinity\"".to_owned(),
            _ => serde_json::Value::from(number).to_string(),
        };
        let json = match self.tape.byte() % 32 {
            0..24 => shown,
            24 if number.is_finite() => format!("\"{shown}\""),
            25 => {
                self.odd.push(Oddity::Lax);
                self.pick(&["\"inf\"", "\"nan\"", "\"+1\"", "\".5\"", "\"1.\"", "\"1e400\""])
                    .to_owned()
            }
            26 => self.pick(&["1e400", "\"\"", "\"1x\"", "-1e400"]).to_owned(),
            _ => self.pick(&["1", "-0", "1E2", "\"1e2\"", "0.1"]).to_owned(),
        };
        self.put(&json);
    }

    fn string(&mut self) {
        let text = self.tape.text();
        let json = match self.tape.byte() % 16 {
            0 => {
                let units = text.encode_utf16().map(|unit| format!("\\u{unit:04x}"));
                format!("\"{}\"", units.collect::<String>())
            }
            1 if self.is(8) => self.pick(&["\"\\ud800\"", "5", "\"\\x\"", "\"\u{1}\""]).to_owned(),
            _ => serde_json::Value::from(text).to_string(),
        };
        self.put(&json);
    }

    /// A type with a form of its own.
    fn known(&mut self, descriptor: &MessageDescriptor, depth: u32) {
        let wrong = self.is(8);
        let text = match descriptor.name() {
            "Timestamp" => self.pick(if wrong { TIMES } else { &TIMES[..6] }),
            "Duration" => self.pick(if wrong { SPANS } else { &SPANS[..5] }),
            "FieldMask" if self.is(20) => {
                self.odd.push(Oddity::Mask);
                self.pick(&["a_b", "a b", "a,,b", "*"])
            }
            "FieldMask" => self.pick(MASKS),
            "Empty" => return self.put("{}"),
            "Value" => return self.any_value(depth),
            "Struct" => return self.object(depth),
            "ListValue" => return self.array(depth),
            "Any" => return self.any(descriptor, depth),
            _ => {
                let kind = descriptor.get_field_by_name("value").unwrap().kind();
                return self.single(&kind, depth);
            }
        };
        self.put(&format!("\"{text}\""));
    }

    fn any_value(&mut self, depth: u32) {
        let kinds = if depth < 4 { 8 } else { 6 };
        match self.tape.byte() % kinds {
            0 => self.put("null"),
            1 => self.put("true"),
            2 => self.put("-1.5e3"),
            3 => self.put("7"),
            4 | 5 => self.string(),
            6 => self.object(depth + 1),
            _ => self.array(depth + 1),
        }
    }

    fn object(&mut self, depth: u32) {
        self.put("{");
        for index in 0..self.tape.byte() % 4 {
            self.comma(&mut (index == 0));
            self.put(&format!("\"{index}\":"));
            self.any_value(depth);
        }
        self.put("}");
    }

    fn array(&mut self, depth: u32) {
        self.put("[");
        for index in 0..self.tape.byte() % 4 {
            self.comma(&mut (index == 0));
            self.any_value(depth);
        }
        self.put("]");
    }

    fn any(&mut self, descriptor: &MessageDescriptor, depth: u32) {
        let name = self.pick(&["Choice", "Tree", "Scalars", "Nothing"]);
        let Some(inner) =
            descriptor.parent_pool().get_message_by_name(&format!("probe.json.{name}"))
        else {
            self.odd.push(Oddity::EmptyAny);
            return self.put("{}");
        };
        let tag = format!("\"@type\":\"type.googleapis.com/probe.json.{name}\"");
        if self.is(2) {
            self.put(&format!("{{{tag}"));
            self.members(&inner, depth.max(3) + 1, false);
        } else {
            self.put("{");
            let before = self.json.len();
            self.members(&inner, depth.max(3) + 1, true);
            let comma = if self.json.len() == before { "" } else { "," };
            self.put(&format!("{comma}{tag}"));
        }
        self.put("}");
    }
}
