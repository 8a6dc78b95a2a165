//! What the runner asked, and the answers that it found right, one case a line of `corpus.jsonl`:
//! message, what to do with unknown fields, what is given, what is wanted, the answer.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};

use super::answer::answer;
use super::conformance::conformance_request::Payload;
use super::conformance::conformance_response::Result as Outcome;
use super::conformance::{ConformanceRequest, TestCategory, WireFormat};

const CORPUS: &str = include_str!("corpus.jsonl");

/// A case, as its line has it.
#[derive(Serialize, Deserialize)]
pub(super) struct Case(String, Unknown, Text, Format, Text);

#[derive(Serialize, Deserialize, Clone, Copy, PartialEq)]
#[serde(rename_all = "snake_case")]
enum Unknown {
    Refuse,
    Ignore,
}

#[derive(Serialize, Deserialize, Clone, Copy)]
#[serde(rename_all = "snake_case")]
enum Format {
    Binary,
    Json,
}

/// What is given and what is answered. Why something failed may be said in other words one day.
#[derive(Serialize, Deserialize, PartialEq, Debug)]
#[serde(rename_all = "snake_case")]
enum Text {
    Json(String),
    Base64(String),
    Unreadable,
    Unwritable,
}

impl Case {
    /// The line of a request and its answer.
    pub(super) fn line(request: &ConformanceRequest, outcome: &Outcome) -> String {
        let unknown = match request.test_category() {
            TestCategory::JsonIgnoreUnknownParsingTest => Unknown::Ignore,
            _ => Unknown::Refuse,
        };
        let given = match request.payload.as_ref().unwrap() {
            Payload::JsonPayload(json) => Text::Json(json.clone()),
            Payload::ProtobufPayload(bytes) => Text::Base64(BASE64.encode(bytes)),
            other => panic!("{other:?}"),
        };
        let wanted = match request.requested_output_format() {
            WireFormat::Json => Format::Json,
            _ => Format::Binary,
        };
        let case =
            Self(request.message_type.clone(), unknown, given, wanted, Text::answered(outcome));
        serde_json::to_string(&case).unwrap() + "\n"
    }

    fn request(&self) -> ConformanceRequest {
        let Self(message, unknown, given, wanted, _) = self;
        let payload = match given {
            Text::Json(json) => Payload::JsonPayload(json.clone()),
            Text::Base64(text) => Payload::ProtobufPayload(BASE64.decode(text).unwrap()),
            other => panic!("{other:?}"),
        };
        let category = match unknown {
            Unknown::Refuse => TestCategory::JsonTest,
            Unknown::Ignore => TestCategory::JsonIgnoreUnknownParsingTest,
        };
        let format = match wanted {
            Format::Json => WireFormat::Json,
            Format::Binary => WireFormat::Protobuf,
        };
        ConformanceRequest {
            payload: Some(payload),
            requested_output_format: format.into(),
            message_type: message.clone(),
            test_category: category.into(),
            ..Default::default()
        }
    }
}

impl Text {
    fn answered(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::JsonPayload(json) => Self::Json(json.clone()),
            Outcome::ProtobufPayload(bytes) => Self::Base64(BASE64.encode(bytes)),
            Outcome::ParseError(_) => Self::Unreadable,
            Outcome::SerializeError(_) => Self::Unwritable,
            other => panic!("{other:?}"),
        }
    }

    /// Equal, though JSON may be written in another way.
    fn means(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Json(a), Self::Json(b)) => parsed(a) == parsed(b),
            (a, b) => a == b,
        }
    }
}

fn parsed(json: &str) -> serde_json::Value {
    serde_json::from_str(json).unwrap()
}

#[test]
fn every_recorded_answer_is_given_again() {
    let mut faults = Vec::new();
    for line in CORPUS.lines() {
        let case: Case = serde_json::from_str(line).unwrap();
        let now = Text::answered(&answer(&case.request()));
        if !now.means(&case.4) {
            faults.push(format!("{line}\nnow {now:?}"));
        }
    }
    assert!(faults.is_empty(), "{} faults\n{}\n", faults.len(), faults.join("\n"));
}

#[test]
fn the_corpus_is_whole() {
    let count = |what: &str| CORPUS.lines().filter(|line| line.contains(what)).count();
    assert!(count("TestAllTypesProto3") >= 770, "{}", count("TestAllTypesProto3"));
    assert!(count("TestAllTypesProto2") >= 590, "{}", count("TestAllTypesProto2"));
    for what in ["\"ignore\"", "\"unreadable\"]", "\"unwritable\"]", "\"binary\"", "{\"base64\""] {
        assert!(count(what) >= 10, "{what}: {}", count(what));
    }
}
