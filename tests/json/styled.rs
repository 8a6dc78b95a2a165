//! The house's own JSON: names as in the proto file, words for enums, defaults written, paths for
//! masks.

use runplane::gateway::rest::json::{from_slice, mask_paths, text};

use super::house::{Choice, Color, Known, Many, Optionals, Resource, Scalars, choice};
use super::written;

#[test]
fn fields_without_presence_are_written_at_their_defaults() {
    let json = concat!(
        r#"{"flag":false,"small":0,"big":"0","unsigned_small":0,"unsigned_big":"0","zigzag":0,"#,
        r#""zigzag_big":"0","fixed":0,"fixed_big":"0","signed_fixed":0,"signed_fixed_big":"0","#,
        r#""single":0,"real":0,"text":"","data":"","color":"unspecified","type":"","renamed":""}"#
    );
    assert_eq!(written(&Scalars::default()), json);
    assert_eq!(written(&Optionals::default()), "{}");
    assert_eq!(written(&Choice::default()), r#"{"after":""}"#);
    let json = written(&Many::default());
    assert!(json.starts_with(r#"{"flags":[],"#) && json.contains(r#""labels":{},"#), "{json}");
    assert_eq!(written(&Known::default()), r#"{"null_value":null}"#);
}

#[test]
fn names_are_read_in_every_spelling() {
    for name in ["unsigned_small", "unsignedSmall"] {
        let json = format!(r#"{{"{name}":7}}"#);
        assert_eq!(from_slice::<Scalars>(json.as_bytes()).unwrap().unsigned_small, 7);
    }
    for name in ["renamed", "other@name"] {
        let json = format!(r#"{{"{name}":"x"}}"#);
        assert_eq!(from_slice::<Scalars>(json.as_bytes()).unwrap().renamed, "x");
    }
}

#[test]
fn enums_are_words_and_read_as_words_names_and_numbers() {
    for value in [r#""dark_green""#, r#""COLOR_DARK_GREEN""#, "2", "2.0"] {
        let json = format!(r#"{{"color":{value}}}"#);
        let message: Scalars = from_slice(json.as_bytes()).unwrap();
        assert_eq!(message.color(), Color::DarkGreen);
        assert!(written(&message).contains(r#""color":"dark_green""#));
    }
    let unknown: Scalars = from_slice(br#"{"color":99}"#).unwrap();
    assert!(written(&unknown).contains(r#""color":99"#));
    let error = from_slice::<Scalars>(br#"{"color":"mauve"}"#).unwrap_err();
    assert_eq!(error.path, "color");
    assert!(error.message.contains("`dark_green`"), "{error}");
}

#[test]
fn a_oneof_member_is_written_when_set_even_at_its_default() {
    let message = Choice { kind: Some(choice::Kind::Number(0)), after: "x".to_owned() };
    assert_eq!(written(&message), r#"{"number":0,"after":"x"}"#);
    assert_eq!(from_slice::<Choice>(written(&message).as_bytes()), Ok(message));
}

#[test]
fn masks_are_paths_as_in_the_proto_file() {
    for text in ["display_name,settings.max_tokens", "displayName,settings.maxTokens"] {
        let json = format!(r#"{{"mask":"{text}"}}"#);
        let message: Known = from_slice(json.as_bytes()).unwrap();
        let expected = r#"{"mask":"display_name,settings.max_tokens","null_value":null}"#;
        assert_eq!(written(&message), expected);
    }
}

#[test]
fn a_body_names_the_paths_that_a_patch_changes() {
    let cases = [
        ("{}", ""),
        (r#"{"displayName":"x","count":null}"#, "display_name,count"),
        (
            r#"{"settings":{"maxTokens":1,"inner":{"temperature":2}}}"#,
            "settings.max_tokens,settings.inner.temperature",
        ),
        (r#"{"settings":null}"#, "settings"),
        (r#"{"settings":{}}"#, "settings"),
        (r#"{"settings":{"inner":{}}}"#, "settings.inner"),
        (
            r#"{"labels":{"a":"b"},"trees":[{"name":"x"}],"object":{"a":{"b":1}}}"#,
            "labels,trees,object",
        ),
        (r#"{"made_at":"2026-01-01T00:00:00Z","id":"given by the server"}"#, "made_at"),
    ];
    for (json, paths) in cases {
        from_slice::<Resource>(json.as_bytes()).unwrap();
        assert_eq!(mask_paths::<Resource>(json.as_bytes()).unwrap().join(","), paths, "{json}");
    }
}

#[test]
fn query_texts_become_values() {
    assert_eq!(text::read::<i32>("-5"), Ok(-5));
    assert_eq!(text::read::<u64>("18446744073709551615"), Ok(u64::MAX));
    assert_eq!(text::read::<bool>("true"), Ok(true));
    assert_eq!(text::read::<f32>("0.1"), Ok(0.1));
    assert_eq!(text::read::<f64>("Infinity"), Ok(f64::INFINITY));
    assert_eq!(text::read::<Vec<u8>>("-_8"), Ok(vec![0xfb, 0xff]));
    let time = prost_types::Timestamp { seconds: 5, nanos: 0 };
    assert_eq!(text::read::<prost_types::Timestamp>("1970-01-01T00:00:05Z"), Ok(time));
    let mask = text::read::<prost_types::FieldMask>("displayName,max_tokens").unwrap();
    assert_eq!(mask.paths, ["display_name", "max_tokens"]);
    for word in ["red", "COLOR_RED", "1"] {
        assert_eq!(text::read_enum::<Color>(word), Ok(1));
    }
    assert_eq!(text::read_enum::<Color>("99"), Ok(99));
}

#[test]
fn query_texts_of_another_type_are_refused() {
    for wrong in ["", "x", "1.5", "+1", " 1", "2147483648", "null"] {
        assert_eq!(text::read::<i32>(wrong).unwrap_err().to_string(), "expected a 32-bit integer");
    }
    for wrong in ["", "True", "1", "yes"] {
        assert!(text::read::<bool>(wrong).is_err(), "{wrong}");
    }
    for wrong in ["", "1e400", "nan", "inf", "0x1", "1_0"] {
        assert!(text::read::<f64>(wrong).is_err(), "{wrong}");
    }
    assert!(text::read::<f32>("3.5e38").is_err());
    assert!(text::read_enum::<Color>("Red").is_err());
    assert!(text::read_enum::<Color>("9999999999").is_err());
}
