//! The tool calls of a round: those that can be answered at once, those that are sent, in parallel,
//! and those that wait for the caller. Every result is committed before the next wait.

use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{self, StreamExt};
use futures::{FutureExt, Stream};
use secrecy::SecretString;
use serde_json::Value;
use tokio::time::Instant;
use tracing::Instrument;

use super::ask::json;
use super::{Claim, Flow};
use crate::engine::attempt::{Intent, Outcome, PendingCall, StepKind, StepStatus};
use crate::kernel::faults;
use crate::kernel::ids::{self, Kind};
use crate::kernel::spec::{Delivery, Handler};
use crate::runtime::events;
use crate::runtime::record::{Asked, ToolError, ToolRequest, ToolResult, content};
use crate::runtime::thread::Call;
use crate::runtime::tool::bounded;
use crate::runtime::tool::http::{HttpCall, Sender, Sent, call};
use crate::runtime::traced;

/// Most calls of one run that are under way at once.
const PARALLEL_MAX: usize = 8;

/// What is to be done with a call.
enum Plan<'a> {
    /// It has its answer.
    Answered(Result<Value, ToolError>),
    /// It is sent.
    Send(&'a Handler),
    /// It waits for the caller.
    Wait(PendingCall),
}

/// A call's place in its round, from 0.
type Place = usize;

impl<'a> Claim<'a> {
    /// Takes every call of the last round as far as it can go. Ends the claim when some wait for
    /// the caller.
    pub(super) async fn use_tools(&mut self) -> Flow<()> {
        let (mut answered, mut to_send, mut waiting) = (Vec::new(), Vec::new(), Vec::new());
        let mut intents = Vec::new();
        for (place, call) in self.open_calls() {
            let plan = self.plan(call);
            // A call that an earlier claim began is begun once more only if it is sent once more.
            if call.begun == 0 || matches!(plan, Plan::Send(_)) {
                intents.push(self.intent(place, call));
            }
            match plan {
                Plan::Answered(outcome) => answered.push((place, outcome)),
                Plan::Send(handler) => to_send.push((place, handler)),
                Plan::Wait(pending) => waiting.push(pending),
            }
        }
        self.pending.intents.extend(intents);
        // Nothing is sent, answered or waited for that is not begun.
        self.commit().await?;
        let answered = answered.into_iter();
        self.end_calls(answered.map(|(place, outcome)| (place, Sent { outcome, tries: 0 })))?;
        if !to_send.is_empty() {
            self.send(to_send).await?;
        }
        if waiting.is_empty() {
            return Ok(());
        }
        let commit = std::mem::take(&mut self.pending);
        Err(Box::new(Outcome::Park(commit, waiting)))
    }

    fn open_calls(&self) -> impl Iterator<Item = (Place, &Call)> {
        let calls = self.thread.rounds.last().map_or(&[][..], |round| &round.calls);
        calls.iter().enumerate().filter(|(_, call)| call.result.is_none())
    }

    fn plan(&self, call: &Call) -> Plan<'a> {
        let tool = match self.tools.admit(&call.asked) {
            Ok(tool) => tool,
            Err(error) => return Plan::Answered(Err(error)),
        };
        match &tool.handler {
            Handler::Http { delivery: Delivery::AtMostOnce, .. } if call.begun > 0 => {
                let message = "the call may have been made before a restart; it is not repeated";
                Plan::Answered(Err(ToolError::new("outcome_unknown", message)))
            }
            handler @ Handler::Http { .. } => Plan::Send(handler),
            Handler::Client { .. } => self.plan_client(call),
        }
    }

    fn plan_client(&self, call: &Call) -> Plan<'a> {
        match self.attempt.inbox.get(&call.asked.id) {
            Some(given) if given.is_error => {
                let message = content(&bounded(given.output.clone()));
                Plan::Answered(Err(ToolError::new("tool_error", message)))
            }
            Some(given) => Plan::Answered(Ok(bounded(given.output.clone()))),
            None => Plan::Wait(PendingCall {
                id: call.asked.id.clone(),
                name: call.asked.name.clone(),
                arguments: call.asked.arguments.clone(),
                deadline: self.request(&call.asked).deadline.unwrap_or(self.attempt.run.deadline),
            }),
        }
    }

    fn intent(&self, place: Place, call: &Call) -> Intent {
        let request = json(&self.request(&call.asked));
        Intent { step: self.step(), call: number(place), kind: StepKind::Tool, request }
    }

    /// The request of a call of the last answer.
    pub(super) fn request(&self, asked: &Asked) -> ToolRequest {
        let reply = self.thread.rounds.last().and_then(|round| round.reply.as_ref());
        let requested_at = reply.map_or_else(|| self.now(), |reply| reply.answered_at);
        let deadline = match self.tools.find(&asked.name).map(|tool| &tool.handler) {
            Some(Handler::Client { deadline_seconds }) => {
                Some(requested_at.plus(Duration::from_secs((*deadline_seconds).into())))
            }
            _ => None,
        };
        ToolRequest {
            call_id: asked.id.clone(),
            name: asked.name.clone(),
            arguments: asked.arguments.clone(),
            requested_at,
            deadline,
        }
    }

    async fn send(&mut self, to_send: Vec<(Place, &'a Handler)>) -> Flow<()> {
        let secret = (self.shared.signing_secret)(self.attempt.run.scope.project).await;
        let secret = secret.map_err(|error| {
            tracing::error!(%error, "the project's signing secret cannot be read");
            Box::new(Outcome::Stopped)
        })?;
        let mut left: Vec<Place> = to_send.iter().map(|(place, _)| *place).collect();
        let calls: Vec<_> =
            to_send.into_iter().map(|(place, to)| self.call(place, to, secret.clone())).collect();
        let mut sent = stream::iter(calls).buffer_unordered(PARALLEL_MAX);
        while !left.is_empty() {
            self.commit().await?;
            let in_flight: Vec<String> = left.iter().map(|place| self.call_id(*place)).collect();
            let first = self.effect(&in_flight, sent.next()).await?;
            let come: Vec<_> = first.into_iter().chain(ready(&mut sent)).collect();
            left.retain(|place| come.iter().all(|(other, _)| other != place));
            self.end_calls(come)?;
            faults::point("after_tool_before_commit");
        }
        Ok(())
    }

    fn call_id(&self, place: Place) -> String {
        let round = self.thread.rounds.last();
        round.map_or_else(String::new, |round| round.calls[place].asked.id.clone())
    }

    /// The call as a future of its own, which borrows nothing of the claim.
    fn call(
        &self,
        place: Place,
        handler: &'a Handler,
        secret: SecretString,
    ) -> BoxFuture<'a, (Place, Sent)> {
        let (shared, attempt, step) = (self.shared, self.attempt, self.step());
        let asked = self.thread.rounds.last().map(|round| round.calls[place].asked.clone());
        let run_id = ids::format(Kind::Run, attempt.run.run_id);
        Box::pin(async move {
            let (Handler::Http { url, timeout_seconds, max_retries, delivery }, Some(asked)) =
                (handler, asked)
            else {
                let error = ToolError::new("tool_error", "the tool cannot be called");
                return (place, Sent { outcome: Err(error), tries: 0 });
            };
            let http = HttpCall {
                url,
                timeout: Duration::from_secs((*timeout_seconds).into()),
                retries: *max_retries,
                retry_base: shared.retry_base,
                delivery: *delivery,
                arguments: &asked.arguments,
                sender: Sender {
                    call_id: &asked.id,
                    idempotency_key: format!("{run_id}/{step}/{}", number(place)),
                    run_id,
                    attempt: attempt.number,
                    epoch: attempt.epoch,
                    secret,
                },
            };
            let (span, begun) = (traced::tool(&asked, shared.capture_content), Instant::now());
            let sent = call(&shared.egress, &shared.clock, &*attempt.journal, &http);
            let sent = sent.instrument(span.clone()).await;
            traced::used(&span, &sent.outcome, sent.tries, shared.capture_content);
            shared.meters.stepped("tool", outcome(&sent), begun.elapsed());
            (place, sent)
        })
    }

    /// Makes the ends of calls ready. When that is too much for the run, it ends after the last of
    /// them: what has come is kept.
    fn end_calls(&mut self, calls: impl IntoIterator<Item = (Place, Sent)>) -> Flow<()> {
        let bytes = calls.into_iter().map(|(place, sent)| self.end_call(place, sent)).sum();
        self.grow(bytes)
    }

    /// Makes the end of a call ready: its row, its event and the message for the model. The bytes
    /// of its result.
    fn end_call(&mut self, place: Place, sent: Sent) -> usize {
        let (now, message_id) = (self.now(), self.message_id());
        let Some(round) = self.thread.rounds.last_mut() else { return 0 };
        let asked_at = round.reply.as_ref().map_or(now, |reply| reply.answered_at);
        let call = &mut round.calls[place];
        let (value, error) = match sent.outcome {
            Ok(value) => (value, None),
            Err(error) => (Value::Null, Some(error)),
        };
        let status = match error.as_ref().map(|error| error.code.as_str()) {
            None => StepStatus::Ok,
            Some("outcome_unknown") => StepStatus::Unknown,
            Some(_) => StepStatus::Error,
        };
        let earlier = if sent.tries > 0 || status == StepStatus::Unknown { call.begun } else { 0 };
        let result = ToolResult {
            message_id,
            result: value,
            error,
            attempts: earlier.saturating_add(sent.tries),
            latency_ms: now.ms_since(asked_at),
        };
        self.pending.events.push(events::ended(&call.asked, &result));
        let message = events::answered(&call.asked, &result, &round.iteration_id, now);
        self.pending.events.push(message);
        self.pending.usage.tool_calls += i32::from(status == StepStatus::Ok);
        let (row, bytes) = (json(&result), result.bytes());
        call.result = Some(result);
        self.finish(number(place), status, row);
        bytes
    }
}

fn outcome(sent: &Sent) -> &'static str {
    match sent.outcome.as_ref().err().map(|error| error.code.as_str()) {
        None => "ok",
        Some("outcome_unknown") => "unknown",
        Some(_) => "error",
    }
}

/// The number of a call in the journal.
fn number(place: Place) -> i32 {
    i32::try_from(place + 1).unwrap_or(i32::MAX)
}

/// What has ended besides, without waiting.
fn ready<T>(results: &mut (impl Stream<Item = T> + Unpin)) -> Vec<T> {
    std::iter::from_fn(|| results.next().now_or_never().flatten()).collect()
}
