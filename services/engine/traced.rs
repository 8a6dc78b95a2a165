//! An attempt as a span: the child of the call that has created the run, whichever process drives
//! it. Made by `drive.rs` for each claim; everything that the attempt does is below it.

use std::time::Duration;

use moka::sync::Cache;
use tracing::Span;
use uuid::Uuid;

use super::attempt::Pinned;
use super::claim::Taken;
use super::finish::Concluded;
use crate::kernel::Timestamp;
use crate::kernel::ids::{self, Kind};
use crate::kernel::telemetry::{TRACE, context};

/// Runs whose last attempt is known, and for how long.
const ATTEMPTS_MAX: u64 = 10_000;
const ATTEMPTS_FOR: Duration = Duration::from_secs(3600);

/// Spans of attempts, as W3C writes them, by run.
pub(super) type Attempts = Cache<Uuid, String>;

/// None yet.
pub(super) fn attempts() -> Attempts {
    Cache::builder().max_capacity(ATTEMPTS_MAX).time_to_live(ATTEMPTS_FOR).build()
}

/// The span of a claim; linked with that of the claim before, if that was made here.
pub(super) fn attempt(attempts: &Attempts, taken: &Taken) -> Span {
    let Taken { run, claimed, .. } = taken;
    let span = tracing::info_span!(
        target: TRACE,
        "invoke_agent",
        otel.kind = "internal",
        otel.status_code = tracing::field::Empty,
        gen_ai.operation.name = "invoke_agent",
        gen_ai.agent.id = %ids::format(Kind::Agent, run.agent_id),
        gen_ai.agent.name = tracing::field::Empty,
        gen_ai.agent.version = run.agent_version,
        gen_ai.conversation.id = run.session.as_ref().map(|(session, _)| session.id.as_str()),
        gen_ai.request.model = tracing::field::Empty,
        "error.type" = tracing::field::Empty,
        runplane.run.id = %ids::format(Kind::Run, run.run_id),
        runplane.run.attempt = run.attempt,
        runplane.run.epoch = claimed.lease.epoch,
        runplane.run.status = tracing::field::Empty,
    );
    if span.is_disabled() {
        return span;
    }
    if let Some(traceparent) = &run.traceparent {
        context::continue_kept(&span, traceparent);
    }
    if let Some(earlier) = attempts.get(&run.run_id) {
        context::link(&span, &earlier);
    }
    if let Some(place) = context::kept(&span) {
        attempts.insert(run.run_id, place);
    }
    span
}

/// Says of the current attempt whose it is.
pub(super) fn pinned(run: &Pinned) {
    let (span, spec) = (Span::current(), &run.spec);
    if span.is_disabled() {
        return;
    }
    context::rename(&span, format!("invoke_agent {}", spec.name));
    span.record("gen_ai.agent.name", spec.name.as_str());
    span.record("gen_ai.request.model", spec.model.as_str());
}

/// Says of the current attempt how it has ended.
pub(super) fn settled(done: &Concluded) {
    let Some((status, _)) = done.ended else { return };
    let span = Span::current();
    span.record("runplane.run.status", status.as_str());
    if status == super::Status::Failed {
        span.record("otel.status_code", "ERROR");
        span.record("error.type", "run_failed");
    }
}

/// Reading what a claim goes on with.
pub(super) fn claim() -> Span {
    tracing::info_span!(target: TRACE, "claim")
}

/// How long a run was ready.
pub(super) fn waited(taken: &Taken, now: Timestamp) -> Duration {
    let waited = now.0.saturating_sub(taken.claimed.available_at.0);
    Duration::from_micros(u64::try_from(waited).unwrap_or(0))
}
