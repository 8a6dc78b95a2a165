//! From a definition as a caller wrote it to one that is kept: every limit of the contract, each
//! mistake with its field. Called by `create.rs` and `update.rs`.

use serde_json::{Map, Value};

use crate::kernel::models::ModelTable;
use crate::kernel::schema::Schema;
use crate::kernel::spec::{
    AgentSpec, Delivery, Handler, ModelSettings, Parameter, ParameterType, SimFailure, SimModel,
    SimToolCall, SimTurn, Tool,
};
use crate::kernel::template::Templates;
use crate::kernel::{Error, Result, json, parameters, text};
use crate::proto::runplane::v1 as pb;

/// Default of `max_steps`.
const MAX_STEPS: i32 = 50;
/// Default of `timeout_seconds`.
const TIMEOUT_S: i32 = 3600;
/// Most bytes of a template.
const TEMPLATE_BYTES_MAX: usize = 65_536;

/// Names that a condition or a text of the scripted model may use.
const SIM_NAMES: [&str; 7] =
    ["turn", "input", "parameters", "tools", "last_tool", "result", "history"];

/// The definition to keep. Without a table of models any is taken.
pub(super) fn spec(agent: pb::Agent, models: Option<&ModelTable>) -> Result<AgentSpec> {
    chars("name", &agent.name, 1, 120)?;
    text::storable("name", &agent.name)?;
    chars("description", &agent.description, 0, 2000)?;
    bytes("instructions", &agent.instructions)?;
    let parameters = parameters_of(agent.parameters)?;
    let mut names: Vec<&str> = parameters.iter().map(|p: &Parameter| p.name.as_str()).collect();
    names.extend(["input", "parameters"]);
    let wrong = |message| Error::field("instructions", format!("instructions: {message}"));
    Templates::new().check(&agent.instructions, &names).map_err(wrong)?;
    let tools = tools(agent.tools)?;
    chars("model", &agent.model, 1, 200)?;
    models.map_or(Ok(()), |models| models.check(&agent.model))?;
    let sim = sim(agent.sim, &agent.model, &tools)?;
    Ok(AgentSpec {
        name: agent.name,
        description: agent.description,
        instructions: agent.instructions,
        model: agent.model,
        model_settings: settings(agent.model_settings.unwrap_or_default())?,
        sim,
        parameters,
        tools,
        max_steps: within("max_steps", agent.max_steps.unwrap_or(MAX_STEPS), 1, 200)?,
        timeout_seconds: within(
            "timeout_seconds",
            agent.timeout_seconds.unwrap_or(TIMEOUT_S),
            1,
            86_400,
        )?,
        metadata: metadata(agent.metadata)?,
    })
}

/// Labels within the limits of the contract.
fn metadata(labels: std::collections::BTreeMap<String, String>) -> Result<Map<String, Value>> {
    let labels = crate::kernel::labels::checked(labels)?;
    Ok(labels.into_iter().map(|(name, value)| (name, Value::String(value))).collect())
}

fn settings(settings: pb::ModelSettings) -> Result<ModelSettings> {
    let path = |name: &str| format!("model_settings.{name}");
    let out = |value: Option<f64>, right: fn(f64) -> bool| value.is_some_and(|v| !right(v));
    if out(settings.temperature, |t| (0.0..=2.0).contains(&t)) {
        let field = path("temperature");
        return Err(Error::field(&field, format!("{field} must be 0 to 2")));
    }
    if out(settings.top_p, |p| p > 0.0 && p <= 1.0) {
        let field = path("top_p");
        return Err(Error::field(&field, format!("{field} must be above 0 and at most 1")));
    }
    at_most(&path("stop_sequences"), settings.stop_sequences.len(), 4)?;
    for (i, stop) in settings.stop_sequences.iter().enumerate() {
        chars(&format!("model_settings.stop_sequences[{i}]"), stop, 1, 100)?;
    }
    let bound = |name: &str, value: Option<i32>, least, most| {
        value.map(|value| within(&path(name), value, least, most)).transpose()
    };
    Ok(ModelSettings {
        temperature: settings.temperature,
        top_p: settings.top_p,
        max_tokens: bound("max_tokens", settings.max_tokens, 1, 1_000_000)?,
        timeout_seconds: bound("timeout_seconds", settings.timeout_seconds, 1, 600)?,
        max_retries: bound("max_retries", settings.max_retries, 0, 10)?,
        stop_sequences: settings.stop_sequences,
        seed: settings.seed,
    })
}

fn parameters_of(declared: Vec<pb::Parameter>) -> Result<Vec<Parameter>> {
    at_most("parameters", declared.len(), 64)?;
    let mut kept = Vec::with_capacity(declared.len());
    for (i, parameter) in declared.into_iter().enumerate() {
        let path = format!("parameters[{i}]");
        chars(&format!("{path}.description"), &parameter.description, 0, 1000)?;
        at_most(&format!("{path}.options"), parameter.options.len(), 100)?;
        kept.push(Parameter {
            r#type: parameter_type(parameter.r#type, &path)?,
            name: parameter.name,
            required: parameter.required,
            default: parameter.default.map(json::from_value).filter(|value| !value.is_null()),
            options: parameter.options.into_iter().map(json::from_value).collect(),
            description: parameter.description,
            schema: parameter.schema.map(json::from_struct),
        });
    }
    parameters::check_declared(&kept)?;
    Ok(kept)
}

fn parameter_type(kind: i32, path: &str) -> Result<ParameterType> {
    let unknown = |_| Error::field(format!("{path}.type"), "is no type of a parameter");
    Ok(match pb::ParameterType::try_from(kind).map_err(unknown)? {
        pb::ParameterType::Unspecified => {
            return Err(Error::missing(format!("{path}.type")));
        }
        pb::ParameterType::String => ParameterType::String,
        pb::ParameterType::Number => ParameterType::Number,
        pb::ParameterType::Integer => ParameterType::Integer,
        pb::ParameterType::Boolean => ParameterType::Boolean,
        pb::ParameterType::Enum => ParameterType::Enum,
        pb::ParameterType::Object => ParameterType::Object,
        pb::ParameterType::Array => ParameterType::Array,
    })
}

fn tools(declared: Vec<pb::Tool>) -> Result<Vec<Tool>> {
    at_most("tools", declared.len(), 128)?;
    let mut kept: Vec<Tool> = Vec::with_capacity(declared.len());
    for (i, tool) in declared.into_iter().enumerate() {
        let path = format!("tools[{i}]");
        let name_path = format!("{path}.name");
        chars(&name_path, &tool.name, 1, 64)?;
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if !tool.name.chars().all(plain) {
            let message = format!("{name_path} may have letters, digits, _ and - only");
            return Err(Error::field(name_path, message));
        }
        if kept.iter().any(|other| other.name == tool.name) {
            let message = format!("{name_path} {} is there twice", tool.name);
            return Err(Error::field(name_path, message));
        }
        chars(&format!("{path}.description"), &tool.description, 0, 4000)?;
        let schema = tool.input_schema.map(json::from_struct);
        if let Some(schema) = &schema {
            let field = format!("{path}.input_schema");
            let wrong = |message| Error::field(&field, format!("{field}: {message}"));
            Schema::compile(schema).map_err(wrong)?;
        }
        let handler = handler(tool.handler, &path)?;
        let (name, description) = (tool.name, tool.description);
        kept.push(Tool { name, description, input_schema: schema, handler });
    }
    Ok(kept)
}

fn handler(handler: Option<pb::tool::Handler>, path: &str) -> Result<Handler> {
    let missing = || Error::missing(path).with("allowed", "http, client");
    match handler.ok_or_else(missing)? {
        pb::tool::Handler::Http(http) => {
            let path = |name: &str| format!("{path}.http.{name}");
            let timeout = http.timeout_seconds.unwrap_or(30);
            let retries = http.max_retries.unwrap_or(2);
            let delivery = match pb::Delivery::try_from(http.delivery) {
                Ok(pb::Delivery::AtMostOnce) => Delivery::AtMostOnce,
                Ok(_) => Delivery::AtLeastOnce,
                Err(_) => {
                    let message = "must be at_least_once or at_most_once";
                    return Err(Error::field(path("delivery"), message));
                }
            };
            Ok(Handler::Http {
                url: handler_url(&path("url"), http.url)?,
                timeout_seconds: within(&path("timeout_seconds"), timeout, 1, 300)?,
                max_retries: within(&path("max_retries"), retries, 0, 10)?,
                delivery,
            })
        }
        pb::tool::Handler::Client(client) => {
            let path = format!("{path}.client.deadline_seconds");
            let deadline = client.deadline_seconds.unwrap_or(600);
            Ok(Handler::Client { deadline_seconds: within(&path, deadline, 1, 86_400)? })
        }
    }
}

fn handler_url(path: &str, text: String) -> Result<String> {
    chars(path, &text, 1, 2048)?;
    let parsed = url::Url::parse(&text);
    let right = parsed.is_ok_and(|url| {
        matches!(url.scheme(), "http" | "https")
            && url.has_host()
            && url.username().is_empty()
            && url.password().is_none()
    });
    if right {
        return Ok(text);
    }
    Err(Error::field(path, format!("{path} must be an http or https URL without user or password")))
}

fn sim(sim: Option<pb::SimModel>, model: &str, tools: &[Tool]) -> Result<Option<SimModel>> {
    let sim = match (sim, model == "sim") {
        (None, false) => return Ok(None),
        (None, true) => return Err(Error::missing("sim")),
        (Some(_), false) => {
            let message = format!("sim is allowed with the model sim only, not with {model}");
            return Err(Error::field("sim", message));
        }
        (Some(sim), true) => sim,
    };
    at_most("sim.turns", sim.turns.len(), 64)?;
    if !(0.0..=10_000.0).contains(&sim.tokens_per_second) {
        let message = "sim.tokens_per_second must be 0 to 10000";
        return Err(Error::field("sim.tokens_per_second", message));
    }
    let turns = sim.turns.into_iter().enumerate();
    let turns = turns.map(|(i, turn)| sim_turn(turn, i, tools)).collect::<Result<_>>()?;
    Ok(Some(SimModel { turns, tokens_per_second: sim.tokens_per_second }))
}

fn sim_turn(turn: pb::SimTurn, i: usize, tools: &[Tool]) -> Result<SimTurn> {
    let path = format!("sim.turns[{i}]");
    bytes(&format!("{path}.text"), &turn.text)?;
    chars(&format!("{path}.when"), &turn.when, 0, 2000)?;
    let wrong = |part: &str, message: String| {
        let field = format!("{path}.{part}");
        Error::field(&field, format!("{field}: {message}"))
    };
    let templates = Templates::new();
    if !turn.when.is_empty() {
        templates.check_condition(&turn.when, &SIM_NAMES).map_err(|e| wrong("when", e))?;
    }
    templates.check(&turn.text, &SIM_NAMES).map_err(|e| wrong("text", e))?;
    at_most(&format!("{path}.tool_calls"), turn.tool_calls.len(), 16)?;
    let mut tool_calls = Vec::with_capacity(turn.tool_calls.len());
    for (j, call) in turn.tool_calls.into_iter().enumerate() {
        tool_calls.push(sim_call(call, &format!("{path}.tool_calls[{j}]"), tools)?);
    }
    let failure = turn.failure.map(|failure| sim_failure(failure, &path)).transpose()?;
    let delay_ms = within(&format!("{path}.delay_ms"), turn.delay_ms, 0, 60_000)?;
    Ok(SimTurn { when: turn.when, text: turn.text, tool_calls, delay_ms, failure })
}

fn sim_call(call: pb::SimToolCall, path: &str, tools: &[Tool]) -> Result<SimToolCall> {
    if !tools.iter().any(|tool| tool.name == call.name) {
        let field = format!("{path}.name");
        let message = format!("{field}: the agent has no tool {}", call.name);
        return Err(Error::field(field, message));
    }
    let arguments = Value::Object(call.arguments.map(json::from_struct).unwrap_or_default());
    let field = format!("{path}.arguments");
    let wrong = |message| Error::field(&field, format!("{field}: {message}"));
    Templates::new().check_json(&arguments, &SIM_NAMES).map_err(wrong)?;
    let Value::Object(arguments) = arguments else { return Err(Error::missing(&field)) };
    Ok(SimToolCall { name: call.name, arguments })
}

fn sim_failure(failure: pb::SimFailure, path: &str) -> Result<SimFailure> {
    let path = |name: &str| format!("{path}.failure.{name}");
    chars(&path("message"), &failure.message, 0, 1000)?;
    let status = within(&path("status"), failure.status, 400, 599)?;
    Ok(SimFailure {
        status: u16::try_from(status).unwrap_or(599),
        message: failure.message,
        times: within(&path("times"), failure.times, 0, i32::MAX)?,
    })
}

fn chars(field: &str, text: &str, least: usize, most: usize) -> Result<()> {
    let count = text.chars().count();
    if count == 0 && least > 0 {
        return Err(Error::missing(field));
    }
    if count > most {
        let message = format!("{field} has {count} characters, at most {most} are allowed");
        return Err(Error::field(field, message).with("limit", most.to_string()));
    }
    Ok(())
}

fn bytes(field: &str, text: &str) -> Result<()> {
    if text.len() <= TEMPLATE_BYTES_MAX {
        return Ok(());
    }
    let (have, most) = (text.len(), TEMPLATE_BYTES_MAX);
    let message = format!("{field} has {have} bytes, at most {most} are allowed");
    Err(Error::field(field, message).with("limit", most.to_string()))
}

fn at_most(field: &str, count: usize, most: usize) -> Result<()> {
    if count <= most {
        return Ok(());
    }
    let message = format!("{field} has {count} items, at most {most} are allowed");
    Err(Error::field(field, message).with("limit", most.to_string()))
}

fn within(field: &str, value: i32, least: i32, most: i32) -> Result<u32> {
    match u32::try_from(value) {
        Ok(whole) if (least..=most).contains(&value) => Ok(whole),
        _ => {
            let message = format!("{field} is {value}, must be {least} to {most}");
            Err(Error::field(field, message).with("limit", format!("{least} to {most}")))
        }
    }
}
