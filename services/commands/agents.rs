//! `runplane agents`: the agents of a server. Definitions are read from YAML or JSON files, in the
//! words of the contract.

use clap::{Args, Subcommand};
use prost_types::FieldMask;

use super::exit::Outcome;
use super::input;
use super::ordered::Ordered;
use super::output;
use super::pages::Pages;
use super::remote::{Remote, RemoteArgs, fresh};
use super::runs::{self, Input};
use super::table;
use crate::proto::codec::mask_paths;
use crate::proto::runplane::v1 as pb;
use pb::agents_service_client::AgentsServiceClient as Client;

/// What `agents` takes.
#[derive(Debug, Args)]
pub(super) struct AgentsArgs {
    #[command(flatten)]
    pub(super) remote: RemoteArgs,
    #[command(subcommand)]
    command: Agents,
}

#[derive(Debug, Subcommand)]
enum Agents {
    /// Lists agents, newest first.
    List {
        #[command(flatten)]
        pages: Pages,
        /// Only those with this label; more than once: with all of them.
        #[arg(long, value_name = "NAME=VALUE", value_parser = input::pair)]
        metadata: Vec<(String, String)>,
        /// Only those that are published, or are not.
        #[arg(long)]
        published: Option<bool>,
    },
    /// Shows an agent, as YAML that `create` and `update` read.
    Get {
        /// Id of the agent.
        id: String,
        /// One of its versions, as it was.
        #[arg(long)]
        version: Option<i32>,
    },
    /// Creates an agent.
    Create {
        /// Definition in YAML or JSON; `-` reads the standard input.
        #[arg(short, long)]
        file: String,
        /// Publishes it too.
        #[arg(long)]
        publish: bool,
    },
    /// Changes the fields that a file names, and no others.
    Update {
        /// Id of the agent.
        id: String,
        /// Fields to change, in YAML or JSON; `-` reads the standard input.
        #[arg(short, long)]
        file: String,
        /// Entity tag that the agent must still have, as `get` shows it.
        #[arg(long, value_name = "ETAG")]
        if_match: Option<String>,
    },
    /// Deletes an agent. Its runs stay.
    Delete {
        /// Id of the agent.
        id: String,
        /// Entity tag that the agent must still have.
        #[arg(long, value_name = "ETAG")]
        if_match: Option<String>,
    },
    /// Lets keys with the scope `run` see and invoke an agent.
    Publish {
        /// Id of the agent.
        id: String,
    },
    /// Takes an agent back from keys with the scope `run`.
    Unpublish {
        /// Id of the agent.
        id: String,
    },
    /// Lists the versions of an agent, newest first.
    Versions {
        /// Id of the agent.
        id: String,
        #[command(flatten)]
        pages: Pages,
    },
    /// Runs an agent and waits for the end: prints the output, or the whole run with --json.
    Invoke {
        /// Id of the agent.
        id: String,
        #[command(flatten)]
        input: Input,
    },
}

pub(super) async fn run(args: AgentsArgs) -> Outcome<()> {
    let remote = args.remote.connect()?;
    match args.command {
        Agents::List { pages, metadata, published } => {
            list(&remote, pages, metadata, published).await
        }
        Agents::Get { id, version } => get(&remote, id, version).await,
        Agents::Create { file, publish } => create(&remote, &file, publish).await,
        Agents::Update { id, file, if_match } => update(&remote, id, &file, if_match).await,
        Agents::Delete { id, if_match } => delete(&remote, id, if_match).await,
        Agents::Publish { id } => output::message(remote.form, &set(&remote, &id, true).await?),
        Agents::Unpublish { id } => output::message(remote.form, &set(&remote, &id, false).await?),
        Agents::Versions { id, pages } => versions(&remote, id, pages).await,
        Agents::Invoke { id, input } => invoke(&remote, id, input).await,
    }
}

/// The client of a channel, which takes large answers.
fn client(channel: tonic::transport::Channel) -> Client<tonic::transport::Channel> {
    Client::new(channel).max_decoding_message_size(super::remote::ANSWER_BYTES_MAX)
}

async fn list(
    remote: &Remote,
    pages: Pages,
    metadata: Vec<(String, String)>,
    published: Option<bool>,
) -> Outcome<()> {
    let metadata: Vec<_> = metadata.iter().map(|(name, v)| format!("{name}:{v}")).collect();
    let request = pb::ListAgentsRequest { metadata, published, ..Default::default() };
    let fetch = |limit, cursor| page(remote, request.clone(), limit, cursor);
    let row = |agent: pb::Agent| {
        let (version, published) = (agent.version.to_string(), agent.published.to_string());
        let updated = table::at(agent.updated_at);
        Ok([agent.id, agent.name, agent.model, version, published, updated])
    };
    let headings = ["ID", "NAME", "MODEL", "VERSION", "PUBLISHED", "UPDATED"];
    pages.show(remote.form, headings, fetch, row).await
}

/// A page of agents, and where the next begins.
pub(super) async fn page(
    remote: &Remote,
    request: pb::ListAgentsRequest,
    limit: i32,
    cursor: String,
) -> Outcome<(Vec<pb::Agent>, Option<String>)> {
    let request = pb::ListAgentsRequest { limit: Some(limit), cursor, ..request };
    let call = |c, r| async { client(c).list_agents(r).await };
    let page = remote.call(request, call).await?;
    Ok((page.data, page.next_cursor))
}

async fn get(remote: &Remote, id: String, version: Option<i32>) -> Outcome<()> {
    if let Some(version) = version {
        let request = pb::GetAgentVersionRequest { agent_id: id, version };
        let call = |c, r| async { client(c).get_agent_version(r).await };
        return output::message(remote.form, &remote.call(request, call).await?);
    }
    let call = |c, r| async { client(c).get_agent(r).await };
    output::message(remote.form, &remote.call(pb::GetAgentRequest { id }, call).await?)
}

async fn create(remote: &Remote, file: &str, publish: bool) -> Outcome<()> {
    let agent = input::message(&definition(input::document(file)?), file)?;
    let mut agent = made(remote, agent).await?;
    if publish {
        agent = set(remote, &agent.id, true).await?;
    }
    output::message(remote.form, &agent)
}

/// A definition, also one within a document of `export`.
fn definition(document: Ordered) -> Ordered {
    document.get("agent").cloned().unwrap_or(document)
}

/// Creates an agent.
pub(super) async fn made(remote: &Remote, agent: pb::Agent) -> Outcome<pb::Agent> {
    let request = pb::CreateAgentRequest { agent: Some(agent) };
    remote.call(request, |c, r| async { client(c).create_agent(r).await }).await
}

async fn update(remote: &Remote, id: String, file: &str, if_match: Option<String>) -> Outcome<()> {
    let document = definition(input::document(file)?);
    let agent = input::message::<pb::Agent>(&document, file)?;
    let paths = mask_paths::<pb::Agent>(document.json().as_bytes());
    let paths = paths.map_err(|error| format!("{file}: {error}"))?;
    let changed = changed(remote, (id, agent), paths, if_match).await?;
    output::message(remote.form, &changed)
}

/// Changes the fields of these paths.
pub(super) async fn changed(
    remote: &Remote,
    (id, agent): (String, pb::Agent),
    paths: Vec<String>,
    if_match: Option<String>,
) -> Outcome<pb::Agent> {
    let request = pb::UpdateAgentRequest {
        id,
        agent: Some(agent),
        update_mask: Some(FieldMask { paths }),
        if_match: if_match.into_iter().collect(),
        ..Default::default()
    };
    remote.call(request, |c, r| async { client(c).update_agent(r).await }).await
}

async fn delete(remote: &Remote, id: String, if_match: Option<String>) -> Outcome<()> {
    let request = pb::DeleteAgentRequest { id, if_match: if_match.into_iter().collect() };
    remote.call(request, |c, r| async { client(c).delete_agent(r).await }).await
}

/// Publishes an agent, or takes it back.
pub(super) async fn set(remote: &Remote, id: &str, published: bool) -> Outcome<pb::Agent> {
    let id = id.to_owned();
    if published {
        let call = |c, r| async { client(c).publish_agent(r).await };
        return remote.call(pb::PublishAgentRequest { id }, call).await;
    }
    let call = |c, r| async { client(c).unpublish_agent(r).await };
    remote.call(pb::UnpublishAgentRequest { id }, call).await
}

async fn versions(remote: &Remote, id: String, pages: Pages) -> Outcome<()> {
    let fetch = |limit, cursor| {
        let agent_id = id.clone();
        async move {
            let limit = Some(limit);
            let request =
                pb::ListAgentVersionsRequest { agent_id, limit, cursor, ..Default::default() };
            let call = |c, r| async { client(c).list_agent_versions(r).await };
            let page = remote.call(request, call).await?;
            Ok((page.data, page.next_cursor))
        }
    };
    let row = |version: pb::AgentVersion| {
        let agent = version.agent.unwrap_or_default();
        let number = version.version.to_string();
        Ok([number, agent.name, agent.model, table::at(version.created_at)])
    };
    pages.show(remote.form, ["VERSION", "NAME", "MODEL", "CREATED"], fetch, row).await
}

async fn invoke(remote: &Remote, id: String, input: Input) -> Outcome<()> {
    let (key, asked) = (input.idempotency_key.clone().unwrap_or_else(fresh), input.request(id)?);
    let request = pb::InvokeAgentRequest {
        agent_id: asked.agent_id,
        input: asked.input,
        parameters: asked.parameters,
        metadata: asked.metadata,
        session_id: asked.session_id,
        version: asked.version,
        on_limit: asked.on_limit,
        on_session_busy: asked.on_session_busy,
        ..Default::default()
    };
    let call = |c, r| async { client(c).invoke_agent(r).await };
    let patience = runs::WAIT_MAX.max(remote.patience);
    let run = remote.call_within(patience, &key, request, call).await?;
    runs::ended(remote.form, &run)
}
