//! What a version of an agent says, as the store keeps it and the runtime reads it. Written by
//! `agents/convert.rs`, pinned by every run. Data only: the rules about it stand where it is
//! checked.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The definition of an agent at one version, defaults filled in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AgentSpec {
    /// Name.
    pub name: String,
    /// What the agent is for.
    #[serde(default)]
    pub description: String,
    /// Template of the system instructions.
    #[serde(default)]
    pub instructions: String,
    /// `provider/model`, a name from `[models]`, or `sim`.
    pub model: String,
    /// Settings of the model.
    #[serde(default)]
    pub model_settings: ModelSettings,
    /// Script of the model `sim`.
    #[serde(default)]
    pub sim: Option<SimModel>,
    /// Parameters that a run may give.
    #[serde(default)]
    pub parameters: Vec<Parameter>,
    /// Tools that the model may call.
    #[serde(default)]
    pub tools: Vec<Tool>,
    /// Most model calls in one run.
    pub max_steps: u32,
    /// Most seconds that one run may take.
    pub timeout_seconds: u32,
    /// Free labels.
    #[serde(default)]
    pub metadata: Map<String, Value>,
}

/// Settings of the model; `None` leaves it to the provider.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ModelSettings {
    /// Sampling temperature, 0 to 2.
    pub temperature: Option<f64>,
    /// Nucleus sampling mass, above 0 to 1.
    pub top_p: Option<f64>,
    /// Most tokens that one model call may generate.
    pub max_tokens: Option<u32>,
    /// Texts that end the generation.
    #[serde(default)]
    pub stop_sequences: Vec<String>,
    /// Seed.
    pub seed: Option<i32>,
    /// Most seconds of one model call. `None`: 120.
    pub timeout_seconds: Option<u32>,
    /// Most retries of one model call. `None`: 3.
    pub max_retries: Option<u32>,
}

/// Type of a parameter's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ParameterType {
    /// A text.
    String,
    /// Any number.
    Number,
    /// A number without a fraction.
    Integer,
    /// True or false.
    Boolean,
    /// One of the options.
    Enum,
    /// An object.
    Object,
    /// An array.
    Array,
}

/// A typed parameter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Parameter {
    /// Name.
    pub name: String,
    /// Type of the value.
    pub r#type: ParameterType,
    /// True when a run must give it.
    #[serde(default)]
    pub required: bool,
    /// Value when a run gives none.
    #[serde(default)]
    pub default: Option<Value>,
    /// Allowed values; empty: any.
    #[serde(default)]
    pub options: Vec<Value>,
    /// What it means.
    #[serde(default)]
    pub description: String,
    /// JSON Schema that the value must also satisfy.
    #[serde(default)]
    pub schema: Option<Map<String, Value>>,
}

/// How often a tool may be called for one request of the model.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Delivery {
    /// Sent again, with the same key, when a crash hid the outcome.
    #[default]
    AtLeastOnce,
    /// Never sent again.
    AtMostOnce,
}

/// A function that the model may call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tool {
    /// Name.
    pub name: String,
    /// What it does, for the model.
    #[serde(default)]
    pub description: String,
    /// JSON Schema of the arguments; `None`: any object.
    #[serde(default)]
    pub input_schema: Option<Map<String, Value>>,
    /// Who fulfils it.
    pub handler: Handler,
}

/// Who fulfils a tool.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Handler {
    /// A signed POST to a URL.
    Http {
        /// Handler URL.
        url: String,
        /// Most seconds of one attempt.
        timeout_seconds: u32,
        /// Most retries.
        max_retries: u32,
        /// How often it may be called for one request.
        #[serde(default)]
        delivery: Delivery,
    },
    /// The caller.
    Client {
        /// Seconds that the run waits for the output.
        deadline_seconds: u32,
    },
}

impl Handler {
    /// The word for it in JSON: `http` or `client`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Http { .. } => "http",
            Self::Client { .. } => "client",
        }
    }
}

/// A scripted model.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SimModel {
    /// What it does: each model call takes the first turn whose condition holds.
    pub turns: Vec<SimTurn>,
    /// Tokens a second; 0 streams without pause.
    #[serde(default)]
    pub tokens_per_second: f64,
}

/// One answer of the scripted model.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SimTurn {
    /// Condition; empty: `turn` equals the position.
    #[serde(default)]
    pub when: String,
    /// Template of the text.
    #[serde(default)]
    pub text: String,
    /// Tools to call after the text.
    #[serde(default)]
    pub tool_calls: Vec<SimToolCall>,
    /// Milliseconds before the first token.
    #[serde(default)]
    pub delay_ms: u32,
    /// A failure instead of an answer.
    #[serde(default)]
    pub failure: Option<SimFailure>,
}

/// A call that the scripted model makes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SimToolCall {
    /// Name of the tool.
    pub name: String,
    /// Arguments; strings in it are templates.
    #[serde(default)]
    pub arguments: Map<String, Value>,
}

/// A failure of the scripted model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SimFailure {
    /// HTTP status that the provider would have sent.
    pub status: u16,
    /// What it would have said.
    #[serde(default)]
    pub message: String,
    /// How many attempts fail; 0: all.
    #[serde(default)]
    pub times: u32,
}
