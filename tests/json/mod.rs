//! The JSON of messages: what is written, what is read, what is refused.

#![expect(clippy::unwrap_used, reason = "tests")]

mod oracle;
mod refused;
mod styled;
mod tape;
mod texts;

use runplane::gateway::rest::json::{Entry, JsonError, Options, from_slice, to_vec};

use crate::probe::probe::json as house;
use crate::probe::standard::{json::MESSAGES, probe::json as standard};

/// The JSON of a message, as a text.
fn written<M: runplane::gateway::rest::json::Json>(message: &M) -> String {
    String::from_utf8(to_vec(message)).unwrap()
}

/// The entry of a message of the probe.
fn entry(entries: &'static [Entry], name: &str) -> &'static Entry {
    entries.iter().find(|entry| entry.name == name).unwrap()
}

#[test]
fn integers_of_64_bits_are_texts_over_their_full_range() {
    for (big, unsigned_big) in [(i64::MIN, 0), (i64::MAX, u64::MAX), (-1, 1 << 63)] {
        let message =
            standard::Scalars { big, unsigned_big, zigzag_big: big, ..Default::default() };
        let text = written(&message);
        assert!(text.contains(&format!("\"big\":\"{big}\"")), "{text}");
        assert_eq!(from_slice::<standard::Scalars>(text.as_bytes()), Ok(message));
        let numbers = format!(r#"{{"big":{big},"unsignedBig":{unsigned_big},"zigzagBig":{big}}}"#);
        assert_eq!(written(&from_slice::<standard::Scalars>(numbers.as_bytes()).unwrap()), text);
    }
}

#[test]
fn integers_are_read_in_every_notation_that_json_has() {
    for text in ["1000", "1e3", "1000.0", "\"1000\"", "\"1e3\"", "\"1000.00\"", "10000E-1"] {
        let json =
            format!(r#"{{"small":{text},"big":{text},"unsignedBig":{text},"fixed":{text}}}"#);
        let message: standard::Scalars = from_slice(json.as_bytes()).unwrap();
        let all = (message.small, message.big, message.unsigned_big, message.fixed);
        assert_eq!(all, (1000, 1000, 1000, 1000), "{text}");
    }
}

#[test]
fn doubles_and_floats_come_back_bit_by_bit() {
    let doubles = [
        0.1,
        -0.0,
        1.0,
        5e-324,
        f64::MAX,
        f64::MIN_POSITIVE,
        1e21,
        9_007_199_254_740_993.0,
        f64::INFINITY,
        f64::NEG_INFINITY,
        123_456_789.123_456_79,
        2f64.powi(63),
        1e15,
    ];
    let floats = [0.1, -0.0, 1.0, f32::MIN_POSITIVE, f32::MAX, 1e-45, 16_777_217.0, f32::INFINITY];
    for (index, &real) in doubles.iter().enumerate() {
        let single = floats[index % floats.len()];
        let message = standard::Scalars { real, single, ..Default::default() };
        let read: standard::Scalars = from_slice(&to_vec(&message)).unwrap();
        assert_eq!(read.real.to_bits(), real.to_bits(), "{}", written(&message));
        assert_eq!(read.single.to_bits(), single.to_bits(), "{}", written(&message));
    }
    let message = standard::Scalars { real: f64::NAN, single: f32::NAN, ..Default::default() };
    assert_eq!(written(&message), r#"{"single":"NaN","real":"NaN"}"#);
    assert!(from_slice::<standard::Scalars>(&to_vec(&message)).unwrap().real.is_nan());
}

#[test]
fn whole_doubles_have_no_fraction() {
    for (real, text) in [(1.0, "1"), (-42.0, "-42"), (1e15, "1000000000000000"), (1.5, "1.5")] {
        let message = standard::Scalars { real, ..Default::default() };
        assert_eq!(written(&message), format!("{{\"real\":{text}}}"));
    }
}

#[test]
fn texts_are_escaped_only_where_json_must() {
    let text = "\u{0}\u{8}\t\n\u{c}\r\u{1f} \"q\" \\ / <b> \u{7f} é 漢 😀 \u{2028}".to_owned();
    let message = standard::Scalars { text: text.clone(), ..Default::default() };
    let expected = "\"\\u0000\\b\\t\\n\\f\\r\\u001f \\\"q\\\" \\\\ / <b> \u{7f} é 漢 😀 \u{2028}\"";
    assert_eq!(written(&message), format!("{{\"text\":{expected}}}"));
    assert_eq!(from_slice::<standard::Scalars>(&to_vec(&message)).unwrap().text, text);
    let escaped = br#"{"text":"\ud83d\ude00\u00e9\/"}"#;
    assert_eq!(from_slice::<standard::Scalars>(escaped).unwrap().text, "😀é/");
}

#[test]
fn bytes_are_read_in_both_alphabets_with_and_without_padding() {
    for text in ["+/8=", "-_8=", "+/8", "-_8", "-_9"] {
        let json = format!(r#"{{"data":"{text}"}}"#);
        let message: standard::Scalars = from_slice(json.as_bytes()).unwrap();
        assert_eq!(message.data, [0xfb, 0xff], "{text}");
        assert_eq!(written(&message), r#"{"data":"+/8="}"#);
    }
}

#[test]
fn null_leaves_every_field_as_it_was() {
    let json =
        br#"{"time":null,"span":null,"mask":null,"object":null,"list":null,"empty":null,"any":null,
        "boolValue":null,"int64Value":null,"stringValue":null,"bytesValue":null,"nullValue":null}"#;
    assert_eq!(from_slice::<standard::Known>(json), Ok(standard::Known::default()));
    let json = br#"{"flag":null,"small":null,"text":null,"data":null,"color":null,"real":null}"#;
    assert_eq!(from_slice::<standard::Scalars>(json), Ok(standard::Scalars::default()));
    let json = br#"{"flags":null,"labels":null,"scalars":null}"#;
    assert_eq!(from_slice::<standard::Many>(json), Ok(standard::Many::default()));
}

#[test]
fn null_is_a_value_only_where_the_type_says_so() {
    let value: standard::Known = from_slice(br#"{"value":null}"#).unwrap();
    assert_eq!(written(&value), r#"{"value":null}"#);
    let choice: standard::Choice = from_slice(br#"{"nothing":null,"number":null}"#).unwrap();
    assert_eq!(choice.kind, Some(standard::choice::Kind::Nothing(0)));
    let many: standard::Many = from_slice(br#"{"values":[null,1]}"#).unwrap();
    assert_eq!(written(&many), r#"{"values":[null,1]}"#);
}

#[test]
fn unknown_fields_and_words_are_dropped_when_asked_for() {
    let options = Options { ignore_unknown: true, ..Options::DEFAULT };
    let json = br#"{"what":[{"ever":1}],"color":"MAUVE","small":1}"#;
    let entry = entry(MESSAGES, "probe.json.Scalars");
    let read = entry.from_json(json, &options).unwrap();
    assert_eq!(entry.to_json(&read, &options).unwrap(), br#"{"small":1}"#);
    let many = br#"{"colors":["COLOR_RED","MAUVE",2],"byNumber":{"1":"MAUVE","2":1}}"#;
    let entry = self::entry(MESSAGES, "probe.json.Many");
    let read = entry.from_json(many, &options).unwrap();
    let text = br#"{"colors":["COLOR_RED","COLOR_DARK_GREEN"],"byNumber":{"2":"COLOR_RED"}}"#;
    assert_eq!(entry.to_json(&read, &options).unwrap(), text);
}

#[test]
fn an_any_carries_its_type_beside_its_fields() {
    let options = Options { types: MESSAGES, ..Options::DEFAULT };
    let entry = entry(MESSAGES, "probe.json.Known");
    for json in [
        r#"{"any":{}}"#,
        r#"{"any":{"@type":"type.googleapis.com/probe.json.Tree","name":"oak"}}"#,
        r#"{"any":{"@type":"type.googleapis.com/google.protobuf.Duration","value":"1.500s"}}"#,
        r#"{"any":{"@type":"type.googleapis.com/google.protobuf.Int64Value","value":"7"}}"#,
        r#"{"any":{"@type":"type.googleapis.com/google.protobuf.Struct","value":{"a":[1]}}}"#,
        r#"{"any":{"@type":"x/google.protobuf.Any","value":{"@type":"x/probe.json.Tree"}}}"#,
    ] {
        let read = entry.from_json(json.as_bytes(), &options).unwrap();
        assert_eq!(String::from_utf8(entry.to_json(&read, &options).unwrap()).unwrap(), json);
    }
    let last = br#"{"any":{"name":"oak","@type":"x/probe.json.Tree"}}"#;
    let first = br#"{"any":{"@type":"x/probe.json.Tree","name":"oak"}}"#;
    assert_eq!(entry.from_json(last, &options), entry.from_json(first, &options));
}

#[test]
fn what_has_no_json_form_fails_or_becomes_null() {
    let time = prost_types::Timestamp { seconds: i64::MAX, nanos: 0 };
    let message = standard::Known { time: Some(time), ..Default::default() };
    assert_eq!(written(&message), r#"{"time":null}"#);
    let failed: Result<_, JsonError> =
        runplane::gateway::rest::json::try_to_vec(&message, &Options::DEFAULT);
    assert!(failed.unwrap_err().message.contains("9999"));
}

#[test]
fn every_message_of_the_contract_is_found_by_its_name() {
    let entries = runplane::proto::json::MESSAGES;
    assert!(entries.is_sorted_by(|a, b| a.name < b.name));
    for entry in entries {
        let found = runplane::gateway::rest::json::find(entry.name, &[]).unwrap();
        let json = found.to_json(&[], &Options::DEFAULT).unwrap();
        assert_eq!(found.from_json(&json, &Options::DEFAULT), Ok(Vec::new()), "{}", entry.name);
    }
}
