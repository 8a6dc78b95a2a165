//! The agent loop: model call, tool calls, and again, until the model asks for nothing more. Where
//! it stands is a fold of the journal (`thread.rs`); every intent is committed before its effect,
//! and each commit carries all that is ready.

mod ask;
mod tools;

use std::future::Future;
use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep_until};

use super::SigningSecret;
use super::egress::Egress;
use super::model::{Models, Said};
use super::past::{Past, past};
use super::record::content;
use super::thread::{Next, Thread};
use super::tool::Tools;
use crate::engine::attempt::{Attempt, Commit, Outcome, Pinned};
use crate::kernel::ids::{self, Kind};
use crate::kernel::parameters::RESERVED;
use crate::kernel::telemetry::Meters;
use crate::kernel::template::{Names, Templates};
use crate::kernel::{Clock, Timestamp};

/// What all runs share.
pub(super) struct Shared {
    pub(super) models: Models,
    pub(super) templates: Templates,
    pub(super) egress: Egress,
    pub(super) clock: Clock,
    pub(super) signing_secret: SigningSecret,
    pub(super) retry_base: Duration,
    pub(super) capture_content: bool,
    pub(super) meters: Meters,
}

/// Goes on, or ends the claim.
type Flow<T> = Result<T, Box<Outcome>>;

/// One claim of one run, as far as it got.
struct Claim<'a> {
    shared: &'a Shared,
    attempt: &'a Attempt,
    tools: Tools<'a>,
    /// What was said in earlier runs of the conversation.
    earlier: Vec<Past>,
    thread: Thread,
    system: String,
    user: String,
    /// Bytes of its messages and tool results.
    bytes: usize,
    /// What is ready for the next commit.
    pending: Commit,
    deadline: Instant,
}

/// Drives a run from where its journal stands to its end, to a wait, or to the end of the claim.
pub(super) async fn drive(shared: &Shared, attempt: &Attempt) -> Outcome {
    let claim = Claim::begin(shared, attempt);
    let end = match claim {
        Ok(mut claim) => claim.run().await,
        Err(end) => Err(end),
    };
    match end {
        Ok(outcome) => outcome,
        Err(outcome) => *outcome,
    }
}

impl<'a> Claim<'a> {
    fn begin(shared: &'a Shared, attempt: &'a Attempt) -> Flow<Self> {
        let run = &attempt.run;
        let thread = Thread::fold(&attempt.history).map_err(|why| {
            tracing::error!(run = %run.run_id, why, "the journal cannot be read");
            failed("internal_error", "the journal of the run cannot be read")
        })?;
        let left = run.deadline.0.saturating_sub(shared.clock.now().0);
        let left = Duration::from_micros(u64::try_from(left).unwrap_or(0));
        let system = instructions(&shared.templates, run)
            .map_err(|why| failed("invalid_instructions", &format!("instructions: {why}")))?;
        let user = input(run);
        let bytes = system.len() + user.len() + thread.bytes();
        Ok(Self {
            shared,
            attempt,
            tools: Tools::new(&run.spec.tools),
            earlier: past(&run.earlier),
            thread,
            system,
            user,
            bytes,
            pending: Commit::default(),
            deadline: Instant::now() + left,
        })
    }

    async fn run(&mut self) -> Flow<Outcome> {
        loop {
            if self.attempt.cancel.is_cancelled() {
                return Ok(Outcome::Cancelled(Vec::new()));
            }
            if Instant::now() >= self.deadline {
                return Err(self.incomplete("timeout"));
            }
            match self.thread.next() {
                Next::Begin | Next::Model | Next::Round => self.ask().await?,
                Next::Tools => self.use_tools().await?,
                Next::Over => {
                    let result = self.thread.last_reply().unwrap_or_default();
                    let result = Value::String(result.to_owned());
                    return Ok(Outcome::Completed(std::mem::take(&mut self.pending), result));
                }
            }
        }
    }

    /// Commits what is ready, if anything is.
    async fn commit(&mut self) -> Flow<()> {
        let commit = std::mem::take(&mut self.pending);
        if commit.finished.is_empty() && commit.events.is_empty() && commit.intents.is_empty() {
            return Ok(());
        }
        let committed = self.attempt.journal.commit(commit).await;
        committed.map_err(|_| Box::new(Outcome::Stopped))
    }

    /// Waits for an effect, unless the run is cancelled or its time is over first: then the effect
    /// is dropped.
    async fn effect<T>(&self, in_flight: &[String], effect: impl Future<Output = T>) -> Flow<T> {
        tokio::select! {
            biased;
            () = self.attempt.cancel.cancelled() => {
                Err(Box::new(Outcome::Cancelled(in_flight.to_vec())))
            }
            value = effect => Ok(value),
            () = sleep_until(self.deadline) => {
                let text = self.thread.last_text().map(|text| Value::String(text.to_owned()));
                Err(Box::new(Outcome::Incomplete(Commit::default(), "timeout", text)))
            }
        }
    }

    fn incomplete(&mut self, reason: &'static str) -> Box<Outcome> {
        let text = self.thread.last_text().map(|text| Value::String(text.to_owned()));
        Box::new(Outcome::Incomplete(std::mem::take(&mut self.pending), reason, text))
    }

    /// Adds what was said; ends the run when that is too much, but only after it is kept.
    fn grow(&mut self, bytes: usize) -> Flow<()> {
        self.bytes += bytes;
        match self.bytes > self.attempt.run.bytes_max {
            true => Err(self.incomplete("max_bytes")),
            false => Ok(()),
        }
    }

    fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }

    fn message_id(&self) -> String {
        ids::format(Kind::Step, ids::fresh(self.now()))
    }

    /// The conversation so far.
    fn said(&self) -> Vec<Said<'_>> {
        let mut said = Vec::new();
        if !self.system.is_empty() {
            said.push(Said::System(&self.system));
        }
        said.extend(self.earlier.iter().map(Past::said));
        // After an earlier answer somebody must speak, if only to say that it goes on.
        if !self.user.is_empty() || !self.earlier.is_empty() {
            said.push(Said::User(&self.user));
        }
        for round in &self.thread.rounds {
            let Some(reply) = &round.reply else { continue };
            said.push(Said::Assistant(&reply.text, &reply.calls));
            let done = |call: &'_ super::thread::Call| call.result.is_some();
            for call in round.calls.iter().filter(|call| done(call)) {
                if let Some(result) = &call.result {
                    said.push(Said::Tool(&call.asked, result));
                }
            }
        }
        said
    }
}

fn failed(code: &str, message: &str) -> Box<Outcome> {
    Box::new(Outcome::Failed(Commit::default(), code.to_owned(), message.to_owned()))
}

/// The system message: the agent's instructions over the run's parameters and input. A parameter
/// called `input` hides the input.
fn instructions(templates: &Templates, run: &Pinned) -> Result<String, String> {
    let source = &run.spec.instructions;
    if !source.contains('{') {
        return Ok(source.clone());
    }
    let mut names = serde_json::Map::new();
    names.insert("input".to_owned(), run.input.clone());
    names.insert("parameters".to_owned(), Value::Object(run.parameters.clone()));
    names.extend(run.parameters.clone());
    templates.render(source, &Names::of(&names))
}

/// The user message: the input, or else the parameters, as text or compact JSON. May be empty.
fn input(run: &Pinned) -> String {
    if !run.input.is_null() {
        return content(&run.input);
    }
    let mut parameters = run.parameters.clone();
    parameters.retain(|name, value| !RESERVED.contains(&name.as_str()) && !value.is_null());
    if parameters.is_empty() { String::new() } else { Value::Object(parameters).to_string() }
}
