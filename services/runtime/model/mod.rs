//! The seam to models: a question goes in, pieces of text come out as they are made, then the whole
//! answer. Two kinds are behind it, the scripted `sim` and the providers. Called by
//! `agent_loop/ask.rs`; never retries, never journals.

mod genai;
mod sim;

use std::time::Duration;

use serde_json::{Map, Value};

pub(crate) use self::genai::Providers;
use super::record::{Asked, Finish, ToolResult};
use crate::engine::attempt::Pinned;
use crate::kernel::Reread;
use crate::kernel::models::{ModelTable, Target};
use crate::kernel::spec::{ModelSettings, Tool};
use crate::kernel::template::Templates;

/// Most bytes of text in one answer.
const TEXT_BYTES_MAX: usize = 1 << 20;

/// One entry of the conversation.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Said<'a> {
    /// The instructions.
    System(&'a str),
    /// The input; empty when there is none.
    User(&'a str),
    /// An answer of the model.
    Assistant(&'a str, &'a [Asked]),
    /// What came of a call.
    Tool(&'a Asked, &'a ToolResult),
}

/// What a model is asked.
#[derive(Debug)]
pub(crate) struct Question<'a> {
    /// The conversation, oldest first.
    pub(crate) said: Vec<Said<'a>>,
    /// How much of it was said in earlier runs, after the instructions.
    pub(crate) earlier: usize,
    /// Tools that it may ask for.
    pub(crate) tools: &'a [Tool],
    /// Settings, those of the run included.
    pub(crate) settings: ModelSettings,
    /// The run.
    pub(crate) run: &'a Pinned,
    /// Model calls answered before this one.
    pub(crate) turn: usize,
    /// Which try of this call it is, from 0.
    pub(crate) tries: u32,
}

/// A tool call as a model gave it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RawCall {
    /// The provider's id.
    pub(crate) provider_id: Option<String>,
    /// Name of the tool.
    pub(crate) name: String,
    /// Arguments: an object, or a text that could not be read as one.
    pub(crate) arguments: Value,
    /// The provider's signatures.
    pub(crate) signatures: Vec<String>,
}

/// What a model answered.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Answer {
    /// The whole text.
    pub(crate) text: String,
    /// Tools that it asks for.
    pub(crate) calls: Vec<RawCall>,
    /// Why it stopped.
    pub(crate) finish: Finish,
    /// Tokens read.
    pub(crate) input_tokens: i32,
    /// Tokens written.
    pub(crate) output_tokens: i32,
}

/// Whom a question goes to, as traces and metrics name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Spoken {
    /// Kind of the provider.
    pub(crate) provider: &'static str,
    /// Model, in the provider's words.
    pub(crate) model: String,
}

/// Why it stopped, in the words of the GenAI conventions.
pub(crate) fn finish_reason(answer: &Answer) -> &'static str {
    match answer.finish {
        Finish::Length => "length",
        Finish::Done if answer.calls.is_empty() => "stop",
        Finish::Done => "tool_calls",
    }
}

/// Why a model did not answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// What happened, for people.
    pub(crate) message: String,
    /// True when another try may succeed.
    pub(crate) transient: bool,
    /// What the provider asked us to wait.
    pub(crate) retry_after: Option<Duration>,
}

impl Failure {
    /// A failure that stays.
    pub(crate) fn lasting(message: impl Into<String>) -> Self {
        Self { message: message.into(), transient: false, retry_after: None }
    }

    /// A failure that may pass.
    pub(crate) fn passing(message: impl Into<String>) -> Self {
        Self { message: message.into(), transient: true, retry_after: None }
    }
}

/// Where pieces of text go as they come.
pub(crate) type Sink<'a> = &'a mut (dyn FnMut(&str) + Send);

/// All models that an agent may name.
pub(crate) struct Models {
    table: Reread<ModelTable>,
    templates: Templates,
    providers: Providers,
}

impl Models {
    /// The models of the table.
    pub(crate) fn new(
        table: Reread<ModelTable>,
        templates: Templates,
        providers: Providers,
    ) -> Self {
        Self { table, templates, providers }
    }

    /// Whom the name of a model stands for.
    pub(crate) fn spoken(&self, name: &str) -> Spoken {
        let (provider, model) = match self.table.get().resolve(name) {
            Ok(Target::Provider { provider, model, .. }) => {
                (provider.kind.as_str(), model.to_owned())
            }
            Ok(Target::Sim) => ("sim", name.to_owned()),
            Err(_) => ("unknown", name.to_owned()),
        };
        Spoken { provider, model }
    }

    /// Asks the model that the run's agent names.
    pub(crate) async fn answer(
        &self,
        question: &Question<'_>,
        sink: Sink<'_>,
    ) -> Result<Answer, Failure> {
        let table = self.table.get();
        let target = table.resolve(&question.run.spec.model);
        match target.map_err(|error| Failure::lasting(error.message))? {
            Target::Sim => sim::answer(&self.templates, question, sink).await,
            Target::Provider { name, provider, model } => {
                let target = genai::Target { name, provider, model };
                self.providers.answer(&target, question, sink).await
            }
        }
    }
}

/// The text so far, kept within its bound.
#[derive(Debug, Default)]
struct Text(String);

impl Text {
    fn push(&mut self, piece: &str, sink: Sink<'_>) -> Result<(), Failure> {
        if self.0.len() + piece.len() > TEXT_BYTES_MAX {
            let message = format!("the model wrote more than {TEXT_BYTES_MAX} bytes");
            return Err(Failure::lasting(message));
        }
        self.0.push_str(piece);
        sink(piece);
        Ok(())
    }
}

/// The settings of a run: the agent's, changed by the reserved parameters.
pub(crate) fn settings(agent: &ModelSettings, parameters: &Map<String, Value>) -> ModelSettings {
    let number = |name: &str| parameters.get(name).and_then(Value::as_f64);
    let tokens = parameters.get("max_tokens").and_then(Value::as_u64);
    ModelSettings {
        temperature: number("temperature").or(agent.temperature),
        top_p: number("top_p").or(agent.top_p),
        max_tokens: tokens.and_then(|n| u32::try_from(n).ok()).or(agent.max_tokens),
        ..agent.clone()
    }
}
