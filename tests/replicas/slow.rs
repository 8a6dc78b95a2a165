//! Followers that read nothing: each is closed after a while, over every door, and costs nothing
//! then; one that waits for a quiet run is not.

use reqwest::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use super::WAIT;
use super::told::{Stream, Told};
use super::until;
use crate::harness::app::{App, Options};
use crate::harness::contract::{encode, method};
use crate::harness::doors::{Client, Door};
use crate::harness::process::Api;

/// Together more than the buffers of a connection hold.
const TEXTS: usize = 30;

/// A run of an agent that says what it was given so many times, and asks after each; until it asks
/// the last time.
async fn run(app: &App, input: &str, texts: usize) -> String {
    let admin = app.door(Door::Rest);
    let agent = json!({
        "name": "loud", "model": "sim", "tools": [{"name": "ask", "client": {}}],
        "sim": {"turns": [
            {"when": "true", "text": "{{ input }}", "tool_calls": [{"name": "ask"}]},
        ]},
    });
    let agent = admin.call("AgentsService/CreateAgent", json!({ "agent": agent })).await;
    let id = &agent.expect("an agent")["id"];
    let run = json!({"agent_id": id, "input": input});
    let run = admin.call("RunsService/CreateRun", run).await.expect("a run");
    let id = run["id"].as_str().expect("an id").to_owned();
    let follow = admin.follow("RunsService/WatchRun", json!({ "run_id": id })).await;
    let (mut follow, mut left) = (follow.expect("a stream"), texts);
    let (api, path) =
        (Api::new(&app.url, &app.admin), format!("/v1/runs/{id}/submit_tool_outputs"));
    loop {
        let event = follow.next().await.expect("no end").expect("no failure");
        if event.kind != "run.requires_action" {
            continue;
        }
        left -= 1;
        if left == 0 {
            return id;
        }
        let call = &event.data["required_action"]["tool_calls"][0]["id"];
        let outputs = json!({"tool_outputs": [{"tool_call_id": call, "output": "go on"}]});
        // The answer has all that was said: it is not read.
        let taken = api.request(Method::POST, &path).json(&outputs).send().await;
        assert_eq!(taken.expect("an answer").status(), 200);
    }
}

/// A caller that sends a request over HTTP/1.1, and has little room for an answer.
async fn ask(app: &App, head: &str, body: &[u8]) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a small buffer");
    let address = app.url.trim_start_matches("http://").parse().expect("an address");
    let mut stream = socket.connect(address).await.expect("a connection");
    let (key, length) = (&app.admin, body.len());
    let fields = format!("host: x\r\nauthorization: Bearer {key}\r\ncontent-length: {length}");
    let head = format!("{head}\r\n{fields}\r\n\r\n");
    stream.write_all(&[head.as_bytes(), body].concat()).await.expect("it takes a request");
    stream
}

/// Waits until so many runs are followed.
async fn followed(app: &App, count: usize, how: &str) {
    let waiting = async {
        while app.bus.followed().len() != count {
            tokio::task::yield_now().await;
        }
    };
    let late = timeout(WAIT, waiting).await.is_err();
    assert!(!late, "{} runs are followed, not {count}: {how}", app.bus.followed().len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_that_reads_nothing_is_closed_and_one_that_waits_is_not() {
    let config = "[server]\nstream_stalled_seconds = 1\n".to_owned();
    let app = App::with(Options { config, ..Options::default() }).await;
    let quiet = run(&app, "x", 1).await;
    let loud = run(&app, &"much ".repeat(40_000), TEXTS).await;
    let client = Client::new(Door::Rest, &app.url, Some(&app.admin));
    let follow = client.follow("RunsService/WatchRun", json!({ "run_id": quiet })).await;
    let mut waiting = Stream::Door(Box::new(follow.expect("a stream")));
    let mut told = Told::default();
    until(&mut waiting, &mut told, "run.requires_action", 1).await;
    followed(&app, 1, "before").await;
    let get = |accept: &str| format!("GET /v1/runs/{loud}/events HTTP/1.1\r\naccept: {accept}");
    let watch = encode(&method("RunsService/WatchRun").input(), &json!({ "run_id": loud }));
    let length = u32::try_from(watch.len()).expect("short").to_be_bytes();
    let watch = [&[0][..], &length, &watch].concat();
    let post = "POST /runplane.v1.RunsService/WatchRun HTTP/1.1\r\n\
        content-type: application/grpc-web+proto";
    let asked = [
        (get("text/event-stream"), &[][..]),
        (get("application/x-ndjson"), &[][..]),
        (post.to_owned(), &watch[..]),
    ];
    for (head, body) in asked {
        let mut stream = ask(&app, &head, body).await;
        followed(&app, 2, &head).await;
        followed(&app, 1, &head).await;
        let mut text = Vec::new();
        // Cut: it may be reset.
        let _cut = timeout(WAIT, stream.read_to_end(&mut text)).await.expect("it was closed");
        assert!(text.starts_with(b"HTTP/1.1 200 "), "{head}");
        assert!(!text.ends_with(b"\r\n0\r\n\r\n"), "{head}: it was cut, and shows it");
    }
    let client = Client::new(Door::Grpc, &app.url, Some(&app.admin));
    let unread = client.follow("RunsService/WatchRun", json!({ "run_id": loud })).await;
    let unread = unread.expect("a stream");
    followed(&app, 2, "gRPC").await;
    followed(&app, 1, "gRPC").await;
    drop(unread);
    assert_eq!(app.bus.followed().len(), 1, "who waits for a quiet run is left alone");
    let admin = app.door(Door::Rest);
    admin.call("RunsService/CancelRun", json!({ "id": quiet })).await.expect("cancelled");
    until(&mut waiting, &mut told, "run.cancelled", 1).await;
    drop(waiting);
    app.stop().await;
}
