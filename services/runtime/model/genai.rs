//! Models of providers: OpenAI and all that is compatible, Anthropic, Gemini, Ollama. Translates
//! our question and the crate's stream; endpoint and key go with every call, so nothing is read
//! from the environment.

use std::error::Error as StdError;
use std::time::Duration;

use futures::StreamExt;
use genai::adapter::AdapterKind;
use genai::chat::{
    ChatMessage, ChatOptions, ChatRequest, ChatStreamEvent, ContentPart, MessageContent,
    StopReason, StreamEnd, Tool as GenaiTool, ToolCall, ToolResponse,
};
use genai::resolver::{AuthData, Endpoint};
use genai::{Client, Error, ModelIden, ServiceTarget};
use http::{HeaderMap, HeaderValue};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use tracing::Span;

use super::{Answer, Failure, Question, RawCall, Said, Sink, Text};
use crate::kernel::Clock;
use crate::kernel::config::{ProviderConfig, ProviderKind};
use crate::kernel::spec::Tool;
use crate::kernel::telemetry::context;
use crate::runtime::record::{Asked, Finish, content};
use crate::runtime::retry;

/// Most characters of a provider's own words in an error.
const WORDS_CHARS_MAX: usize = 500;
/// What a model is told when the run has no input.
const NO_INPUT: &str = "Begin.";

/// A model of a provider.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target<'a> {
    pub(super) name: &'a str,
    pub(super) provider: &'a ProviderConfig,
    pub(super) model: &'a str,
}

/// Speaks to providers.
pub(crate) struct Providers {
    client: Client,
    clock: Clock,
    idle: Duration,
}

impl Providers {
    /// Speaks through this HTTP client; `idle` is the longest silence of a stream.
    pub(crate) fn new(
        http: reqwest::Client,
        clock: Clock,
        idle: Duration,
    ) -> Result<Self, genai::Error> {
        Ok(Self { client: Client::builder().with_reqwest(http).build()?, clock, idle })
    }

    /// Asks the model and passes its text on as it comes.
    pub(super) async fn answer(
        &self,
        target: &Target<'_>,
        question: &Question<'_>,
        sink: Sink<'_>,
    ) -> Result<Answer, Failure> {
        let options = traced(options(question).with_stream_read_timeout(self.idle));
        let request = request(&question.said, question.tools, target.provider.kind);
        let service = service(target);
        let failed = |error: &Error| self.failure(target, error);
        let opened = self.client.exec_chat_stream(service, request, Some(&options)).await;
        let mut stream = opened.map_err(|error| failed(&error))?.stream;
        let mut text = Text::default();
        while let Some(event) = stream.next().await {
            match event.map_err(|error| failed(&error))? {
                ChatStreamEvent::Chunk(chunk) => text.push(&chunk.content, &mut *sink)?,
                ChatStreamEvent::End(end) => return answer(target.name, text.0, end),
                _ => {}
            }
        }
        let message = format!("the provider {} ended its answer half way", target.name);
        Err(Failure::passing(message))
    }

    fn failure(&self, target: &Target<'_>, error: &Error) -> Failure {
        let name = target.name;
        let error = http_error(error).unwrap_or(error);
        if let Some(status) = error.status() {
            return Failure {
                message: refused(target, status.as_u16(), error),
                transient: retry::is_transient(status.as_u16()),
                retry_after: error.headers().and_then(|h| retry::asked(h, self.clock.now())),
            };
        }
        match error {
            Error::ChatResponse { body, .. } => {
                let words = words(target, &body.to_string());
                let message = format!("the provider {name} stopped half way: {words}");
                Failure { transient: may_pass(body), ..Failure::lasting(message) }
            }
            Error::StreamParse { .. } | Error::JsonValueExt(_) | Error::SerdeJson(_) => {
                Failure::passing(format!("the provider {name} answered what cannot be read"))
            }
            Error::WebStream { .. } | Error::WebModelCall { .. } => {
                Failure::passing(format!("the connection to the provider {name} broke"))
            }
            other => Failure::lasting(format!("the provider {name} was not asked: {other}")),
        }
    }
}

/// The error with a status that a stream's error may wrap.
fn http_error(error: &Error) -> Option<&Error> {
    match error {
        Error::WebStream { error, .. } => {
            let cause: &(dyn StdError + 'static) = error.as_ref();
            cause.downcast_ref::<Error>()
        }
        _ => None,
    }
}

fn refused(target: &Target<'_>, status: u16, error: &Error) -> String {
    let name = target.name;
    if matches!(status, 401 | 403) {
        return format!("the provider {name} refused the server's key ({status})");
    }
    let body = match error {
        Error::HttpError { body, .. } => body.as_str(),
        _ => "",
    };
    match words(target, body) {
        words if words.is_empty() => format!("the provider {name} answered {status}"),
        words => format!("the provider {name} answered {status}: {words}"),
    }
}

/// The provider's own words, without our key.
fn words(target: &Target<'_>, body: &str) -> String {
    let parsed: Option<Value> = serde_json::from_str(body).ok();
    let places = ["/error/message", "/message", "/error"];
    let found = parsed.as_ref().and_then(|v| places.iter().find_map(|p| v.pointer(p)?.as_str()));
    let mut words: String = found.unwrap_or(body).trim().chars().take(WORDS_CHARS_MAX).collect();
    if let Some(key) = target.provider.api_key.as_ref().map(ExposeSecret::expose_secret)
        && !key.is_empty()
    {
        words = words.replace(key, "***");
    }
    words
}

/// True when an error within a stream speaks of load, not of the question.
fn may_pass(body: &Value) -> bool {
    let error = body.get("error").unwrap_or(body);
    let kind = ["type", "code"].iter().find_map(|name| error.get(name)?.as_str());
    !kind.is_some_and(|kind| {
        ["invalid", "authentication", "permission", "not_found", "too_large", "billing"]
            .iter()
            .any(|word| kind.contains(word))
    })
}

fn service(target: &Target<'_>) -> ServiceTarget {
    let kind = target.provider.kind;
    let (adapter, default_url) = match kind {
        ProviderKind::Openai => (AdapterKind::OpenAI, "https://api.openai.com/v1/"),
        ProviderKind::Anthropic => (AdapterKind::Anthropic, "https://api.anthropic.com/v1/"),
        ProviderKind::Gemini => {
            (AdapterKind::Gemini, "https://generativelanguage.googleapis.com/v1beta/")
        }
        ProviderKind::Ollama => (AdapterKind::Ollama, "http://localhost:11434/"),
    };
    let mut url = target.provider.base_url.clone().unwrap_or_else(|| default_url.to_owned());
    if !url.ends_with('/') {
        url.push('/');
    }
    let key = target.provider.api_key.as_ref().map_or("none", ExposeSecret::expose_secret);
    ServiceTarget {
        endpoint: Endpoint::from_owned(url),
        auth: AuthData::from_single(key),
        model: ModelIden::new(adapter, target.model),
    }
}

fn options(question: &Question<'_>) -> ChatOptions {
    let settings = &question.settings;
    ChatOptions {
        temperature: settings.temperature,
        top_p: settings.top_p,
        max_tokens: settings.max_tokens,
        stop_sequences: settings.stop_sequences.clone(),
        seed: settings.seed.and_then(|seed| u64::try_from(seed).ok()),
        ..ChatOptions::default()
    }
    .with_capture_usage(true)
    .with_capture_tool_calls(true)
}

/// The same, telling the provider which trace it works for.
fn traced(options: ChatOptions) -> ChatOptions {
    let mut headers = HeaderMap::new();
    context::write(&Span::current(), &mut headers);
    if headers.is_empty() {
        return options;
    }
    let text = |value: &HeaderValue| value.to_str().unwrap_or_default().to_owned();
    let headers: Vec<_> =
        headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
    options.with_extra_headers(headers)
}

fn request(conversation: &[Said<'_>], tools: &[Tool], kind: ProviderKind) -> ChatRequest {
    let mut messages: Vec<ChatMessage> = Vec::new();
    let mut system = None;
    let mut responses: Vec<ToolResponse> = Vec::new();
    for said in conversation {
        if !matches!(said, Said::Tool(..)) && !responses.is_empty() {
            messages.push(ChatMessage::from(std::mem::take(&mut responses)));
        }
        match *said {
            Said::System(text) => system = Some(text),
            Said::User("") => messages.push(ChatMessage::user(NO_INPUT)),
            Said::User(text) => messages.push(ChatMessage::user(text)),
            Said::Assistant(text, calls) => messages.push(assistant(text, calls)),
            Said::Tool(asked, result) => {
                let content = content(&result.told());
                let response = ToolResponse::new(provider_id(asked), content);
                let response = response.with_fn_name(&asked.name);
                // Anthropic wants the answers to one message together, Ollama wants them apart.
                match kind {
                    ProviderKind::Ollama => messages.push(ChatMessage::from(response)),
                    _ => responses.push(response),
                }
            }
        }
    }
    if !responses.is_empty() {
        messages.push(ChatMessage::from(responses));
    }
    if !conversation.iter().any(|said| matches!(said, Said::User(_))) {
        messages.insert(0, ChatMessage::user(NO_INPUT));
    }
    let request = ChatRequest::new(messages);
    let request = match system {
        Some(system) if !system.is_empty() => request.with_system(system),
        _ => request,
    };
    match tools {
        [] => request,
        tools => request.with_tools(tools.iter().map(described)),
    }
}

fn assistant(text: &str, calls: &[Asked]) -> ChatMessage {
    let mut parts: Vec<ContentPart> = Vec::new();
    if !text.is_empty() || calls.is_empty() {
        parts.push(ContentPart::from_text(text));
    }
    parts.extend(calls.iter().map(|asked| {
        ContentPart::ToolCall(ToolCall {
            call_id: provider_id(asked).to_owned(),
            fn_name: asked.name.clone(),
            fn_arguments: Value::Object(asked.arguments.clone()),
            thought_signatures: (!asked.signatures.is_empty()).then(|| asked.signatures.clone()),
        })
    }));
    ChatMessage::assistant(MessageContent::from_parts(parts))
}

fn provider_id(asked: &Asked) -> &str {
    asked.provider_id.as_deref().unwrap_or(&asked.id)
}

fn described(tool: &Tool) -> GenaiTool {
    let schema = match &tool.input_schema {
        Some(schema) => Value::Object(schema.clone()),
        None => json!({"type": "object", "properties": {}}),
    };
    let described = GenaiTool::new(tool.name.as_str()).with_schema(schema);
    match tool.description.as_str() {
        "" => described,
        description => described.with_description(description),
    }
}

fn answer(provider: &str, text: String, mut end: StreamEnd) -> Result<Answer, Failure> {
    let usage = end.captured_usage.take().unwrap_or_default();
    let finish = match end.captured_stop_reason.take() {
        Some(StopReason::MaxTokens(_)) => Finish::Length,
        Some(StopReason::ContentFilter(reason)) => {
            let message = format!("the provider {provider} withheld the answer: {reason}");
            return Err(Failure::lasting(message));
        }
        _ => Finish::Done,
    };
    let calls = end.captured_into_tool_calls().unwrap_or_default();
    Ok(Answer {
        text,
        calls: calls.into_iter().map(raw).collect(),
        finish,
        input_tokens: usage.prompt_tokens.unwrap_or(0).max(0),
        output_tokens: usage.completion_tokens.unwrap_or(0).max(0),
    })
}

fn raw(call: ToolCall) -> RawCall {
    RawCall {
        provider_id: Some(call.call_id),
        name: call.fn_name,
        arguments: call.fn_arguments,
        signatures: call.thought_signatures.unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use genai::chat::ChatRole;

    use super::*;
    use crate::runtime::record::ToolResult;

    #[test]
    fn answers_of_tools_come_together_but_for_ollama() {
        let asked = |id: &str| Asked {
            id: format!("call_{id}"),
            name: "t".to_owned(),
            arguments: serde_json::Map::new(),
            problem: None,
            provider_id: Some(id.to_owned()),
            signatures: Vec::new(),
        };
        let result = ToolResult {
            message_id: "m".to_owned(),
            result: json!(1),
            error: None,
            attempts: 1,
            latency_ms: 0,
        };
        let calls = [asked("a"), asked("b")];
        let said = [
            Said::User("go"),
            Said::Assistant("", &calls),
            Said::Tool(&calls[0], &result),
            Said::Tool(&calls[1], &result),
            Said::Assistant("done", &[]),
        ];
        for (kind, messages, tools) in [
            (ProviderKind::Anthropic, 4, 1),
            (ProviderKind::Openai, 4, 1),
            (ProviderKind::Ollama, 5, 2),
        ] {
            let request = request(&said, &[], kind);
            assert_eq!(request.messages.len(), messages, "{kind:?}");
            let of_tools = request.messages.iter().filter(|m| m.role == ChatRole::Tool);
            let answers: Vec<usize> = of_tools.map(|m| m.content.tool_responses().len()).collect();
            assert_eq!((answers.len(), answers.iter().sum::<usize>()), (tools, 2), "{kind:?}");
        }
    }

    #[test]
    fn a_run_without_input_still_says_something() {
        let request = request(&[Said::System("Be brief.")], &[], ProviderKind::Openai);
        assert_eq!(request.messages.len(), 1);
        assert_eq!(request.system.as_deref(), Some("Be brief."));
    }

    #[test]
    fn only_errors_of_load_pass() {
        for (body, passes) in [
            (json!({"error": {"type": "overloaded_error"}}), true),
            (json!({"type": "server_error"}), true),
            (json!({"message": "what now"}), true),
            (json!({"error": {"type": "invalid_request_error"}}), false),
            (json!({"code": "model_not_found"}), false),
        ] {
            assert_eq!(may_pass(&body), passes, "{body}");
        }
    }
}
