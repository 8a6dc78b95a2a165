//! What it costs to count calls: the product's layers over services that answer from memory, with
//! limits in memory, with limits in Redis, and without any.

use std::path::Path;

use super::call::{CLIENTS, Samples, get_runs};
use super::child::Served;
use super::load;
use super::server::Kind;
use super::table::{Rounds, table};
use super::{Outcome, Size};

/// The servers, that without limits first.
const SERVERS: [Kind; 3] = [Kind::Open, Kind::Gateway, Kind::Redis];

/// Measures a GET over REST and over gRPC, in turns. One hot key: most calls are within a lease.
pub(super) async fn measure(folder: &Path, samples: &Samples, size: Size) -> Outcome<String> {
    let mut servers = Vec::new();
    for kind in SERVERS {
        servers.push(Served::start(kind, folder).await?);
    }
    let mut rounds = [(); 2].map(|()| [(); 3].map(|()| Rounds::default()));
    let line = format!("GET /v1/runs/{}", samples.run_id);
    // One round more than is told: the first one warms up.
    for round in 0..=size.rounds {
        for (i, served) in servers.iter().enumerate() {
            let request = load::request(&served.ready, &line, "");
            let rest = load::http(&served.ready, &request, size.calls, CLIENTS);
            let rest = load::measured(served, size.calls, rest).await?;
            let grpc = get_runs(&served.ready, &samples.run_id, size.calls);
            let grpc = load::measured(served, size.calls, grpc).await?;
            if round > 0 {
                rounds[0][i].0.push(rest.cpu);
                rounds[1][i].0.push(grpc.cpu);
            }
        }
    }
    for served in servers {
        served.stop().await?;
    }
    let rows: Vec<_> = ["REST, GET a run", "gRPC, GetRun"]
        .into_iter()
        .zip(&rounds)
        .map(|(name, [open, local, redis])| {
            let (local_ratio, redis_ratio) = (local.against(open), redis.against(open));
            vec![name.to_owned(), open.us(), local.us(), local_ratio, redis.us(), redis_ratio]
        })
        .collect();
    let head = ["one hot key", "not limited", "in memory", "ratio", "in Redis, leased", "ratio"];
    let title = "Limits: server CPU in µs per call, our layers over memory: least [median].";
    Ok(table(title, &head, &rows))
}
