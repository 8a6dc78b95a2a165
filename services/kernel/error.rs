//! The one error type and the one table of reasons. Everything fallible returns [`Error`]; the
//! doors turn it into their own form in `kernel/reply.rs`. Never decides how an error looks on the
//! wire.

use std::fmt;

use tonic::Code;

/// Result with our error.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What the table says about one reason.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// The reason.
    pub reason: Reason,
    /// Code of the reason in JSON, lower case.
    pub code: &'static str,
    /// Code of the reason in `google.rpc.ErrorInfo`, upper case.
    pub info: &'static str,
    /// HTTP status.
    pub http: u16,
    /// gRPC code.
    pub grpc: Code,
    /// True when the same call may succeed later.
    pub retryable: bool,
    /// A message as a caller would see it.
    pub example: &'static str,
}

macro_rules! reasons {
    (
        $($name:ident $code:literal $info:literal $http:literal $grpc:ident $retry:literal
            $example:literal)*
    ) => {
        /// Why a call failed. The same word in proto, Rust, SQL, logs, metrics and docs.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Reason {
            $(#[doc = concat!("`", $code, "`, as in: `", $example, "`")] $name,)*
        }

        /// The table: one row a reason, in the order of the proto enum `ErrorReason`.
        pub const TABLE: &[Row] = &[
            $(Row {
                reason: Reason::$name,
                code: $code,
                info: $info,
                http: $http,
                grpc: Code::$grpc,
                retryable: $retry,
                example: $example,
            },)*
        ];
    };
}

reasons! {
    MissingApiKey "missing_api_key" "MISSING_API_KEY" 401 Unauthenticated false
        "no API key was sent; use Authorization: Bearer, Authorization: Token or x-api-key"
    InvalidApiKey "invalid_api_key" "INVALID_API_KEY" 401 Unauthenticated false
        "the API key is not valid, has expired or was revoked"
    ExpiredToken "expired_token" "EXPIRED_TOKEN" 401 Unauthenticated false
        "the session token has expired"
    InsufficientScope "insufficient_scope" "INSUFFICIENT_SCOPE" 403 PermissionDenied false
        "this method needs the scope admin"
    EnvironmentMismatch "environment_mismatch" "ENVIRONMENT_MISMATCH" 403 PermissionDenied false
        "a test key cannot make a live key"
    PolicyDenied "policy_denied" "POLICY_DENIED" 403 PermissionDenied false
        "the policy no_pii refuses this input"
    AgentNotFound "agent_not_found" "AGENT_NOT_FOUND" 404 NotFound false
        "agent agt_123 not found or not published"
    RunNotFound "run_not_found" "RUN_NOT_FOUND" 404 NotFound false
        "run run_123 not found"
    KeyNotFound "key_not_found" "KEY_NOT_FOUND" 404 NotFound false
        "key key_123 not found"
    RouteNotFound "route_not_found" "ROUTE_NOT_FOUND" 404 Unimplemented false
        "no method has the path /v1/nothing"
    MethodNotAllowed "method_not_allowed" "METHOD_NOT_ALLOWED" 405 Unimplemented false
        "PUT is not allowed here; allowed: GET, POST"
    MalformedJson "malformed_json" "MALFORMED_JSON" 400 InvalidArgument false
        "the body is not valid JSON: expected `,` or `}` at line 1 column 9"
    UnknownField "unknown_field" "UNKNOWN_FIELD" 400 InvalidArgument false
        "nmae: unknown field"
    MissingField "missing_field" "MISSING_FIELD" 400 InvalidArgument false
        "name is required"
    InvalidField "invalid_field" "INVALID_FIELD" 400 InvalidArgument false
        "max_steps must be 1 to 200"
    UnknownParameter "unknown_parameter" "UNKNOWN_PARAMETER" 400 InvalidArgument false
        "the agent has no parameter colour; it has: language, tone"
    InvalidParameterValue "invalid_parameter_value" "INVALID_PARAMETER_VALUE"
        400 InvalidArgument false
        "parameter tone must be one of: formal, friendly"
    InvalidCursor "invalid_cursor" "INVALID_CURSOR" 400 InvalidArgument false
        "the cursor was not made by this server for this list"
    RequestTimeout "request_timeout" "REQUEST_TIMEOUT" 504 DeadlineExceeded true
        "the call did not end within its deadline"
    RunNotCancellable "run_not_cancellable" "RUN_NOT_CANCELLABLE" 409 FailedPrecondition false
        "run run_123 has already ended as completed"
    RunNotWaiting "run_not_waiting" "RUN_NOT_WAITING" 409 FailedPrecondition false
        "run run_123 is in_progress and waits for no tool outputs"
    NameTaken "name_taken" "NAME_TAKEN" 409 AlreadyExists false
        "the name payments is in use"
    VersionConflict "version_conflict" "VERSION_CONFLICT" 409 Aborted false
        "the agent is at version 4, not 3"
    IdempotencyKeyInUse "idempotency_key_in_use" "IDEMPOTENCY_KEY_IN_USE" 409 Aborted true
        "a call with this idempotency key is still under way"
    PayloadTooLarge "payload_too_large" "PAYLOAD_TOO_LARGE" 413 ResourceExhausted false
        "the body is larger than 1048576 bytes"
    UnsupportedMediaType "unsupported_media_type" "UNSUPPORTED_MEDIA_TYPE" 415 InvalidArgument false
        "the content type text/plain is not supported; send application/json"
    NotAcceptable "not_acceptable" "NOT_ACCEPTABLE" 406 InvalidArgument false
        "image/png cannot be made; accept application/json"
    ValidationFailed "validation_failed" "VALIDATION_FAILED" 422 FailedPrecondition false
        "call_123 is not a call that the run waits for"
    IdempotencyKeyReused "idempotency_key_reused" "IDEMPOTENCY_KEY_REUSED"
        422 FailedPrecondition false
        "the idempotency key was used for another request"
    RateLimited "rate_limited" "RATE_LIMITED" 429 ResourceExhausted true
        "more than 100 requests a minute"
    TooManyConcurrentRuns "too_many_concurrent_runs" "TOO_MANY_CONCURRENT_RUNS"
        429 ResourceExhausted true
        "20 runs of this project are live, the most that may be driven at once"
    QuotaExceeded "quota_exceeded" "QUOTA_EXCEEDED" 429 ResourceExhausted true
        "the monthly quota of 10000 runs of this project is used up"
    InternalError "internal_error" "INTERNAL_ERROR" 500 Internal true
        "something went wrong on our side; it has been reported"
    Unavailable "unavailable" "UNAVAILABLE" 503 Unavailable true
        "the server is shutting down"
    ModelError "model_error" "MODEL_ERROR" 502 Unavailable true
        "the provider openai answered 500 four times"
    NotImplemented "not_implemented" "NOT_IMPLEMENTED" 501 Unimplemented false
        "this method is not implemented"
    RequestCancelled "request_cancelled" "REQUEST_CANCELLED" 499 Cancelled true
        "the caller went away"
    PreconditionFailed "precondition_failed" "PRECONDITION_FAILED" 412 Aborted false
        "the agent has the entity tag \"4-d\", which if_match does not name"
    UriTooLong "uri_too_long" "URI_TOO_LONG" 414 ResourceExhausted false
        "the path and the query are longer than 16384 bytes"
    RequestHeaderFieldsTooLarge
        "request_header_fields_too_large" "REQUEST_HEADER_FIELDS_TOO_LARGE"
        431 ResourceExhausted false
        "the request has more than 80 header fields"
    OriginNotAllowed "origin_not_allowed" "ORIGIN_NOT_ALLOWED" 403 PermissionDenied false
        "pages of https://elsewhere.example may not call this server"
    HttpsRequired "https_required" "HTTPS_REQUIRED" 403 PermissionDenied false
        "this server answers over HTTPS only"
    OrganisationNotFound "organisation_not_found" "ORGANISATION_NOT_FOUND" 404 NotFound false
        "organisation org_123 not found"
    ProjectNotFound "project_not_found" "PROJECT_NOT_FOUND" 404 NotFound false
        "project prj_123 not found"
    SessionBusy "session_busy" "SESSION_BUSY" 409 Aborted true
        "another run of the session has not ended"
    QueueFull "queue_full" "QUEUE_FULL" 429 ResourceExhausted true
        "1000 runs of this project wait, the most that may"
}

impl Reason {
    /// The row of this reason.
    #[must_use]
    pub fn row(self) -> &'static Row {
        &TABLE[self as usize]
    }

    /// The reason with this code, in JSON's or `ErrorInfo`'s spelling.
    #[must_use]
    pub fn parse(code: &str) -> Option<Self> {
        TABLE.iter().find(|row| row.code == code || row.info == code).map(|row| row.reason)
    }
}

/// A failure: why, in whose words, with which facts.
#[derive(Debug)]
pub struct Error {
    /// Why.
    pub reason: Reason,
    /// For people: lower case, names the thing and the limit.
    pub message: String,
    /// Facts for programs: `field`, `reason`, `limit`, `allowed`, `retry_after_s`…
    pub metadata: Vec<(&'static str, String)>,
    /// What caused it; logged, never shown.
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// A failure with a message.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), metadata: Vec::new(), source: None }
    }

    /// A failure of ours; the caller sees only that it happened.
    pub fn internal(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self {
            source: Some(source.into()),
            ..Self::new(Reason::InternalError, Reason::InternalError.row().example)
        }
    }

    /// A field with a value that is not allowed.
    pub fn field(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(Reason::InvalidField, message).with("field", field)
    }

    /// A required field that is not there.
    pub fn missing(field: impl Into<String>) -> Self {
        let field = field.into();
        Self::new(Reason::MissingField, format!("{field} is required"))
            .with("field", field)
            .with("reason", "missing")
    }

    /// Adds a fact.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.metadata.push((name, value.into()));
        self
    }

    /// Adds what caused it.
    #[must_use]
    pub fn caused_by(
        mut self,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The fact of this name.
    #[must_use]
    pub fn fact(&self, name: &str) -> Option<&str> {
        self.metadata.iter().find(|(n, _)| *n == name).map(|(_, value)| value.as_str())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason.row().code, self.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|source| source.as_ref() as _)
    }
}
