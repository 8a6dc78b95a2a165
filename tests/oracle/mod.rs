//! Envoy's transcoder as an oracle: the same probe behind both, the same requests to both, and
//! every difference in a table of `docs/transcoding.md`, with who is right by the specification. A
//! new difference fails the test, and so does one that is gone.
//!
//! `./test` names an Envoy in `RUNPLANE_TEST_ENVOY` wherever `.ci/envoy` can install one: then it
//! must be there. Skipped, with a word, only where nobody names one.

#![expect(clippy::unwrap_used, reason = "tests")]

mod answer;
mod descriptors;
mod envoy;
mod page;
mod requests;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use runplane::gateway::port::{self, PortLimits, Stop};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::transport::server::TcpIncoming;

use self::answer::Answer;
use self::envoy::{Envoy, Setup};
use self::requests::Asked;
use crate::probe::standard::Prober;
use crate::probe::standard::probe::v1::probe_service_server::{self, ProbeServiceServer};
use crate::transcoder::behaviours;

/// The probe behind both transcoders.
struct Both {
    ours: SocketAddr,
    upstream: SocketAddr,
    envoy: Envoy,
    program: PathBuf,
    folder: tempfile::TempDir,
    stop: CancellationToken,
    tasks: TaskTracker,
}

#[tokio::test]
async fn we_differ_from_envoy_where_the_page_says_so_and_nowhere_else() {
    let Some(program) = program() else {
        eprintln!("skipped: Envoy is not there; .ci/envoy installs it, or says why it cannot");
        return;
    };
    let mut both = Both::start(program).await;
    let mut found = BTreeMap::new();
    let asked = requests::all();
    for asked in &asked {
        let (ours, theirs) = both.ask(asked).await;
        if !ours.agrees(&theirs) {
            found.insert(asked.shown.clone(), (ours, theirs));
        }
    }
    both.stop().await;
    println!("{} requests, {} answered otherwise by Envoy", asked.len(), found.len());
    let faults = page::faults(&page::read(), &found);
    assert!(faults.is_empty(), "docs/transcoding.md:\n{}\n", faults.join("\n"));
}

/// The Envoy that was named, or the one that `.ci/envoy` has installed.
fn program() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("RUNPLANE_TEST_ENVOY").map(PathBuf::from) {
        assert!(named.exists(), "RUNPLANE_TEST_ENVOY: {} is not there", named.display());
        return Some(named);
    }
    let program = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/envoy/envoy");
    program.exists().then_some(program)
}

impl Both {
    async fn start(program: PathBuf) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let (rest, ours) = bind().await;
        let stack = behaviours::server(Prober::default(), false);
        let idle_max = Duration::from_secs(300);
        let (stalled_max, drain) = (idle_max, Duration::ZERO);
        let limits = PortLimits { connections_max: 64, idle_max, stalled_max, drain };
        tasks.spawn(port::serve(
            rest,
            stack,
            Stop::at(stop.clone().cancelled_owned()),
            limits,
            None,
        ));
        let (grpc, upstream) = bind().await;
        let server = tonic::transport::Server::builder()
            .add_service(ProbeServiceServer::new(Prober::default()))
            .serve_with_incoming_shutdown(TcpIncoming::from(grpc), stop.clone().cancelled_owned());
        tasks.spawn(async move { server.await.unwrap() });
        let envoy = before(upstream, &program, folder.path()).await;
        Self { ours, upstream, envoy, program, folder, stop, tasks }
    }

    /// Asks both. An Envoy that gives no answer has died of it, and is started again.
    async fn ask(&mut self, asked: &Asked) -> (Answer, Answer) {
        let ours = Answer::of(self.ours, asked).await;
        let theirs = Answer::of(self.envoy.address, asked).await;
        if theirs.status == 0 {
            self.envoy.process.kill().await.unwrap();
            self.envoy = before(self.upstream, &self.program, self.folder.path()).await;
        }
        (ours, theirs)
    }

    async fn stop(self) {
        drop(self.envoy);
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

async fn bind() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

async fn before(upstream: SocketAddr, program: &Path, folder: &Path) -> Envoy {
    let setup = Setup {
        program,
        folder: folder.to_owned(),
        descriptors: &descriptors::for_envoy(),
        services: &[probe_service_server::SERVICE_NAME],
        upstream,
        options: strict(),
    };
    Envoy::start(&setup).await.unwrap()
}

/// Everything of Envoy's transcoder that makes it stricter.
fn strict() -> Value {
    json!({
        "convert_grpc_status": true,
        "url_unescape_spec": "ALL_CHARACTERS_EXCEPT_SLASH",
        "query_param_unescape_plus": true,
        "request_validation_options": {
            "reject_unknown_method": true,
            "reject_unknown_query_parameters": true,
            "reject_binding_body_field_collisions": true,
        },
        "print_options": {"stream_sse_style_delimited": true},
    })
}
