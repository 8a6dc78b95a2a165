//! `runplane runs`: the runs of a server. Following one is `follow.rs`.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::{Map, Value};
use tonic::transport::Channel;

use super::exit::{Exit, Failure, Outcome};
use super::ordered::Ordered;
use super::output::{self, Form};
use super::pages::Pages;
use super::remote::{ANSWER_BYTES_MAX, Remote, RemoteArgs, fresh};
use super::table;
use super::{follow, input};
use crate::kernel::json;
use crate::proto::codec::JsonEnum;
use crate::proto::runplane::v1 as pb;
use pb::runs_service_client::RunsServiceClient as Client;

/// Longest wait for a call that waits for a run: the server's own, and some for the way.
pub(super) const WAIT_MAX: Duration = Duration::from_secs(630);

/// What `runs` takes.
#[derive(Debug, Args)]
pub(super) struct RunsArgs {
    #[command(flatten)]
    pub(super) remote: RemoteArgs,
    #[command(subcommand)]
    command: Runs,
}

/// What a run works on, and how.
#[derive(Debug, Args)]
pub(super) struct Input {
    /// What to work on, a text; `-` reads the standard input.
    input: Option<String>,
    /// What to work on, any JSON value.
    #[arg(long, value_name = "JSON", conflicts_with = "input")]
    input_json: Option<String>,
    /// Value of a parameter: JSON, or else a text.
    #[arg(short, long = "param", value_name = "NAME=VALUE", value_parser = input::pair)]
    parameters: Vec<(String, String)>,
    /// A label.
    #[arg(long, value_name = "NAME=VALUE", value_parser = input::pair)]
    metadata: Vec<(String, String)>,
    /// Conversation that the run belongs to.
    #[arg(long, value_name = "ID")]
    session: Option<String>,
    /// Version of the agent; the newest when there is none.
    #[arg(long)]
    version: Option<i32>,
    /// What happens when as many runs are live as may be: queue or reject.
    #[arg(long, value_parser = word::<pb::OnLimit>, value_name = "WORD")]
    on_limit: Option<pb::OnLimit>,
    /// What happens while another run of the session lives: queue, reject or interrupt.
    #[arg(long, value_parser = word::<pb::OnSessionBusy>, value_name = "WORD")]
    on_session_busy: Option<pb::OnSessionBusy>,
    /// Makes the command safe to repeat: the same key starts one run only.
    #[arg(long, value_name = "KEY")]
    pub(super) idempotency_key: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Runs {
    /// Lists runs, newest first.
    List {
        #[command(flatten)]
        pages: Pages,
        /// Only runs of this agent.
        #[arg(long, value_name = "AGENT_ID")]
        agent: Option<String>,
        /// Only runs in this state, such as in_progress; more than once: in one of these.
        #[arg(long, value_parser = word::<pb::RunStatus>, value_name = "STATUS")]
        status: Vec<pb::RunStatus>,
        /// Only those with this label; more than once: with all of them.
        #[arg(long, value_name = "NAME=VALUE", value_parser = input::pair)]
        metadata: Vec<(String, String)>,
        /// Only runs of this conversation.
        #[arg(long, value_name = "ID")]
        session: Option<String>,
    },
    /// Shows a run: its output, messages and usage.
    Get {
        /// Id of the run.
        id: String,
        /// Waits so long for the run to end or to need an action.
        #[arg(long, value_name = "SECONDS", default_value_t = 0)]
        wait: i32,
    },
    /// Starts a run. The exit code tells of the start; with --follow of the run's end.
    Create {
        /// Id of the agent.
        agent: String,
        #[command(flatten)]
        input: Input,
        /// Follows the run to its end, as `runs follow` does.
        #[arg(long)]
        follow: bool,
    },
    /// Follows a run live: its text on the standard output, all else on the standard error.
    Follow {
        /// Id of the run.
        id: String,
        /// Id of the last event that is known already; the whole run when there is none.
        #[arg(long, value_name = "EVENT_ID", default_value = "", hide_default_value = true)]
        after: String,
    },
    /// Cancels a run.
    Cancel {
        /// Id of the run.
        id: String,
    },
    /// Lists the events of a run, oldest first. Its cursor is the id of an event.
    Events {
        /// Id of the run.
        id: String,
        #[command(flatten)]
        pages: Pages,
    },
    /// Hands over outputs of tools that the caller fulfils.
    Submit {
        /// Id of the run.
        id: String,
        /// Output of a call: JSON, or else a text; more than once for more calls.
        #[arg(long, value_name = "CALL_ID=VALUE", value_parser = input::pair)]
        output: Vec<(String, String)>,
        /// What went wrong in a call, a text.
        #[arg(long, value_name = "CALL_ID=TEXT", value_parser = input::pair)]
        error: Vec<(String, String)>,
    },
}

pub(super) async fn run(args: RunsArgs) -> Outcome<()> {
    let remote = args.remote.connect()?;
    match args.command {
        Runs::List { pages, agent, status, metadata, session } => {
            let metadata = metadata.iter().map(|(name, v)| format!("{name}:{v}")).collect();
            let status = status.into_iter().map(Into::into).collect();
            let request = pb::ListRunsRequest {
                agent_id: agent,
                status,
                metadata,
                session_id: session,
                ..Default::default()
            };
            list(&remote, pages, request).await
        }
        Runs::Get { id, wait } => get(&remote, id, wait).await,
        Runs::Create { agent, input, follow } => create(&remote, agent, input, follow).await,
        Runs::Follow { id, after } => follow::follow(&remote, &id, after).await,
        Runs::Cancel { id } => {
            let call = |c, r| async { client(c).cancel_run(r).await };
            let run = remote.call(pb::CancelRunRequest { id }, call).await?;
            told(remote.form, &run)
        }
        Runs::Events { id, pages } => events(&remote, id, pages).await,
        Runs::Submit { id, output, error } => submit(&remote, id, output, error).await,
    }
}

/// The client of a channel, which takes large answers.
pub(super) fn client(channel: Channel) -> Client<Channel> {
    Client::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX)
}

impl Input {
    /// The request for a run of this agent.
    pub(super) fn request(self, agent_id: String) -> Outcome<pb::CreateRunRequest> {
        let given = match (self.input.as_deref(), &self.input_json) {
            (Some("-"), _) => Some(Value::String(input::text("-")?)),
            (Some(text), _) => Some(Value::String(text.to_owned())),
            (None, Some(json)) => Some(
                serde_json::from_str(json)
                    .map_err(|error| Failure::usage(format!("--input-json is no JSON: {error}")))?,
            ),
            (None, None) => None,
        };
        let parameters = self.parameters.iter();
        let parameters: Map<_, _> =
            parameters.map(|(name, text)| (name.clone(), input::value(text))).collect();
        Ok(pb::CreateRunRequest {
            agent_id,
            input: given.map(input::proto),
            parameters: (!parameters.is_empty()).then(|| json::to_struct(parameters)),
            metadata: self.metadata.into_iter().collect::<BTreeMap<_, _>>(),
            session_id: self.session,
            version: self.version,
            on_limit: self.on_limit.map_or(0, Into::into),
            on_session_busy: self.on_session_busy.map_or(0, Into::into),
            ..Default::default()
        })
    }
}

/// A word of the contract, for clap.
fn word<E: JsonEnum>(text: &str) -> Result<E, &'static str> {
    E::from_name(text).and_then(|number| E::try_from(number).ok()).ok_or(E::EXPECTED)
}

async fn list(remote: &Remote, pages: Pages, request: pb::ListRunsRequest) -> Outcome<()> {
    let fetch = |limit, cursor| {
        let request = pb::ListRunsRequest { limit: Some(limit), cursor, ..request.clone() };
        async move {
            let call = |c, r| async { client(c).list_runs(r).await };
            let page = remote.call(request, call).await?;
            Ok((page.data, page.next_cursor))
        }
    };
    let row = |run: pb::Run| {
        let (status, seconds) = (run.status().name(), f64::from(run.latency_ms) / 1000.0);
        let (tokens, seconds) = (run.tokens_used.to_string(), format!("{seconds:.1}"));
        Ok([run.id, status.to_owned(), run.agent_id, tokens, seconds, table::at(run.created_at)])
    };
    let headings = ["ID", "STATUS", "AGENT", "TOKENS", "SECONDS", "CREATED"];
    pages.show(remote.form, headings, fetch, row).await
}

async fn get(remote: &Remote, id: String, wait: i32) -> Outcome<()> {
    let patience = remote.patience + Duration::from_secs(wait.max(0).unsigned_abs().into());
    let request = pb::GetRunRequest { id, wait: Some(wait) };
    let call = |c, r| async { client(c).get_run(r).await };
    let run = remote.call_within(patience, "", request, call).await?;
    output::message(remote.form, &run)
}

async fn create(remote: &Remote, agent: String, input: Input, follow: bool) -> Outcome<()> {
    let (key, request) =
        (input.idempotency_key.clone().unwrap_or_else(fresh), input.request(agent)?);
    let call = |c, r| async { client(c).create_run(r).await };
    let run = remote.call_as(&key, request, call).await?;
    if follow {
        return follow::follow(remote, &run.id, String::new()).await;
    }
    told(remote.form, &run)
}

/// Tells of a run that may go on: its id for people, who can give it to the next command.
fn told(form: Form, run: &pb::Run) -> Outcome<()> {
    if form == Form::Json {
        return output::json(run);
    }
    output::line(&run.id)?;
    output::notice(&format!("{} is {}", run.id, run.status().name()));
    Ok(())
}

async fn events(remote: &Remote, id: String, pages: Pages) -> Outcome<()> {
    let fetch = |limit, after| {
        let run_id = id.clone();
        async move {
            let request = pb::ListRunEventsRequest { run_id, after, limit: Some(limit) };
            let call = |c, r| async { client(c).list_run_events(r).await };
            let page = remote.call(request, call).await?;
            Ok((page.data, page.next_cursor))
        }
    };
    let row = |event: pb::RunEvent| {
        let rest = Ordered::of(&event)?.without(&["id", "type", "created_at"]);
        let data = rest.get(&event.r#type.replace('.', "_")).map(Ordered::json);
        let data = data.unwrap_or_default();
        Ok([event.id, event.r#type, table::at(event.created_at), data])
    };
    pages.show(remote.form, ["ID", "TYPE", "AT", "DATA"], fetch, row).await
}

async fn submit(
    remote: &Remote,
    run_id: String,
    output: Vec<(String, String)>,
    error: Vec<(String, String)>,
) -> Outcome<()> {
    let right = output.into_iter().map(|(id, text)| (id, input::value(&text), false));
    let wrong = error.into_iter().map(|(id, text)| (id, Value::String(text), true));
    let outputs = right.chain(wrong).map(|(tool_call_id, value, is_error)| pb::ToolOutput {
        tool_call_id,
        output: Some(input::proto(value)),
        is_error,
    });
    let tool_outputs: Vec<_> = outputs.collect();
    let request = pb::SubmitToolOutputsRequest { run_id, tool_outputs, ..Default::default() };
    let call = |c, r| async { client(c).submit_tool_outputs(r).await };
    told(remote.form, &remote.call(request, call).await?)
}

/// Tells what a run has come to: its result, or the failure that it ended by.
pub(super) fn ended(form: Form, run: &pb::Run) -> Outcome<()> {
    let result = run.output.as_ref().and_then(|output| output.result.clone());
    match (form, result.map(json::from_value)) {
        (Form::Json, _) => output::json(run)?,
        (Form::Text, Some(Value::String(text))) => output::line(&text)?,
        (Form::Text, Some(result)) => output::line(&result.to_string())?,
        (Form::Text, None) => {}
    }
    end((&run.id, run.status()), why(run))
}

/// Why a run did not complete, as far as it says.
pub(super) fn why(run: &pb::Run) -> Option<String> {
    let error = run.error.as_ref().map(|error| format!("{}: {}", error.code, error.message));
    error.or_else(|| run.incomplete_reason.clone())
}

/// The exit of a run in this state.
pub(super) fn end((id, status): (&str, pb::RunStatus), why: Option<String>) -> Outcome<()> {
    let how = match status {
        pb::RunStatus::Completed => return Ok(()),
        pb::RunStatus::Failed
        | pb::RunStatus::Cancelled
        | pb::RunStatus::Incomplete
        | pb::RunStatus::Expired => "ended as",
        _ => "has not ended, it is",
    };
    let why = why.map(|why| format!(": {why}")).unwrap_or_default();
    Err(Failure::new(Exit::Run, format!("run {id} {how} {}{why}", status.name())))
}
