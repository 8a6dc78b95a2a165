//! What one call costs: REST against axum by hand, gRPC against tonic alone. All servers answer the
//! same bytes, taken from the product itself and checked before anything is measured.

use std::fs;
use std::path::Path;

use runplane::proto::runplane::v1::GetRunRequest;
use runplane::proto::runplane::v1::runs_service_client::RunsServiceClient;
use serde_json::{Value, json};
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
const CLIENTS: usize = 16;

/// Connections of the gRPC load, and calls at once on each.
const CHANNELS: (usize, usize) = (4, 8);

/// What the product answered.
pub(super) struct Samples {
    agent_id: String,
    run_id: String,
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
}

/// The servers that are measured.
struct Servers {
    full: Served,
    transcoder: Served,
    gateway: Served,
    hand: Served,
    tonic: Served,
}

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
    fs::write(folder.join(files::RUN), &run)?;
    fs::write(folder.join(files::list(20)), &lists[0])?;
    fs::write(folder.join(files::list(50)), &lists[1])?;
    Ok(Samples { agent_id, run_id, run, lists })
}

/// Measures every call on every server, in turns.
pub(super) async fn measure(folder: &Path, samples: &Samples, size: Size) -> Outcome<String> {
    let servers = Servers {
        full: Served::start(Kind::Full, folder).await?,
        transcoder: Served::start(Kind::Transcoder, folder).await?,
        gateway: Served::start(Kind::Gateway, folder).await?,
        hand: Served::start(Kind::Hand, folder).await?,
        tonic: Served::start(Kind::Tonic, folder).await?,
    };
    let cases = cases(samples);
    servers.agree(samples, &cases).await?;
    let mut rest: Vec<Vec<Rounds>> =
        cases.iter().map(|case| vec![Rounds::default(); case.servers.len()]).collect();
    let mut grpc = [const { Rounds(Vec::new()) }; 3];
    // One round more than is told: the first one warms up.
    for round in 0..=size.rounds {
        for (case, rounds) in cases.iter().zip(&mut rest) {
            for (kind, rounds) in case.servers.iter().zip(rounds) {
                let (served, calls) = (servers.of(*kind), size.calls / case.share);
                let request = load::request(&served.ready, &case.line, &case.body);
                let load = load::http(&served.ready, &request, calls, CLIENTS);
                let took = load::measured(served, calls, load).await?;
                if round > 0 {
                    rounds.0.push(took.cpu);
                }
            }
        }
        for (kind, rounds) in [Kind::Tonic, Kind::Gateway, Kind::Full].into_iter().zip(&mut grpc) {
            let served = servers.of(kind);
            let load = get_runs(&served.ready, &samples.run_id, size.calls);
            let took = load::measured(served, size.calls, load).await?;
            if round > 0 {
                rounds.0.push(took.cpu);
            }
        }
    }
    servers.stop().await?;
    Ok(rest_table(&cases, &rest) + &grpc_table(&grpc))
}

fn cases(samples: &Samples) -> Vec<Case> {
    let Samples { agent_id, run_id, .. } = samples;
    let all = || vec![Kind::Hand, Kind::Transcoder, Kind::Gateway, Kind::Full];
    let case =
        |name, line: String, share| Case { name, line, body: String::new(), share, servers: all() };
    let ready = vec![Kind::Hand];
    let parsed = vec![Kind::Hand, Kind::Transcoder, Kind::Gateway];
    vec![
        case("GET a run", format!("GET /v1/runs/{run_id}"), 1),
        Case { servers: ready, ..case("the same, ready bytes", format!("GET /bytes/{run_id}"), 1) },
        case("GET a list of 20", "GET /v1/runs?limit=20".to_owned(), 4),
        case("GET a list of 50", "GET /v1/runs?limit=50".to_owned(), 8),
        Case {
            body: new_run(agent_id).to_string(),
            servers: parsed,
            ..case("POST a run, parsed and answered", "POST /v1/runs".to_owned(), 1)
        },
    ]
}

impl Servers {
    fn of(&self, kind: Kind) -> &Served {
        match kind {
            Kind::Full => &self.full,
            Kind::Transcoder => &self.transcoder,
            Kind::Gateway => &self.gateway,
            Kind::Hand => &self.hand,
            Kind::Tonic => &self.tonic,
        }
    }

    /// Fails unless every server answers every call with the same bytes.
    async fn agree(&self, samples: &Samples, cases: &[Case]) -> Outcome<()> {
        let [list_20, list_50] = &samples.lists;
        let expected = [&samples.run, &samples.run, list_20, list_50, &samples.run];
        for (case, expected) in cases.iter().zip(expected) {
            for kind in &case.servers {
                let ready = &self.of(*kind).ready;
                let request = load::request(ready, &case.line, &case.body);
                let mut connection = Connection::open(&ready.address).await?;
                let got = connection.exchange(&request).await?;
                if got != expected.as_slice() {
                    let (got, expected) =
                        (String::from_utf8_lossy(got), String::from_utf8_lossy(expected));
                    let name = kind.name();
                    return Err(format!("{}: {name}: {got}\nnot {expected}", case.name).into());
                }
            }
        }
        Ok(())
    }

    async fn stop(self) -> Outcome<()> {
        for served in [self.full, self.transcoder, self.gateway, self.hand, self.tonic] {
            served.stop().await?;
        }
        Ok(())
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
        "session_id": "conversation-42",
        "wait": 30,
    })
}

fn word(value: &Value, name: &str) -> Outcome<String> {
    Ok(value[name].as_str().ok_or_else(|| format!("no {name} in {value}"))?.to_owned())
}

/// Gets the run over gRPC, again and again.
async fn get_runs(ready: &Ready, run_id: &str, calls: usize) -> Outcome<()> {
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

fn rest_table(cases: &[Case], rest: &[Vec<Rounds>]) -> String {
    let row = |(case, rounds): (&Case, &Vec<Rounds>)| {
        let mut row = vec![case.name.to_owned(), rounds[0].us()];
        for other in &rounds[1..] {
            row.extend([other.us(), other.against(&rounds[0])]);
        }
        row.resize(8, String::new());
        row
    };
    let rows: Vec<_> = cases.iter().zip(rest).map(row).collect();
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

fn grpc_table([tonic, gateway, full]: &[Rounds; 3]) -> String {
    let mut row = vec!["GetRun".to_owned(), tonic.us()];
    for other in [gateway, full] {
        row.extend([other.us(), other.against(tonic)]);
    }
    let head = ["gRPC", "tonic alone", "+ our layers", "ratio", "whole product", "ratio"];
    table("Server CPU in µs per call, 4 connections × 8 calls: least [median].", &head, &[row])
}
