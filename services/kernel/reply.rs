//! How an [`Error`] looks on the wire: a `tonic::Status` with `google.rpc.ErrorInfo`, or our JSON
//! envelope. The only maker of
//! `tonic::Status`.

use std::time::Duration;

use http::{HeaderName, HeaderValue, StatusCode, header};
use serde_json::{Map, Value, json};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use super::caller::Caller;
use super::error::{Error, Reason};

/// Domain of our reasons in `google.rpc.ErrorInfo`.
pub const DOMAIN: &str = "runplane";

/// Header with the id of the request, on every response.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// `Cache-Control` of what is a caller's alone and true for now, such as a secret.
pub const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// Id of a request, in the extensions of every request: `req_` and 26 characters.
#[derive(Debug, Clone)]
pub struct RequestId(pub String);

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        log(&error);
        let row = error.reason.row();
        let mut details = ErrorDetails::new();
        let facts = error.metadata.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
        details.set_error_info(
            row.info,
            DOMAIN,
            facts.collect::<std::collections::HashMap<_, _>>(),
        );
        if let (Code::InvalidArgument, Some(field)) = (row.grpc, error.fact("field")) {
            details.add_bad_request_violation(field, error.message.clone());
        }
        if let Some(seconds) = error.fact("retry_after_s").and_then(|s| s.parse().ok()) {
            details.set_retry_info(Some(Duration::from_secs(seconds)));
        }
        Self::with_error_details(row.grpc, error.message, details)
    }
}

/// What every method of a service returns.
pub type Reply<T> = Result<tonic::Response<T>, Status>;

/// The answer of a method.
///
/// # Errors
/// The method's own.
pub fn reply<T>(result: crate::kernel::Result<T>) -> Reply<T> {
    Ok(tonic::Response::new(result?))
}

/// Who calls; the gateway has put it there.
///
/// # Errors
/// `internal_error` when the gateway has not.
pub fn caller<T>(request: &tonic::Request<T>) -> Result<Caller, Status> {
    let caller = request.extensions().get::<Caller>().cloned();
    caller.ok_or_else(|| Error::internal("a call reached a service without a caller").into())
}

/// What a status says, whoever made it: ours by its `ErrorInfo`, any other by its code.
#[must_use]
pub fn parts(status: &Status) -> (Reason, Map<String, Value>) {
    let info = status.get_details_error_info().filter(|info| info.domain == DOMAIN);
    let named = info.as_ref().and_then(|info| Reason::parse(&info.reason));
    let facts = info.map(|info| info.metadata).unwrap_or_default();
    let mut facts: Vec<_> = facts.into_iter().collect();
    facts.sort();
    let facts = facts.into_iter().map(|(name, value)| (name, Value::String(value))).collect();
    (named.unwrap_or_else(|| by_code(status.code())), facts)
}

/// True for a status that one of our reasons made.
#[must_use]
pub fn is_ours(status: &Status) -> bool {
    let info = status.get_details_error_info();
    info.is_some_and(|info| info.domain == DOMAIN && Reason::parse(&info.reason).is_some())
}

/// The JSON of a failure, ready to be sent: `{"error":{"code","message","request_id","details"}}`.
#[must_use]
pub fn envelope(status: &Status, request_id: &str) -> Value {
    let (reason, facts) = parts(status);
    let message = match reason {
        Reason::InternalError => Reason::InternalError.row().example,
        _ => status.message(),
    };
    json!({"error": {
        "code": reason.row().code,
        "message": message,
        "request_id": request_id,
        "details": facts,
    }})
}

/// The HTTP answer to a failure: status, `Retry-After`, `WWW-Authenticate` and the envelope.
#[must_use]
pub fn http<B: From<Vec<u8>>>(status: &Status, request_id: &str) -> http::Response<B> {
    let (reason, facts) = parts(status);
    let body = envelope(status, request_id).to_string().into_bytes();
    let mut response = http::Response::new(B::from(body));
    *response.status_mut() =
        StatusCode::from_u16(reason.row().http).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, NO_STORE);
    if reason.row().http == 401 {
        headers.insert(
            header::WWW_AUTHENTICATE,
            HeaderValue::from_static("Bearer realm=\"runplane\""),
        );
    }
    if reason == Reason::IdempotencyKeyInUse {
        // Clients that retry by themselves know this header; the other call will answer theirs.
        headers.insert("x-should-retry", HeaderValue::from_static("false"));
    }
    let copied = [
        ("retry_after_s", header::RETRY_AFTER),
        ("allow", header::ALLOW),
        ("accept_encoding", header::ACCEPT_ENCODING),
    ];
    for (fact, name) in copied {
        if let Some(value) =
            facts.get(fact).and_then(Value::as_str).and_then(|v| HeaderValue::from_str(v).ok())
        {
            headers.insert(name, value);
        }
    }
    response
}

fn by_code(code: Code) -> Reason {
    match code {
        Code::InvalidArgument | Code::OutOfRange => Reason::InvalidField,
        Code::Unauthenticated => Reason::InvalidApiKey,
        Code::PermissionDenied => Reason::InsufficientScope,
        Code::NotFound => Reason::RouteNotFound,
        Code::DeadlineExceeded => Reason::RequestTimeout,
        Code::Cancelled => Reason::RequestCancelled,
        Code::Unimplemented => Reason::NotImplemented,
        Code::ResourceExhausted => Reason::PayloadTooLarge,
        Code::Unavailable => Reason::Unavailable,
        _ => Reason::InternalError,
    }
}

fn log(error: &Error) {
    if error.reason == Reason::InternalError {
        let source = error.source.as_deref().map(|source| source as &dyn std::error::Error);
        tracing::error!(source, "internal error");
    }
}
