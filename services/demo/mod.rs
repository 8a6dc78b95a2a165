//! `runplane demo`: the whole way in one command. Starts a server on a fresh SQLite file, defines
//! an agent with an HTTP tool that the demo itself serves, runs it over REST with live events, and
//! keeps serving. Called by `commands`.

mod show;
mod tool;

use std::error::Error;
use std::net::SocketAddr;

use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::kernel::config::{Config, provider_key};
use crate::serve::{self, Server};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// What the demo's agent is asked.
const QUESTION: &str = "Summarize today's failed payments";

/// How to run the demo.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Address to serve at; a free port of the same host when it is taken.
    pub listen: SocketAddr,
    /// True ends after the run.
    pub once: bool,
}

/// Runs the demo until the run has ended (`once`), or `stop` fires.
pub async fn run(options: Options, stop: CancellationToken) -> Outcome<()> {
    let folder = Folder::new()?;
    let listener = listener(options.listen).await?;
    let tools = TcpListener::bind((options.listen.ip(), 0)).await?;
    let tool_url = format!("http://{}/payments/search", tools.local_addr()?);
    let key = ["openai", "anthropic"].iter().find_map(|n| Some((*n, provider_key(n)?)));
    let model = key.as_ref().map_or("sim", |(name, _)| show::model_of(name));
    let config = config(&folder, options.listen, key.as_ref())?;
    let base = format!("http://{}", listener.local_addr()?);

    let server = Server::build(config).await?;
    let secret = server.first_key().await?.ok_or("the demo's database was not empty")?;
    let end = stop.child_token();
    let serving = serve::run(server, listener, end.clone().cancelled_owned());
    let tool = tool::serve(tools, end.clone().cancelled_owned());
    let tour = async {
        let key = secret.expose_secret();
        show::welcome(&base, model);
        let toured = tour(&base, key, &agent(model, &tool_url)).await;
        if let Ok((agent_id, run_id)) = &toured
            && !options.once
        {
            show::next(&base, key, agent_id, run_id);
            stop.cancelled().await;
        }
        end.cancel();
        toured.map(|_| ())
    };
    let (served, tooled, toured) = tokio::join!(serving, tool, tour);
    toured?;
    tooled?;
    Ok(served?)
}

/// A folder of the demo's own, gone when the demo ends.
struct Folder(std::path::PathBuf);

impl Folder {
    fn new() -> std::io::Result<Self> {
        let name = format!("runplane-demo-{:016x}", rand::random::<u64>());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left in the temporary folder harms nobody.
        let _best_effort = std::fs::remove_dir_all(&self.0);
    }
}

async fn listener(wanted: SocketAddr) -> std::io::Result<TcpListener> {
    match TcpListener::bind(wanted).await {
        Err(e) if e.kind() == std::io::ErrorKind::AddrInUse => {
            TcpListener::bind((wanted.ip(), 0)).await
        }
        bound => bound,
    }
}

fn config(
    folder: &Folder,
    listen: SocketAddr,
    key: Option<&(&str, SecretString)>,
) -> Result<Config, String> {
    let url = format!("sqlite://{}", folder.0.join("runplane.db").display());
    let mut changes = format!(
        "[store]\nurl = {url:?}\n[egress]\nallow_subnets = [\"{}/{}\"]\n\
         [server]\ncors_origins = [\"*\"]\n[log]\nfilter = \"warn\"\n",
        listen.ip(),
        if listen.is_ipv4() { 32 } else { 128 },
    );
    if let Some((name, secret)) = key {
        let secret = secret.expose_secret();
        changes += &format!("[providers.{name}]\nkind = {name:?}\napi_key = {secret:?}\n");
    }
    Config::with(&changes)
}

/// The demo's agent: a summary of failed payments, from the tool's answer.
fn agent(model: &str, tool_url: &str) -> Value {
    let mut agent = json!({
        "name": "Payments analyst",
        "description": "Finds failed payments and says what they have in common.",
        "instructions": "You are a payments analyst. Use search_payments to look at the data, \
            then answer in {{ sentences }} short sentences.",
        "parameters": [{
            "name": "sentences", "type": "integer", "default": 2,
            "description": "Length of the answer."
        }],
        "model": model,
        "tools": [{
            "name": "search_payments",
            "description": "Searches today's payments by status. Amounts are in cents.",
            "input_schema": {
                "type": "object",
                "properties": {
                    "status": {"type": "string", "enum": ["succeeded", "failed", "refunded"]},
                    "limit": {"type": "integer", "minimum": 1, "maximum": 100}
                },
                "additionalProperties": false
            },
            "http": {"url": tool_url}
        }]
    });
    if model == "sim" {
        agent["sim"] = json!({
            "tokens_per_second": 40,
            "turns": [
                {
                    "text": "Checking the payments table… ",
                    "tool_calls": [{
                        "name": "search_payments",
                        "arguments": {"status": "failed", "limit": 50}
                    }]
                },
                {
                    "text": "{{ result.count }} payments failed today, \
                        {{ (result.total_cents / 100) | round(2) }} USD in all. The largest was \
                        {{ (result.payments[0].amount_cents / 100) | round(2) }} USD by \
                        {{ result.payments[0].customer }} ({{ result.payments[0].failure_code }})."
                }
            ]
        });
    }
    agent
}

/// Defines the agent, publishes it, runs it and shows its events; the ids of the agent and the run.
async fn tour(base: &str, key: &str, agent: &Value) -> Outcome<(String, String)> {
    let client = reqwest::Client::builder().no_proxy().build()?;
    let post = async |path: &str, body: &Value| -> Outcome<Value> {
        let call = client.post(format!("{base}{path}")).bearer_auth(key).json(body);
        Ok(call.send().await?.error_for_status()?.json().await?)
    };
    let agent = post("/v1/agents", agent).await?;
    let agent_id = agent["id"].as_str().ok_or("the agent has no id")?.to_owned();
    post(&format!("/v1/agents/{agent_id}/publish"), &json!({})).await?;
    show::agent(&agent);
    let body = json!({"agent_id": agent_id, "input": QUESTION, "stream": true});
    let call = client.post(format!("{base}/v1/runs")).bearer_auth(key).json(&body);
    let run_id = show::events(call.send().await?.error_for_status()?, QUESTION).await?;
    let run = client.get(format!("{base}/v1/runs/{run_id}")).bearer_auth(key).send().await?;
    let run: Value = run.error_for_status()?.json().await?;
    show::result(&run);
    if run["status"] != "completed" {
        return Err(format!("the run ended as {}", run["status"]).into());
    }
    Ok((agent_id, run_id))
}
