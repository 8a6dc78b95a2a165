//! The `http` tool: a signed POST of the arguments to the handler's URL, retried within its bounds.
//! Sends the same idempotency key on every try and in every claim of the run.

use std::time::Duration;

use http::header::{CONTENT_ENCODING, CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue};
use secrecy::SecretString;
use serde_json::{Map, Value};
use tokio::time::error::Elapsed;
use tokio::time::{sleep, timeout};
use tracing::Instrument;

use super::sign::signature;
use crate::engine::attempt::Journal;
use crate::kernel::spec::Delivery;
use crate::kernel::telemetry::context;
use crate::kernel::{Clock, faults};
use crate::runtime::egress::{Egress, Post, Reply, Unanswered};
use crate::runtime::record::ToolError;
use crate::runtime::{retry, traced};

/// Most bytes of a refusal that the model is told.
const REFUSAL_BYTES_MAX: usize = 4 << 10;

/// A call to make.
#[derive(Debug)]
pub(crate) struct HttpCall<'a> {
    /// Handler URL.
    pub(crate) url: &'a str,
    /// Longest time of one try.
    pub(crate) timeout: Duration,
    /// Most retries.
    pub(crate) retries: u32,
    /// First wait before a retry.
    pub(crate) retry_base: Duration,
    /// How often it may be sent.
    pub(crate) delivery: Delivery,
    /// Arguments.
    pub(crate) arguments: &'a Map<String, Value>,
    /// Who calls.
    pub(crate) sender: Sender<'a>,
}

/// Who calls, as the headers say it.
#[derive(Debug)]
pub(crate) struct Sender<'a> {
    /// Id of the call, `call_…`.
    pub(crate) call_id: &'a str,
    /// Id of the run, `run_…`.
    pub(crate) run_id: String,
    /// `<run>/<step>/<call>`.
    pub(crate) idempotency_key: String,
    /// Number of the claim.
    pub(crate) attempt: i32,
    /// Epoch of the claim.
    pub(crate) epoch: i64,
    /// Secret of the project.
    pub(crate) secret: SecretString,
}

/// What came of it, and how often it was sent.
#[derive(Debug)]
pub(crate) struct Sent {
    /// The answer, or why there is none.
    pub(crate) outcome: Result<Value, ToolError>,
    /// Tries.
    pub(crate) tries: i32,
}

/// What came of one try.
enum Try {
    Done(Result<Value, ToolError>),
    Again(ToolError, Option<Duration>),
}

/// Makes the call. Each try waits until the run is surely the caller's: another may have made the
/// call meanwhile, and journaled what came of it.
pub(crate) async fn call(
    egress: &Egress,
    clock: &Clock,
    journal: &dyn Journal,
    call: &HttpCall<'_>,
) -> Sent {
    let mut tries = 0;
    loop {
        let n = tries;
        tries += 1;
        let done = |outcome| Sent { outcome, tries: i32::try_from(tries).unwrap_or(i32::MAX) };
        journal.hold().await;
        match once(egress, clock, call, n).await {
            Try::Done(outcome) => return done(outcome),
            Try::Again(error, _) if n >= call.retries => return done(Err(error)),
            Try::Again(_, asked) => sleep(retry::delay(n, call.retry_base, asked)).await,
        }
    }
}

async fn once(egress: &Egress, clock: &Clock, call: &HttpCall<'_>, resends: u32) -> Try {
    let Some(mut post) = post(clock, call) else {
        return Try::Done(Err(ToolError::new("tool_error", "the call could not be signed")));
    };
    let span = traced::post(call.url, resends);
    context::write(&span, &mut post.headers);
    let answer = faults::during("mid_tool", egress.post(post));
    let answer = timeout(call.timeout, answer).instrument(span.clone()).await;
    traced::posted(&span, status(&answer));
    let Ok(answer) = answer else {
        let message = format!("no answer within {} seconds", call.timeout.as_secs_f64());
        // The call went out, and may still do something: where that may happen once only, nobody
        // shall take it for not done.
        let code = match call.delivery {
            Delivery::AtLeastOnce => "tool_timeout",
            Delivery::AtMostOnce => "outcome_unknown",
        };
        return Try::Done(Err(ToolError::new(code, message)));
    };
    match answer {
        Ok(reply) => match judge(clock, reply) {
            // The handler was called, and may have done something before it failed.
            Try::Again(error, _) if call.delivery == Delivery::AtMostOnce => Try::Done(Err(error)),
            judged => judged,
        },
        Err(Unanswered::Blocked(why)) => {
            Try::Done(Err(ToolError::new("blocked_address", why.to_string())))
        }
        Err(Unanswered::TooMuch(why)) => Try::Done(Err(ToolError::new("tool_error", why))),
        Err(Unanswered::Unreachable(why)) => Try::Again(ToolError::new("tool_error", why), None),
        // It may have arrived: only a tool that may be called twice is called again.
        Err(Unanswered::Broken(why)) => match call.delivery {
            Delivery::AtLeastOnce => Try::Again(ToolError::new("tool_error", why), None),
            Delivery::AtMostOnce => Try::Done(Err(ToolError::new("outcome_unknown", why))),
        },
    }
}

fn status(answer: &Result<Result<Reply, Unanswered>, Elapsed>) -> Result<u16, &'static str> {
    match answer {
        Ok(Ok(reply)) => Ok(reply.status.as_u16()),
        Ok(Err(Unanswered::Blocked(_))) => Err("blocked_address"),
        Ok(Err(Unanswered::Unreachable(_))) => Err("unreachable"),
        Ok(Err(Unanswered::Broken(_))) => Err("broken"),
        Ok(Err(Unanswered::TooMuch(_))) => Err("too_much"),
        Err(_late) => Err("timeout"),
    }
}

fn post<'a>(clock: &Clock, call: &HttpCall<'a>) -> Option<Post<'a>> {
    let body = serde_json::to_vec(call.arguments).ok()?;
    let sender = &call.sender;
    let unix_seconds = clock.now().0.div_euclid(1_000_000);
    let signature = signature(&sender.secret, sender.call_id, unix_seconds, &body)?;
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(USER_AGENT, HeaderValue::from_static("runplane"));
    for (name, value) in [
        ("idempotency-key", sender.idempotency_key.as_str()),
        ("x-runplane-run", &sender.run_id),
        ("x-agent-attempt", &sender.attempt.to_string()),
        ("x-agent-epoch", &sender.epoch.to_string()),
        ("webhook-id", sender.call_id),
        ("webhook-timestamp", &unix_seconds.to_string()),
        ("webhook-signature", &signature),
    ] {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_str(value).ok()?);
    }
    Some(Post { url: call.url, headers, body })
}

fn judge(clock: &Clock, reply: Reply) -> Try {
    if reply.status.is_success() {
        return Try::Done(read(&reply));
    }
    let status = reply.status.as_u16();
    let end = reply.body.len().min(REFUSAL_BYTES_MAX);
    let words = String::from_utf8_lossy(&reply.body[..end]);
    let message = match words.trim() {
        "" => format!("the handler answered {status}"),
        words => format!("the handler answered {status}: {words}"),
    };
    let error = ToolError::new("tool_error", message);
    if retry::is_transient(status) {
        return Try::Again(error, retry::asked(&reply.headers, clock.now()));
    }
    Try::Done(Err(error))
}

/// JSON as what it is, anything else as text, nothing as null.
fn read(reply: &Reply) -> Result<Value, ToolError> {
    if reply.headers.contains_key(CONTENT_ENCODING) {
        let message = "the handler answered in a content encoding that was not asked for";
        return Err(ToolError::new("tool_error", message));
    }
    if reply.body.is_empty() {
        return Ok(Value::Null);
    }
    let said = reply.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let is_text = said.is_some_and(|said| !said.contains("json"));
    if !is_text && let Ok(value) = serde_json::from_slice(&reply.body) {
        return Ok(super::bounded(value));
    }
    Ok(super::bounded(Value::String(String::from_utf8_lossy(&reply.body).into_owned())))
}
