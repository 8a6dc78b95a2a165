//! Rows to messages, and back where a message becomes a row: the only file here that knows both.

use crate::kernel::call::Changed;
use crate::kernel::spec::{AgentSpec, Delivery, Handler, ParameterType, SimModel, Tool};
use crate::kernel::{Environment, Error, Result, Timestamp, ids, json};
use crate::proto::runplane::v1 as pb;
use crate::store::tables::{agent, agent_version};

/// What a change of an agent has come to.
pub(super) fn changed(row: agent::Model) -> Result<Changed<pb::Agent>> {
    let (id, spec) = (ids::format(ids::Kind::Agent, row.id), row.spec.clone());
    Changed::new(id, agent(row)?).after(&spec)
}

/// The message of an agent at its current version.
pub(super) fn agent(row: agent::Model) -> Result<pb::Agent> {
    Ok(pb::Agent {
        etag: Some(etag(&row)),
        id: agent_id(row.id),
        published: row.published,
        version: row.version,
        environment: environment(&row.environment).into(),
        created_at: Some(Timestamp(row.created_at).into()),
        updated_at: Some(Timestamp(row.updated_at).into()),
        ..definition(spec(&row.spec)?)
    })
}

/// The entity tag of an agent: another for every row that makes another message.
pub(super) fn etag(row: &agent::Model) -> String {
    let state = if row.published { 'p' } else { 'd' };
    format!("\"{}-{:x}{state}\"", row.version, row.updated_at)
}

/// The message of a version.
pub(super) fn version(row: agent_version::Model) -> Result<pb::AgentVersion> {
    let created_at = Some(Timestamp(row.created_at).into());
    let agent = pb::Agent {
        id: agent_id(row.agent_id),
        version: row.version,
        environment: environment(&row.environment).into(),
        created_at,
        updated_at: created_at,
        ..definition(spec(&row.spec)?)
    };
    Ok(pb::AgentVersion {
        object: "agent_version".to_owned(),
        agent_id: agent_id(row.agent_id),
        version: row.version,
        agent: Some(agent),
        created_at,
    })
}

/// A definition as it is kept.
pub(super) fn spec(text: &str) -> Result<AgentSpec> {
    serde_json::from_str(text).map_err(Error::internal)
}

/// The message of a definition, without what only the server knows of its agent.
pub(super) fn definition(spec: AgentSpec) -> pb::Agent {
    let whole = |n: u32| i32::try_from(n).unwrap_or(i32::MAX);
    pb::Agent {
        object: "agent".to_owned(),
        name: spec.name,
        description: spec.description,
        instructions: spec.instructions,
        model: spec.model,
        model_settings: Some(settings(spec.model_settings)),
        sim: spec.sim.map(sim),
        parameters: spec.parameters.into_iter().map(parameter).collect(),
        tools: spec.tools.into_iter().map(tool).collect(),
        max_steps: Some(whole(spec.max_steps)),
        timeout_seconds: Some(whole(spec.timeout_seconds)),
        metadata: spec
            .metadata
            .into_iter()
            .map(|(name, value)| (name, value.as_str().unwrap_or_default().to_owned()))
            .collect(),
        ..pb::Agent::default()
    }
}

fn environment(word: &str) -> pb::Environment {
    match Environment::parse(word) {
        Some(Environment::Test) => pb::Environment::Test,
        Some(Environment::Live) => pb::Environment::Live,
        None => pb::Environment::Unspecified,
    }
}

fn agent_id(id: uuid::Uuid) -> String {
    ids::format(ids::Kind::Agent, id)
}

fn settings(settings: crate::kernel::spec::ModelSettings) -> pb::ModelSettings {
    let whole = |n: Option<u32>| n.and_then(|n| i32::try_from(n).ok());
    pb::ModelSettings {
        temperature: settings.temperature,
        top_p: settings.top_p,
        max_tokens: whole(settings.max_tokens),
        stop_sequences: settings.stop_sequences,
        seed: settings.seed,
        timeout_seconds: whole(settings.timeout_seconds),
        max_retries: whole(settings.max_retries),
    }
}

fn sim(sim: SimModel) -> pb::SimModel {
    let turns = sim.turns.into_iter().map(|turn| pb::SimTurn {
        when: turn.when,
        text: turn.text,
        tool_calls: turn
            .tool_calls
            .into_iter()
            .map(|call| pb::SimToolCall {
                name: call.name,
                arguments: Some(json::to_struct(call.arguments)),
            })
            .collect(),
        delay_ms: i32::try_from(turn.delay_ms).unwrap_or(i32::MAX),
        failure: turn.failure.map(|failure| pb::SimFailure {
            status: i32::from(failure.status),
            message: failure.message,
            times: i32::try_from(failure.times).unwrap_or(i32::MAX),
        }),
    });
    pb::SimModel { turns: turns.collect(), tokens_per_second: sim.tokens_per_second }
}

fn parameter(parameter: crate::kernel::spec::Parameter) -> pb::Parameter {
    let kind = match parameter.r#type {
        ParameterType::String => pb::ParameterType::String,
        ParameterType::Number => pb::ParameterType::Number,
        ParameterType::Integer => pb::ParameterType::Integer,
        ParameterType::Boolean => pb::ParameterType::Boolean,
        ParameterType::Enum => pb::ParameterType::Enum,
        ParameterType::Object => pb::ParameterType::Object,
        ParameterType::Array => pb::ParameterType::Array,
    };
    pb::Parameter {
        name: parameter.name,
        r#type: kind.into(),
        required: parameter.required,
        default: parameter.default.map(json::to_value),
        options: parameter.options.into_iter().map(json::to_value).collect(),
        description: parameter.description,
        schema: parameter.schema.map(json::to_struct),
    }
}

fn tool(tool: Tool) -> pb::Tool {
    let whole = |n: u32| Some(i32::try_from(n).unwrap_or(i32::MAX));
    let (kind, handler) = match tool.handler {
        Handler::Http { url, timeout_seconds, max_retries, delivery } => {
            let delivery = match delivery {
                Delivery::AtLeastOnce => pb::Delivery::AtLeastOnce,
                Delivery::AtMostOnce => pb::Delivery::AtMostOnce,
            };
            let http = pb::HttpTool {
                url,
                timeout_seconds: whole(timeout_seconds),
                max_retries: whole(max_retries),
                delivery: delivery.into(),
            };
            (pb::ToolKind::Http, pb::tool::Handler::Http(http))
        }
        Handler::Client { deadline_seconds } => {
            let client = pb::ClientTool { deadline_seconds: whole(deadline_seconds) };
            (pb::ToolKind::Client, pb::tool::Handler::Client(client))
        }
    };
    pb::Tool {
        name: tool.name,
        description: tool.description,
        input_schema: tool.input_schema.map(json::to_struct),
        kind: kind.into(),
        handler: Some(handler),
    }
}
