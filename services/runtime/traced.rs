//! Model and tool calls as spans and measures, by the GenAI conventions of OpenTelemetry at the
//! revision that `docs/telemetry.md` names. Used by the loop and the HTTP tool. What people and
//! models say is in no span, unless the operator wants it there: `said.rs`.

use std::time::Duration;

use tracing::{Span, field};
use url::Url;

use super::model::{Answer, Failure, Question, Spoken, finish_reason};
use super::record::{Asked, ToolError};
use super::said;
use crate::kernel::telemetry::context::{self, NAME_BYTES_MAX};
use crate::kernel::telemetry::{self, Meters, TRACE};

/// The span of one try of a model call.
pub(super) fn chat(question: &Question<'_>, to: &Spoken, captures: bool) -> Span {
    let settings = &question.settings;
    let span = tracing::info_span!(
        target: TRACE,
        "chat",
        otel.name = context::cut(&format!("chat {}", to.model), NAME_BYTES_MAX),
        otel.kind = "client",
        otel.status_code = field::Empty,
        "error.type" = field::Empty,
        gen_ai.operation.name = "chat",
        gen_ai.provider.name = to.provider,
        gen_ai.request.model = to.model,
        gen_ai.request.max_tokens = settings.max_tokens,
        gen_ai.request.temperature = settings.temperature,
        gen_ai.request.top_p = settings.top_p,
        gen_ai.request.stream = true,
        gen_ai.conversation.id = question.run.session_id.as_deref(),
        gen_ai.usage.input_tokens = field::Empty,
        gen_ai.usage.output_tokens = field::Empty,
        runplane.step = question.turn,
        runplane.tries = question.tries,
    );
    if captures && context::is_sent(&span) {
        context::set(&span, "gen_ai.system_instructions", said::system(&question.said));
        context::set(&span, "gen_ai.input.messages", said::input(&question.said));
    }
    span
}

/// Says what came of a try. `None`: no answer in time.
pub(super) fn chatted(
    (span, to): (&Span, &Spoken),
    outcome: Option<&Result<Answer, Failure>>,
    time: Duration,
    (meters, captures): (&Meters, bool),
) {
    let error = match outcome {
        Some(Ok(_)) => None,
        Some(Err(failure)) if failure.transient => Some("unavailable"),
        Some(Err(_)) => Some("refused"),
        None => Some("timeout"),
    };
    let answer = outcome.and_then(|outcome| outcome.as_ref().ok());
    let tokens = answer.map(|answer| (answer.input_tokens, answer.output_tokens));
    let Spoken { provider, model } = to;
    meters.asked(&telemetry::Asked { provider, model, error, time, tokens });
    if span.is_disabled() {
        return;
    }
    fail(span, error);
    if let Some(answer) = answer {
        span.record("gen_ai.usage.input_tokens", answer.input_tokens);
        span.record("gen_ai.usage.output_tokens", answer.output_tokens);
        context::set_list(span, "gen_ai.response.finish_reasons", finish_reason(answer));
        if captures && context::is_sent(span) {
            context::set(span, "gen_ai.output.messages", said::output(answer));
        }
    }
}

/// The span of a tool call, with its retries.
pub(super) fn tool(asked: &Asked, captures: bool) -> Span {
    let span = tracing::info_span!(
        target: TRACE,
        "execute_tool",
        otel.name = context::cut(&format!("execute_tool {}", asked.name), NAME_BYTES_MAX),
        otel.kind = "internal",
        otel.status_code = field::Empty,
        "error.type" = field::Empty,
        gen_ai.operation.name = "execute_tool",
        gen_ai.tool.name = asked.name,
        gen_ai.tool.call.id = asked.id,
        "gen_ai.tool.type" = "extension",
        runplane.tries = field::Empty,
    );
    if captures && context::is_sent(&span) {
        let arguments = said::arguments(&asked.arguments);
        context::set(&span, "gen_ai.tool.call.arguments", arguments);
    }
    span
}

/// Says what came of a tool call.
pub(super) fn used(
    span: &Span,
    outcome: &Result<serde_json::Value, ToolError>,
    tries: i32,
    captures: bool,
) {
    if span.is_disabled() {
        return;
    }
    span.record("runplane.tries", tries);
    fail(span, outcome.as_ref().err().map(|error| error.code.as_str()));
    if let (Ok(result), true) = (outcome, captures && context::is_sent(span)) {
        context::set(span, "gen_ai.tool.call.result", said::value(result));
    }
}

/// The span of one request to a handler. Its URL may hold what is nobody's business: only where it
/// goes is said.
pub(super) fn post(url: &str, resends: u32) -> Span {
    let span = tracing::info_span!(
        target: TRACE,
        "POST",
        otel.kind = "client",
        otel.status_code = field::Empty,
        "error.type" = field::Empty,
        http.request.method = "POST",
        http.request.resend_count = (resends > 0).then_some(resends),
        http.response.status_code = field::Empty,
        server.address = field::Empty,
        server.port = field::Empty,
    );
    if span.is_disabled() {
        return span;
    }
    if let Ok(url) = Url::parse(url) {
        span.record("server.address", url.host_str());
        span.record("server.port", url.port_or_known_default());
    }
    span
}

/// Says what came of a request: a status, or why there is none.
pub(super) fn posted(span: &Span, outcome: Result<u16, &'static str>) {
    match outcome {
        Ok(status) => {
            span.record("http.response.status_code", status);
            if status >= 400 {
                fail(span, Some(status.to_string().as_str()));
            }
        }
        Err(why) => fail(span, Some(why)),
    }
}

fn fail(span: &Span, error: Option<&str>) {
    if let Some(error) = error {
        span.record("error.type", error);
        span.record("otel.status_code", "ERROR");
    }
}
