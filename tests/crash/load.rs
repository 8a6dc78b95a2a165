//! Many runs at once on one SQLite file: all complete, and they share their commits.

use futures::future::join_all;
use runplane::kernel::Environment;
use runplane::kernel::caller::Grant;
use runplane::kernel::config::Config;
use runplane::serve::{self, Server};
use secrecy::ExposeSecret;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::tools::{End, Tools};
use crate::harness::databases;
use crate::harness::process::Api;

const RUNS: u64 = 200;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_runs_at_once_complete_and_share_their_commits() {
    let (store, _folder) = databases::sqlite_place();
    let changes = "[auth]\npepper = 'of no worth'\n[egress]\nallow_subnets = ['127.0.0.0/8']";
    let mut config = Config::with(changes).expect("a right configuration");
    config.store.url = store.url;
    let server = Server::build(config).await.expect("it builds");
    let key = server.key(Environment::Live, "load", &[Grant::ADMIN]).await.expect("a key");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let (store, stop) = (server.store.clone(), CancellationToken::new());
    let ended = tokio::spawn(serve::run(server, listener, stop.clone().cancelled_owned()));

    let (tools, api) = (Tools::start().await, Api::new(&url, key.expose_secret()));
    let agent_id = api
        .agent(&json!({
            "name": "doubler", "model": "sim", "tools": [tools.tool("double")],
            "sim": {"turns": [
                {"text": "Let me see.", "tool_calls": [
                    {"name": "double", "arguments": {"n": "{{ input }}", "pause_ms": 20}}
                ]},
                {"text": "{{ input }} becomes {{ result.n }}."}
            ]}
        }))
        .await;
    let (before, begun) = (store.commits(), Instant::now());
    let runs = join_all((0..RUNS).map(|n| {
        let (api, agent_id) = (api.clone(), agent_id.clone());
        async move {
            let run_id = api.start(&agent_id, &json!(n)).await;
            (n, api.settled(&run_id).await)
        }
    }));
    for (n, run) in runs.await {
        assert_eq!(run["status"], "completed", "{run}");
        assert_eq!(run["output"]["result"], format!("{n} becomes {}.", 2 * n));
    }
    let (commits, took) = (store.commits() - before, begun.elapsed());
    let sent = tools.sent();
    assert_eq!(sent.len() as u64, RUNS);
    assert!(sent.iter().all(|sent| sent.end == End::Answered));
    println!(
        "{RUNS} runs with one tool call each in {took:?}: {commits} commits, {:.2} a run",
        commits as f64 / RUNS as f64
    );
    // One by one a run takes five: created, taken, asked, answered and sent, ended.
    assert!(commits < 4 * RUNS, "{commits} commits: they are not shared");
    stop.cancel();
    ended.await.expect("no panic").expect("it ends well");
}
