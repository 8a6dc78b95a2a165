//! Texts that are refused: always an error that says where, never a panic.

use proptest::prelude::*;
use runplane::gateway::rest::json::{
    Json, JsonError, Kind, Options, Plain, from_slice, from_slice_as,
};

use super::house::{Choice, Known, Many, Scalars, Tree};

fn refused<M: Json + std::fmt::Debug>(json: &str) -> JsonError {
    match from_slice::<M>(json.as_bytes()) {
        Ok(message) => panic!("{json} was read as {message:?}"),
        Err(error) => error,
    }
}

#[test]
fn a_wrong_value_names_its_field() {
    for (json, path) in [
        (r#"{"flag":1}"#, "flag"),
        (r#"{"flag":"true"}"#, "flag"),
        (r#"{"small":"x"}"#, "small"),
        (r#"{"small":2147483648}"#, "small"),
        (r#"{"small":1.5}"#, "small"),
        (r#"{"small":" 1"}"#, "small"),
        (r#"{"small":""}"#, "small"),
        (r#"{"small":true}"#, "small"),
        (r#"{"small":[1]}"#, "small"),
        (r#"{"big":9223372036854775808}"#, "big"),
        (r#"{"big":-9223372036854775809}"#, "big"),
        (r#"{"big":"1e400"}"#, "big"),
        (r#"{"unsigned_small":-1}"#, "unsigned_small"),
        (r#"{"unsigned_big":18446744073709551616}"#, "unsigned_big"),
        (r#"{"single":3.5e38}"#, "single"),
        (r#"{"real":1e400}"#, "real"),
        (r#"{"real":"1e400"}"#, "real"),
        (r#"{"real":"nan"}"#, "real"),
        (r#"{"real":{}}"#, "real"),
        (r#"{"text":5}"#, "text"),
        (r#"{"data":"*"}"#, "data"),
        (r#"{"data":"a"}"#, "data"),
        (r#"{"color":"Red"}"#, "color"),
        (r#"{"color":2147483648}"#, "color"),
        (r#"{"color":1.5}"#, "color"),
        (r#"{"small":1,"small":2}"#, "small"),
        (r#"{"unsignedSmall":1,"unsigned_small":2}"#, "unsigned_small"),
    ] {
        let error = refused::<Scalars>(json);
        assert_eq!((error.kind, error.path.as_str()), (Kind::InvalidField, path), "{json}");
        assert!(!error.message.contains("line"), "{error}");
    }
}

#[test]
fn a_wrong_value_deep_within_names_its_path() {
    for (json, path) in [
        (r#"{"flags":[true,null]}"#, "flags[1]"),
        (r#"{"flags":true}"#, "flags"),
        (r#"{"scalars":[{},{"small":"x"}]}"#, "scalars[1].small"),
        (r#"{"scalars":[null]}"#, "scalars[0]"),
        (r#"{"labels":{"a b":1}}"#, "labels.a b"),
        (r#"{"labels":{"a":null}}"#, "labels.a"),
        (r#"{"labels":{"a":"1","a":"2"}}"#, "labels.a"),
        (r#"{"by_number":{"1":"red","01":"red"}}"#, "by_number.01"),
        (r#"{"by_number":{"1":"red","1e0":"red"}}"#, "by_number.1"),
        (r#"{"by_number":{"x":"red"}}"#, "by_number.x"),
        (r#"{"by_flag":{"true":{"branches":[{},{"name":[]}]}}}"#, "by_flag.true.branches[1].name"),
        (r#"{"by_value":{"a":{"b":[{"c":1,"c":2}]}}}"#, "by_value.a.b[0].c"),
        (r#"{"times":["2026-02-30T00:00:00Z"]}"#, "times[0]"),
        (r#"{"wrapped":["1",null]}"#, "wrapped[1]"),
    ] {
        let error = refused::<Many>(json);
        assert_eq!((error.kind, error.path.as_str()), (Kind::InvalidField, path), "{json}");
    }
    for (json, path) in [
        (r#"{"number":1,"word":"x"}"#, "word"),
        (r#"{"tree":{"choice":{"number":"x"}}}"#, "tree.choice.number"),
        (r#"{"nothing":1}"#, "nothing"),
    ] {
        assert_eq!(refused::<Choice>(json).path, path, "{json}");
    }
    for (json, path) in [
        (r#"{"span":"1h"}"#, "span"),
        (r#"{"time":0}"#, "time"),
        (r#"{"mask":["a"]}"#, "mask"),
        (r#"{"object":[]}"#, "object"),
        (r#"{"list":{}}"#, "list"),
        (r#"{"empty":[]}"#, "empty"),
        (r#"{"any":{"@type":"x/no.Such"}}"#, "any"),
        (r#"{"any":{"@type":"no.Slash"}}"#, "any"),
        (r#"{"any":{"name":"x"}}"#, "any"),
        (r#"{"any":{"@type":"x/google.protobuf.Duration"}}"#, "any"),
        (r#"{"any":{"@type":"x/google.protobuf.Duration","value":"1h"}}"#, "any"),
        (r#"{"any":{"@type":"x/google.protobuf.Duration","value":"1s","more":1}}"#, "any.more"),
        (r#"{"any":{"@type":"x/runplane.v1.Agent","name":5}}"#, "any.name"),
    ] {
        assert_eq!(refused::<Known>(json).path, path, "{json}");
    }
}

#[test]
fn an_unknown_field_names_its_path() {
    for (json, path) in [
        (r#"{"nam":1}"#, "nam"),
        (r#"{"":1}"#, ""),
        (r#"{"left":{"branches":[{"nam":1}]}}"#, "left.branches[0].nam"),
        (r#"{"Name":1}"#, "Name"),
        (r#"{"@type":"x"}"#, "@type"),
    ] {
        let error = refused::<Tree>(json);
        assert_eq!((error.kind, error.path.as_str()), (Kind::UnknownField, path), "{json}");
    }
}

#[test]
fn what_is_no_json_is_malformed() {
    for json in [
        "",
        " ",
        "{",
        "}",
        "nul",
        "{\"name\"",
        "{\"name\":",
        "{\"name\":\"x\"",
        "{\"name\":\"x\",}",
        "{,}",
        "{'name':1}",
        "{name:1}",
        "{} {}",
        "{}x",
        "{\"name\":\"\u{1}\"}",
        "\u{feff}{}",
        "{\"name\":\"\\ud800\"}",
        "{\"name\":\"\\udc00\\ud800\"}",
        "{\"name\":\"\\x\"}",
        "{\"branches\":[{},]}",
        "{\"name\":01}",
        "{\"name\":+1}",
        "{\"name\":.5}",
        "/**/{}",
    ] {
        assert_eq!(refused::<Tree>(json).kind, Kind::Malformed, "{json}");
    }
    for bytes in
        [&b"{\"name\":\"\xff\"}"[..], b"{\"name\":\"\xed\xa0\x80\"}", b"\xff", b"{\"\xff\":1}"]
    {
        let error = from_slice::<Tree>(bytes).unwrap_err();
        assert_eq!(error.kind, Kind::Malformed, "{error}");
    }
    for json in ["null", "[]", "1", "\"x\"", "true"] {
        assert_eq!(refused::<Tree>(json).kind, Kind::InvalidField, "{json}");
    }
}

#[test]
fn nesting_stops_at_its_limit_and_not_at_the_end_of_the_stack() {
    let nested = |open: &str, close: &str, levels: usize| {
        format!("{}null{}", open.repeat(levels), close.repeat(levels))
    };
    for (open, close) in [("{\"left\":", "}"), ("{\"branches\":[{\"choice\":{\"tree\":", "}}]}")] {
        let levels = 100 / open.matches(['{', '[']).count();
        from_slice::<Tree>(nested(open, close, levels).as_bytes()).unwrap();
        for levels in [levels + 1, 100_000] {
            let error = refused::<Tree>(&nested(open, close, levels));
            assert_eq!(error.kind, Kind::Malformed);
            assert!(error.message.contains("100 levels"), "{error}");
            assert!(error.path.len() < 300);
        }
    }
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let value = |levels| format!("{{\"value\":{}}}", nested(open, close, levels));
        from_slice::<Known>(value(99).as_bytes()).unwrap();
        for levels in [100, 100_000] {
            assert_eq!(refused::<Known>(&value(levels)).kind, Kind::Malformed);
        }
    }
    let any = nested(r#"{"@type":"x/google.protobuf.Any","value":"#, "}", 100_000);
    assert_eq!(refused::<prost_types::Any>(&any).kind, Kind::Malformed);
    let options = Options { depth_max: 3, ..Options::DEFAULT };
    let deep = nested("{\"left\":", "}", 4);
    assert!(from_slice_as::<Plain, Tree>(deep.as_bytes(), &options).is_err());
}

#[test]
fn a_huge_value_is_not_repeated_in_the_error() {
    let huge = "漢".repeat(400_000);
    let errors = [
        refused::<Scalars>(&format!("{{\"small\":\"{huge}\"}}")),
        refused::<Scalars>(&format!("{{\"{huge}\":1}}")),
        refused::<Many>(&format!("{{\"labels\":{{\"{huge}\":1}}}}")),
        refused::<Scalars>(&format!("{{\"big\":{}}}", "9".repeat(1_000_000))),
        refused::<Scalars>(&format!("{{\"big\":\"{}\"}}", "9".repeat(1_000_000))),
    ];
    for error in errors {
        assert!(error.message.len() < 300 && error.path.len() < 300);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    #[test]
    fn no_text_makes_the_reader_panic(json in r#"[{}\[\]",:a-z0-9.eE+\\u -]{0,60}"#) {
        let _ = from_slice::<Many>(json.as_bytes());
        let _ = from_slice::<Known>(json.as_bytes());
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
        let _ = from_slice::<Known>(&bytes);
    }
}
