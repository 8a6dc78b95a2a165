//! Failures as JSON: the envelope of `kernel::reply`, or `google.rpc.Status` as other transcoders
//! write it. Called where a status leaves the transcoder; never decides what failed.

use axum::body::Body;
use base64::{Engine, engine::general_purpose::STANDARD};
use http::StatusCode;
use prost::Message as _;
use prost_types::Any;
use serde_json::value::RawValue;
use tonic::{Code, Status};

use crate::kernel::{
    error::Reason,
    reply::{self, RequestId},
};
use crate::proto::google::rpc;

use super::{call, json};

/// Details that tell callers about our insides.
const SECRET: &str = "google.rpc.DebugInfo";

/// How failures look in JSON.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ErrorForm {
    /// `{"error":{"code","message","request_id","details"}}`, with our own reasons.
    #[default]
    Envelope,
    /// `google.rpc.Status` as ProtoJSON: `{"code","message","details"}`, with gRPC's numbers.
    Status,
}

/// What a `google.rpc.Status` is in JSON.
#[derive(serde::Serialize)]
struct StatusJson<'a> {
    code: i32,
    message: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    details: Vec<Box<RawValue>>,
}

/// What a stream of lines or elements ends with when it fails.
#[derive(serde::Serialize)]
struct InBand {
    error: Box<RawValue>,
}

impl ErrorForm {
    /// The failure as an answer, with the status's metadata as headers.
    pub(super) fn answer(
        self,
        status: &Status,
        request_id: Option<&RequestId>,
    ) -> http::Response<Body> {
        let id = request_id.map_or("", |id| id.0.as_str());
        let mut response: http::Response<Body> = reply::http(status, id);
        if self == Self::Status {
            *response.body_mut() = Body::from(status_json(status));
            if !reply::is_ours(status) {
                *response.status_mut() = standard(status.code());
            }
        }
        let mut headers = call::headers(status.metadata().clone());
        for (name, value) in response.headers() {
            headers.insert(name, value.clone());
        }
        *response.headers_mut() = headers;
        response
    }

    /// The failure within a stream: an object with the member `error`.
    pub(super) fn in_band(self, status: &Status, request_id: &str) -> Vec<u8> {
        if self == Self::Envelope {
            return reply::envelope(status, request_id).to_string().into_bytes();
        }
        let error = raw(status_json(status));
        error.and_then(|error| serde_json::to_vec(&InBand { error }).ok()).unwrap_or_default()
    }
}

fn status_json(status: &Status) -> Vec<u8> {
    let inner = rpc::Status::decode(status.details()).unwrap_or_default();
    let shown = inner.details.iter().filter(|detail| !detail.type_url.ends_with(SECRET));
    let message = match status.code() {
        Code::Internal | Code::Unknown => Reason::InternalError.row().example,
        _ => status.message(),
    };
    let details = shown.filter_map(|detail| raw(any(detail))).collect();
    let code = i32::from(status.code());
    serde_json::to_vec(&StatusJson { code, message, details }).unwrap_or_default()
}

/// A detail; one of an unknown type keeps its bytes, as base64.
fn any(detail: &Any) -> Vec<u8> {
    json::try_to_vec(detail, &json::Options::DEFAULT).unwrap_or_else(|_| {
        let value = STANDARD.encode(&detail.value);
        serde_json::json!({"@type": detail.type_url, "value": value}).to_string().into_bytes()
    })
}

fn raw(json: Vec<u8>) -> Option<Box<RawValue>> {
    RawValue::from_string(String::from_utf8(json).ok()?).ok()
}

/// The HTTP status of a code, by `google/rpc/code.proto`.
fn standard(code: Code) -> StatusCode {
    let status = match code {
        Code::Ok => 200,
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => 400,
        Code::Unauthenticated => 401,
        Code::PermissionDenied => 403,
        Code::NotFound => 404,
        Code::AlreadyExists | Code::Aborted => 409,
        Code::ResourceExhausted => 429,
        Code::Cancelled => 499,
        Code::Unimplemented => 501,
        Code::Unavailable => 503,
        Code::DeadlineExceeded => 504,
        Code::Internal | Code::Unknown | Code::DataLoss => 500,
    };
    StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}
