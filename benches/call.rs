//! What one call costs: REST against axum by hand and against other transcoders, gRPC against tonic
//! alone. All servers answer the same, taken from the product itself and checked before anything is
//! measured: ours and the one by hand to the byte, the others to the message.

use std::fs;
use std::path::Path;

use prost::Message;
use runplane::gateway::rest::json::Json;
use runplane::proto::codec::from_slice;
use runplane::proto::runplane::v1::runs_service_client::RunsServiceClient;
use runplane::proto::runplane::v1::{GetRunRequest, ListRunsResponse, Run};
use serde_json::{Value, json};
use tokio::process::Command;
use tokio::task::JoinSet;
use tonic::Request;
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;

use super::child::{Ready, Served};
use super::load::{self, Connection};
use super::server::{Kind, files};
use super::table::{Rounds, table};
use super::{Outcome, Size};

/// Connections of the HTTP/1.1 load.
pub(super) const CLIENTS: usize = 16;

/// Connections of the gRPC load, and calls at once on each.
const CHANNELS: (usize, usize) = (4, 8);

/// What the product answered.
pub(super) struct Samples {
    agent_id: String,
    /// Id of the run.
    pub(super) run_id: String,
    /// One run.
    pub(super) run: Vec<u8>,
    /// Lists of 20 and of 50.
    pub(super) lists: [Vec<u8>; 2],
}

/// A call that several servers can answer.
struct Case {
    name: &'static str,
    /// Begin of the request, and its body.
    line: String,
    body: String,
    /// How often a call is made, as a part of the whole count.
    share: usize,
    servers: Vec<Kind>,
    expected: Vec<u8>,
    /// The message in an answer, as protobuf.
    message: fn(&[u8]) -> Outcome<Vec<u8>>,
}

/// The servers that are measured.
struct Servers(Vec<(Kind, Served)>);

/// Lets the product make runs, and keeps its answers.
pub(super) async fn samples(folder: &Path) -> Outcome<Samples> {
    let served = Served::start(Kind::Full, folder).await?;
    let mut product = Product::open(&served.ready).await?;
    let agent_id = product.agent().await?;
    let body = new_run(&agent_id).to_string();
    let mut run_id = String::new();
    for _ in 0..60 {
        let run = product.ask("POST /v1/runs", &body).await?;
        run_id = word(&serde_json::from_slice(&run)?, "id")?;
    }
    let run = product.ask(&format!("GET /v1/runs/{run_id}"), "").await?;
    let lists = [
        product.ask("GET /v1/runs?limit=20", "").await?,
        product.ask("GET /v1/runs?limit=50", "").await?,
    ];
    served.stop().await?;
    keep::<Run>(folder, files::RUN, &run)?;
    for (count, list) in [20, 50].into_iter().zip(&lists) {
        keep::<ListRunsResponse>(folder, &files::list(count), list)?;
    }
    Ok(Samples { agent_id, run_id, run, lists })
}

/// Keeps an answer for the servers to come, as JSON and as protobuf.
fn keep<M: Json + Message>(folder: &Path, name: &str, answer: &[u8]) -> Outcome<()> {
    fs::write(folder.join(name), answer)?;
    Ok(fs::write(folder.join(files::binary(name)), message::<M>(answer)?)?)
}

fn message<M: Json + Message>(answer: &[u8]) -> Outcome<Vec<u8>> {
    let message: M = from_slice(answer).map_err(|error| error.to_string())?;
    Ok(message.encode_to_vec())
}

/// Measures every call on every server, in turns.
pub(super) async fn measure(
    folder: &Path,
    samples: &Samples,
    envoy: Option<&Path>,
    size: Size,
) -> Outcome<String> {
    let servers = Servers::start(folder, envoy).await?;
    let cases = cases(samples);
    servers.agree(&cases).await?;
    let mut rest: Vec<Vec<Rounds>> =
        cases.iter().map(|case| vec![Rounds::default(); case.servers.len()]).collect();
    let mut grpc = [const { Rounds(Vec::new()) }; 3];
    // One round more than is told: the first one warms up.
    for round in 0..=size.rounds {
        for (case, rounds) in cases.iter().zip(&mut rest) {
            for (kind, rounds) in case.servers.iter().zip(rounds) {
                let Some(served) = servers.of(*kind) else { continue };
                let calls = size.calls / case.share;
                let request = load::request(&served.ready, &case.line, &case.body);
                let load = load::http(&served.ready, &request, calls, CLIENTS);
                let took = load::measured(served, calls, load).await?;
                if round > 0 {
                    rounds.0.push(took.cpu);
                }
            }
        }
        for (kind, rounds) in [Kind::Tonic, Kind::Gateway, Kind::Full].into_iter().zip(&mut grpc) {
            let Some(served) = servers.of(kind) else { continue };
            let load = get_runs(&served.ready, &samples.run_id, size.calls);
            let took = load::measured(served, size.calls, load).await?;
            if round > 0 {
                rounds.0.push(took.cpu);
            }
        }
    }
    servers.stop().await?;
    Ok(rest_table(&cases, &rest) + &rivals_table(&cases, &rest) + &grpc_table(&grpc))
}

fn cases(samples: &Samples) -> Vec<Case> {
    let Samples { agent_id, run_id, run, lists } = samples;
    let own = [Kind::Hand, Kind::Transcoder, Kind::Gateway];
    let rivals = [Kind::RestOverGrpc, Kind::Envoy];
    let get = |name, line: String, share| Case {
        name,
        line,
        body: String::new(),
        share,
        servers: own.into_iter().chain([Kind::Full]).chain(rivals).collect(),
        expected: run.clone(),
        message: message::<Run>,
    };
    let list = |name, count, share, answer: &Vec<u8>| Case {
        expected: answer.clone(),
        message: message::<ListRunsResponse>,
        ..get(name, format!("GET /v1/runs?limit={count}"), share)
    };
    vec![
        get("GET a run", format!("GET /v1/runs/{run_id}"), 1),
        Case {
            servers: vec![Kind::Hand],
            ..get("the same, ready bytes", format!("GET /bytes/{run_id}"), 1)
        },
        list("GET a list of 20", 20, 4, &lists[0]),
        list("GET a list of 50", 50, 8, &lists[1]),
        Case {
            body: new_run(agent_id).to_string(),
            servers: own.into_iter().chain(rivals).collect(),
            ..get("POST a run, parsed and answered", "POST /v1/runs".to_owned(), 1)
        },
    ]
}

impl Servers {
    /// Starts them all; those that are not installed are left out.
    async fn start(folder: &Path, envoy: Option<&Path>) -> Outcome<Self> {
        let own = [Kind::Full, Kind::Transcoder, Kind::Gateway, Kind::Hand, Kind::Tonic];
        let mut servers = Vec::new();
        for kind in own {
            servers.push((kind, Served::start(kind, folder).await?));
        }
        let here = std::env::current_exe()?;
        let rival = here.with_file_name(Kind::RestOverGrpc.name());
        if rival.is_file() {
            let served = Served::run(Command::new(rival).arg(folder)).await?;
            servers.push((Kind::RestOverGrpc, served));
        }
        if let Some(envoy) = envoy {
            let mut command = Command::new(here);
            command.args(["serve", Kind::Envoy.name()]).arg(folder).arg("--envoy").arg(envoy);
            servers.push((Kind::Envoy, Served::run(&mut command).await?));
        }
        Ok(Self(servers))
    }

    fn of(&self, wanted: Kind) -> Option<&Served> {
        self.0.iter().find(|(kind, _)| *kind == wanted).map(|(_, served)| served)
    }

    /// Fails unless every server answers every call with the same.
    async fn agree(&self, cases: &[Case]) -> Outcome<()> {
        for case in cases {
            for kind in &case.servers {
                let Some(served) = self.of(*kind) else { continue };
                let request = load::request(&served.ready, &case.line, &case.body);
                let mut connection = Connection::open(&served.ready.address).await?;
                let got = connection.exchange(&request).await?;
                if !case.is_answered(*kind, got)? {
                    let (got, expected) =
                        (String::from_utf8_lossy(got), String::from_utf8_lossy(&case.expected));
                    let name = kind.name();
                    return Err(format!("{}: {name}: {got}\nnot {expected}", case.name).into());
                }
            }
        }
        Ok(())
    }

    async fn stop(self) -> Outcome<()> {
        for (_, served) in self.0 {
            served.stop().await?;
        }
        Ok(())
    }
}

impl Case {
    /// Others write enum values in full, so of their answers the messages are compared.
    fn is_answered(&self, kind: Kind, got: &[u8]) -> Outcome<bool> {
        match kind {
            Kind::RestOverGrpc | Kind::Envoy => {
                Ok((self.message)(got)? == (self.message)(&self.expected)?)
            }
            _ => Ok(got == self.expected),
        }
    }
}

/// The product, asked over one connection.
pub(super) struct Product<'a> {
    ready: &'a Ready,
    connection: Connection,
}

impl<'a> Product<'a> {
    /// Connects to it.
    pub(super) async fn open(ready: &'a Ready) -> Outcome<Self> {
        Ok(Self { ready, connection: Connection::open(&ready.address).await? })
    }

    /// Its answer.
    pub(super) async fn ask(&mut self, line: &str, body: &str) -> Outcome<Vec<u8>> {
        let request = load::request(self.ready, line, body);
        Ok(self.connection.exchange(&request).await?.to_vec())
    }

    /// Defines an agent that answers at once; its id.
    pub(super) async fn agent(&mut self) -> Outcome<String> {
        let agent = json!({
            "name": "Instant",
            "instructions": "Answer at once.",
            "model": "sim",
            "sim": {"turns": [{"text": "Two payments failed today, 120.50 USD in all."}]},
        });
        self.agent_of(&agent).await
    }

    /// Defines an agent; its id.
    pub(super) async fn agent_of(&mut self, agent: &Value) -> Outcome<String> {
        let agent = self.ask("POST /v1/agents", &agent.to_string()).await?;
        let id = word(&serde_json::from_slice(&agent)?, "id")?;
        self.ask(&format!("POST /v1/agents/{id}/publish"), "{}").await?;
        Ok(id)
    }
}

/// A run to create, with its end as the answer.
pub(super) fn new_run(agent_id: &str) -> Value {
    json!({
        "agent_id": agent_id,
        "input": "Summarize today's failed payments: how many, how much, and what they share.",
        "metadata": {"team": "payments", "ticket": "PAY-1234", "region": "eu-west-1"},
        "wait": 30,
    })
}

fn word(value: &Value, name: &str) -> Outcome<String> {
    Ok(value[name].as_str().ok_or_else(|| format!("no {name} in {value}"))?.to_owned())
}

/// Gets the run over gRPC, again and again.
pub(super) async fn get_runs(ready: &Ready, run_id: &str, calls: usize) -> Outcome<()> {
    let (channels, at_once) = CHANNELS;
    let key = format!("Bearer {}", ready.key).parse::<MetadataValue<_>>()?;
    let mut all = JoinSet::new();
    for _ in 0..channels {
        let channel = Channel::from_shared(format!("http://{}", ready.address))?;
        let client = RunsServiceClient::new(channel.connect().await?);
        for _ in 0..at_once {
            let (mut client, key, id) = (client.clone(), key.clone(), run_id.to_owned());
            all.spawn(async move {
                for _ in 0..calls / (channels * at_once) {
                    let mut request = Request::new(GetRunRequest { id: id.clone(), wait: None });
                    request.metadata_mut().insert("authorization", key.clone());
                    client.get_run(request).await?;
                }
                Outcome::Ok(())
            });
        }
    }
    load::ended(all).await
}

/// A row of a table: the case, and for each server its time, with the ratio to the first one.
fn row(case: &Case, rounds: &[Rounds], servers: &[Kind]) -> Vec<String> {
    let mut row = vec![case.name.to_owned()];
    for kind in servers {
        let index = case.servers.iter().position(|other| other == kind);
        let rounds_of = index.map(|index| &rounds[index]).filter(|rounds| !rounds.0.is_empty());
        row.push(rounds_of.map(Rounds::us).unwrap_or_default());
        if *kind != servers[0] {
            row.push(rounds_of.map(|other| other.against(&rounds[0])).unwrap_or_default());
        }
    }
    row
}

fn rest_table(cases: &[Case], rest: &[Vec<Rounds>]) -> String {
    let servers = [Kind::Hand, Kind::Transcoder, Kind::Gateway, Kind::Full];
    let rows: Vec<_> =
        cases.iter().zip(rest).map(|(case, rounds)| row(case, rounds, &servers)).collect();
    let head = [
        "REST",
        "axum by hand",
        "our transcoder alone",
        "ratio",
        "+ our layers",
        "ratio",
        "whole product",
        "ratio",
    ];
    table("Server CPU in µs per call, HTTP/1.1, 16 connections: least [median].", &head, &rows)
}

fn rivals_table(cases: &[Case], rest: &[Vec<Rounds>]) -> String {
    let servers = [Kind::Hand, Kind::Transcoder, Kind::RestOverGrpc, Kind::Envoy];
    let mut rows = Vec::new();
    for (case, rounds) in cases.iter().zip(rest).filter(|(case, _)| case.servers.len() > 1) {
        let mut row = row(case, rounds, &servers);
        let of = |kind| case.servers.iter().position(|other| *other == kind);
        let both = of(Kind::Transcoder).zip(of(Kind::Envoy));
        let both = both.filter(|(_, envoy)| !rounds[*envoy].0.is_empty());
        row.push(both.map(|(our, envoy)| rounds[our].against(&rounds[envoy])).unwrap_or_default());
        rows.push(row);
    }
    let head = [
        "REST",
        "axum by hand",
        "our transcoder alone",
        "ratio",
        "rest_over_grpc",
        "ratio",
        "Envoy + tonic",
        "ratio",
        "ours ÷ Envoy",
    ];
    table("The same against other transcoders, in the same rounds.", &head, &rows)
}

fn grpc_table([tonic, gateway, full]: &[Rounds; 3]) -> String {
    let mut row = vec!["GetRun".to_owned(), tonic.us()];
    for other in [gateway, full] {
        row.extend([other.us(), other.against(tonic)]);
    }
    let head = ["gRPC", "tonic alone", "+ our layers", "ratio", "whole product", "ratio"];
    table("Server CPU in µs per call, 4 connections × 8 calls: least [median].", &head, &[row])
}
