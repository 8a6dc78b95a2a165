//! What is said of a call once its answer begins, or its caller has gone: its line in the log, its
//! span, its measure. Used by `request.rs` alone. Names methods as the contract does, and never
//! shows what a caller sent but a known verb and the path.

use http::{HeaderMap, Method};
use opentelemetry::Value;
use tokio::time::Instant;
use tonic::Code;
use tracing::Span;

use super::https::is_health;
use super::rate::Told;
use super::{Dialect, Request, Response};
use crate::kernel::ids::{self, Kind};
use crate::kernel::telemetry::{Active, Meters, TRACE, context};

/// Most bytes of a path in a span.
const PATH_BYTES_MAX: usize = 1024;
/// The status of a REST call whose caller has gone before its answer.
const GONE: u16 = 499;

/// A call under way. Dropped before its answer, it says that its caller has gone.
pub(super) struct Account {
    told: Told,
    dialect: Dialect,
    verb: Method,
    request_id: String,
    begun: Instant,
    is_health: bool,
    is_told: bool,
    meters: Meters,
    /// Until it is dropped with the rest.
    _active: Active,
}

/// How a call has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Http(u16),
    Grpc(Code),
}

/// The span of a call; nothing without traces, and of a probe, which asks every few seconds.
pub(super) fn span(
    request: &Request,
    (dialect, request_id): (Dialect, &str),
    meters: &Meters,
) -> Span {
    if is_health(request) {
        return Span::none();
    }
    let rpc = (dialect != Dialect::Rest).then_some("grpc");
    let span = tracing::info_span!(
        target: TRACE,
        "call",
        otel.name = named(request.method()),
        otel.kind = "server",
        otel.status_code = tracing::field::Empty,
        "error.type" = tracing::field::Empty,
        http.request.method = verb(request.method()),
        http.response.status_code = tracing::field::Empty,
        http.route = tracing::field::Empty,
        url.scheme = request.uri().scheme_str(),
        url.path = context::cut(request.uri().path(), PATH_BYTES_MAX),
        rpc.system.name = rpc,
        rpc.method = tracing::field::Empty,
        rpc.response.status_code = tracing::field::Empty,
        runplane.request.id = %request_id,
        runplane.key.id = tracing::field::Empty,
    );
    if meters.trusts_callers() {
        context::continue_from(&span, request.headers());
    } else {
        context::link_from(&span, request.headers());
    }
    span
}

impl Account {
    pub(super) fn new(
        request: &Request,
        (dialect, request_id): (Dialect, &str),
        told: Told,
        meters: &Meters,
    ) -> Self {
        Self {
            told,
            dialect,
            verb: request.method().clone(),
            request_id: request_id.to_owned(),
            begun: Instant::now(),
            is_health: is_health(request),
            is_told: false,
            meters: meters.clone(),
            _active: meters.call(),
        }
    }

    /// Says what came of it. Called within the call's span.
    pub(super) fn settle(mut self, response: &Response) {
        let status = response.status().as_u16();
        self.is_told = true;
        self.tell(self.outcome(response), Some(status), "answered");
    }

    fn tell(&self, outcome: Outcome, status: Option<u16>, what: &str) {
        let (dialect, elapsed) = (word(self.dialect), self.begun.elapsed());
        let method = self.told.method().map_or("none", |method| &method.grpc[1..]);
        self.meters.answered((method, dialect), outcome, elapsed);
        let span = Span::current();
        let key = self.told.key();
        let key = || key.map(|id| ids::format(Kind::Key, id));
        let mut trace_id = None;
        if span.metadata().is_some_and(|metadata| metadata.target() == TRACE) {
            trace_id = context::trace_id(&span);
            self.trace(&span, (method, outcome, status), key());
        }
        let elapsed_ms = (elapsed.as_secs_f64() * 1e6).round() / 1e3;
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(
                    target: "runplane::call",
                    method,
                    dialect,
                    status = %outcome.word(),
                    elapsed_ms,
                    request_id = self.request_id,
                    key = key(),
                    trace_id,
                    "{what}"
                )
            };
        }
        match outcome.is_ours() {
            // Probes ask every few seconds.
            _ if self.is_health => line!(debug),
            true => line!(error),
            false => line!(info),
        }
    }

    fn outcome(&self, response: &Response) -> Outcome {
        match self.dialect {
            Dialect::Rest => Outcome::Http(response.status().as_u16()),
            _ => Outcome::Grpc(code(response.headers())),
        }
    }

    fn trace(
        &self,
        span: &Span,
        (method, outcome, status): (&str, Outcome, Option<u16>),
        key: Option<String>,
    ) {
        match self.told.rule() {
            Some(rule) if self.dialect == Dialect::Rest => {
                let route = rule.template();
                context::rename(span, format!("{} {route}", named(&self.verb)));
                span.record("http.route", route);
            }
            _ if self.dialect != Dialect::Rest => {
                context::rename(span, method.to_owned());
            }
            _ => {}
        }
        if method != "none" {
            span.record("rpc.method", method);
        }
        span.record("http.response.status_code", status);
        if let Outcome::Grpc(_) = outcome {
            span.record("rpc.response.status_code", &*outcome.word());
        }
        span.record("runplane.key.id", key);
        if outcome.is_ours() {
            span.record("otel.status_code", "ERROR");
            span.record("error.type", &*outcome.word());
        }
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        if !self.is_told {
            let (outcome, status) = match self.dialect {
                Dialect::Rest => (Outcome::Http(GONE), Some(GONE)),
                _ => (Outcome::Grpc(Code::Cancelled), None),
            };
            self.tell(outcome, status, "the caller has gone");
        }
    }
}

impl Outcome {
    /// True when the failure is not the caller's.
    fn is_ours(self) -> bool {
        match self {
            // What takes longer than its caller will wait is no fault.
            Self::Http(status) => status >= 500 && status != 504,
            Self::Grpc(code) => {
                matches!(code, Code::Unknown | Code::Internal | Code::Unavailable | Code::DataLoss)
            }
        }
    }

    fn word(self) -> std::borrow::Cow<'static, str> {
        match self {
            Self::Http(status) => status.to_string().into(),
            Self::Grpc(code) => name(code).into(),
        }
    }
}

impl From<Outcome> for Value {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Http(status) => i64::from(status).into(),
            Outcome::Grpc(code) => name(code).into(),
        }
    }
}

/// What the head of an answer says. One that goes well says so at its end, and a stream may fail
/// after this.
fn code(headers: &HeaderMap) -> Code {
    headers.get("grpc-status").map_or(Code::Ok, |value| Code::from_bytes(value.as_bytes()))
}

/// A verb as the conventions have it: any stranger may make up others, and each would be a name of
/// its own.
fn verb(method: &Method) -> &str {
    match *method {
        Method::GET
        | Method::HEAD
        | Method::POST
        | Method::PUT
        | Method::PATCH
        | Method::DELETE
        | Method::OPTIONS
        | Method::CONNECT
        | Method::TRACE => method.as_str(),
        _ => "_OTHER",
    }
}

/// The same, in the name of a span.
fn named(method: &Method) -> &str {
    match verb(method) {
        "_OTHER" => "HTTP",
        verb => verb,
    }
}

fn word(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Rest => "rest",
        Dialect::Grpc => "grpc",
        Dialect::GrpcWeb => "grpc_web",
    }
}

fn name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verb_that_nobody_knows_makes_no_name() {
        let made_up = Method::from_bytes(b"TARANTELLA").unwrap();
        assert_eq!((verb(&made_up), named(&made_up)), ("_OTHER", "HTTP"));
        assert_eq!((verb(&Method::PATCH), named(&Method::PATCH)), ("PATCH", "PATCH"));
    }

    #[test]
    fn a_caller_that_has_gone_is_no_fault_of_ours() {
        assert!(!Outcome::Http(GONE).is_ours() && !Outcome::Grpc(Code::Cancelled).is_ours());
    }
}
