//! The answer to one request of the suite: one message in, the same message out. Called by the
//! testee and by the corpus.

use prost::Message as _;
use runplane::gateway::rest::json::{Message, Options, Plain, from_slice_as, try_to_vec};

use super::conformance::conformance_request::Payload;
use super::conformance::conformance_response::Result as Outcome;
use super::conformance::{ConformanceRequest, FailureSet, TestCategory, WireFormat};
use super::json::MESSAGES;
use super::protobuf_test_messages::{proto2::TestAllTypesProto2, proto3::TestAllTypesProto3};

/// What the runner asks first: which tests are expected to fail.
pub(super) const FAILURES: &str = "conformance.FailureSet";

/// Answers a request; what is not for this codec is skipped, with the reason.
pub(super) fn answer(request: &ConformanceRequest) -> Outcome {
    if let Some(reason) = skipped(request) {
        return Outcome::Skipped(reason.to_owned());
    }
    match request.message_type.as_str() {
        FAILURES => Outcome::ProtobufPayload(FailureSet::default().encode_to_vec()),
        "protobuf_test_messages.proto2.TestAllTypesProto2" => echo::<TestAllTypesProto2>(request),
        "protobuf_test_messages.proto3.TestAllTypesProto3" => echo::<TestAllTypesProto3>(request),
        _ => Outcome::Skipped("editions: neither protox nor prost reads them".to_owned()),
    }
}

/// Why a request is not answered.
fn skipped(request: &ConformanceRequest) -> Option<&'static str> {
    match (&request.payload, request.requested_output_format()) {
        _ if request.message_type == FAILURES => None,
        (Some(Payload::TextPayload(_)), _) | (_, WireFormat::TextFormat) => Some("text format"),
        (Some(Payload::JspbPayload(_)), _) | (_, WireFormat::Jspb) => Some("JSPB"),
        (Some(Payload::ProtobufPayload(_)), WireFormat::Protobuf) => {
            Some("binary to binary, which is all prost's")
        }
        (Some(Payload::JsonPayload(json)), _) if json.contains("\"[protobuf_test_messages") => {
            Some("extensions of proto2, which prost does not keep")
        }
        _ => None,
    }
}

fn echo<M: Message>(request: &ConformanceRequest) -> Outcome {
    let ignore_unknown = request.test_category() == TestCategory::JsonIgnoreUnknownParsingTest;
    let options = Options { ignore_unknown, types: MESSAGES, ..Options::DEFAULT };
    let read = match &request.payload {
        Some(Payload::JsonPayload(json)) => {
            from_slice_as::<Plain, M>(json.as_bytes(), &options).map_err(|error| error.to_string())
        }
        Some(Payload::ProtobufPayload(bytes)) => {
            M::decode(bytes.as_slice()).map_err(|error| error.to_string())
        }
        other => return Outcome::RuntimeError(format!("no payload: {other:?}")),
    };
    let message = match read {
        Ok(message) => message,
        Err(error) => return Outcome::ParseError(error),
    };
    if request.requested_output_format() == WireFormat::Protobuf {
        return Outcome::ProtobufPayload(message.encode_to_vec());
    }
    match try_to_vec(&message, &options) {
        Ok(json) => Outcome::JsonPayload(String::from_utf8(json).unwrap()),
        Err(error) => Outcome::SerializeError(error.to_string()),
    }
}
