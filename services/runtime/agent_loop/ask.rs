//! The model call of a round: intent, answer with retries, and the answer, made ready for the
//! commit together with the events of the tool calls that it asks for.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use tracing::Instrument;

use super::{Claim, Flow};
use crate::engine::attempt::{Finished, Intent, Outcome, StepKind, StepStatus, Usage};
use crate::kernel::ids::{self, Kind};
use crate::runtime::events;
use crate::runtime::model::{Answer, Failure, Question, settings};
use crate::runtime::record::{Asked, Finish, ModelRequest, ModelResult};
use crate::runtime::retry;
use crate::runtime::thread::{Next, Round};
use crate::runtime::tool::asked;
use crate::runtime::traced;

/// Most tool calls of one message.
const CALLS_MAX: usize = 128;
const TIMEOUT_SECONDS: u32 = 120;
const RETRIES: u32 = 3;

impl Claim<'_> {
    /// Asks the model for the next message and makes it ready to commit.
    pub(super) async fn ask(&mut self) -> Flow<()> {
        if self.spent() {
            return Err(self.incomplete("max_steps"));
        }
        let message_id = self.intend_model();
        self.commit().await?;
        let begun = Instant::now();
        let answer = self.effect(&[], self.answer(message_id)).await?;
        let outcome = if answer.is_ok() { "ok" } else { "error" };
        self.shared.meters.stepped("llm", outcome, begun.elapsed());
        match answer {
            Ok((message_id, answer)) => self.take_answer(message_id, answer),
            Err(failure) => Err(self.model_error(failure.message)),
        }
    }

    fn spent(&self) -> bool {
        self.thread.replies() >= usize::try_from(self.attempt.run.spec.max_steps).unwrap_or(50)
    }

    /// Makes the intent ready: of the round that waits for its model, or of a new one.
    fn intend_model(&mut self) -> String {
        let next = self.thread.next();
        let message_id = self.message_id();
        if next != Next::Model {
            self.thread.rounds.push(Round::new(message_id.clone(), None));
        }
        let iteration_id =
            self.thread.rounds.last().map_or_else(String::new, |r| r.iteration_id.clone());
        if next == Next::Begin {
            self.open(&iteration_id);
        }
        let request = ModelRequest { message_id: message_id.clone(), iteration_id };
        self.pending.intents.push(Intent {
            step: self.step(),
            call: 0,
            kind: StepKind::Llm,
            request: json(&request),
        });
        message_id
    }

    /// The messages before the first answer. They are written with the first intent, so never
    /// twice.
    fn open(&mut self, iteration_id: &str) {
        let at = self.now();
        for (role, text) in [("system", &self.system), ("user", &self.user)] {
            if text.is_empty() {
                continue;
            }
            let id = self.message_id();
            self.pending.events.push(events::said(role, text, (&id, iteration_id), at));
        }
    }

    /// The answer and the id of its message. Text that was shown of a try that failed is void: the
    /// next try has an id of its own, and its text begins at 0.
    async fn answer(&self, first_id: String) -> Result<(String, Answer), Failure> {
        let run = &self.attempt.run;
        let settings = settings(&run.spec.model_settings, &run.parameters);
        let limit = settings.timeout_seconds.unwrap_or(TIMEOUT_SECONDS);
        let retries = settings.max_retries.unwrap_or(RETRIES);
        let turn = self.thread.replies();
        let (said, earlier, tools) = (self.said(), self.earlier.len(), &*run.spec.tools);
        let mut question = Question { said, earlier, tools, settings, run, turn, tries: 0 };
        let (to, captures) =
            (self.shared.models.spoken(&run.spec.model), self.shared.capture_content);
        let mut message_id = first_id;
        loop {
            let mut shown = 0;
            let mut sink = |piece: &str| {
                self.attempt.journal.token(&message_id, shown, piece);
                shown += piece.len();
            };
            let (span, begun) = (traced::chat(&question, &to, captures), Instant::now());
            let answer = self.shared.models.answer(&question, &mut sink).instrument(span.clone());
            let answered = timeout(Duration::from_secs(limit.into()), answer).await;
            let (came, time) = (answered.as_ref().ok(), begun.elapsed());
            traced::chatted((&span, &to), came, time, (&self.shared.meters, captures));
            drop(span);
            let failure = match answered {
                Ok(Ok(answer)) => return Ok((message_id, answer)),
                Ok(Err(failure)) => failure,
                Err(_) => Failure::lasting(format!("the model gave no answer in {limit} seconds")),
            };
            if !failure.transient || question.tries >= retries {
                return Err(counted(failure, question.tries + 1));
            }
            if shown > 0 {
                message_id = self.message_id();
            }
            let delay = retry::delay(question.tries, self.shared.retry_base, failure.retry_after);
            question.tries += 1;
            sleep(delay).await;
        }
    }

    fn take_answer(&mut self, message_id: String, answer: Answer) -> Flow<()> {
        let now = self.now();
        if answer.calls.len() > CALLS_MAX {
            let asked = answer.calls.len();
            let message = format!("the model asked for {asked} tools at once, at most {CALLS_MAX}");
            return Err(self.model_error(message));
        }
        let usage = Usage {
            input_tokens: answer.input_tokens,
            output_tokens: answer.output_tokens,
            model_calls: 1,
            tool_calls: 0,
        };
        let id = || ids::format(Kind::Call, ids::fresh(now));
        let calls: Vec<Asked> = answer.calls.into_iter().map(|raw| asked(id(), raw)).collect();
        let reply = ModelResult {
            message_id,
            text: answer.text,
            calls,
            finish: answer.finish,
            usage,
            answered_at: now,
        };
        self.finish(0, StepStatus::Ok, json(&reply));
        add(&mut self.pending.usage, usage);
        let (finish, asks, bytes) = (reply.finish, !reply.calls.is_empty(), reply.bytes());
        if let Some(round) = self.thread.rounds.last_mut() {
            self.pending.events.push(events::replied(&reply, &round.iteration_id, now));
            round.answered(reply);
        }
        match finish {
            Finish::Length => Err(self.incomplete("max_tokens")),
            Finish::Done if asks && self.spent() => Err(self.incomplete("max_steps")),
            // The last word is the output, whatever its size.
            Finish::Done if !asks => Ok(()),
            Finish::Done => {
                self.grow(bytes)?;
                self.announce();
                Ok(())
            }
        }
    }

    /// Makes ready the events of the tool calls that the last answer asks for.
    fn announce(&mut self) {
        let Some(round) = self.thread.rounds.last() else { return };
        let Some(reply) = &round.reply else { return };
        let requested = round.calls.iter().map(|call| {
            let kind = self.tools.find(&call.asked.name).map(|tool| tool.handler.kind());
            events::requested(&self.request(&call.asked), kind, &reply.message_id)
        });
        let requested: Vec<_> = requested.collect();
        self.pending.events.extend(requested);
    }

    /// The model gave no answer: the end of the run.
    fn model_error(&mut self, message: String) -> Box<Outcome> {
        self.finish(0, StepStatus::Error, serde_json::json!({ "error": message }));
        let commit = std::mem::take(&mut self.pending);
        Box::new(Outcome::Failed(commit, "model_error".to_owned(), message))
    }

    /// Makes the end of a step of the last round ready.
    pub(super) fn finish(&mut self, call: i32, status: StepStatus, result: serde_json::Value) {
        let step = self.step();
        self.pending.finished.push(Finished { step, call, status, result });
    }

    /// The number of the last round.
    pub(super) fn step(&self) -> i32 {
        i32::try_from(self.thread.rounds.len().saturating_sub(1)).unwrap_or(i32::MAX)
    }
}

fn counted(mut failure: Failure, tries: u32) -> Failure {
    if tries > 1 {
        failure.message = format!("{} (tried {tries} times)", failure.message);
    }
    failure
}

fn add(sum: &mut Usage, more: Usage) {
    sum.input_tokens = sum.input_tokens.saturating_add(more.input_tokens);
    sum.output_tokens = sum.output_tokens.saturating_add(more.output_tokens);
    sum.model_calls = sum.model_calls.saturating_add(more.model_calls);
    sum.tool_calls = sum.tool_calls.saturating_add(more.tool_calls);
}

/// Our own records always have a JSON form.
pub(super) fn json(record: &impl serde::Serialize) -> serde_json::Value {
    serde_json::to_value(record).unwrap_or_default()
}
