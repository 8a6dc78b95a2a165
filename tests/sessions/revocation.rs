//! The end of a key: refused at once where it was revoked and soon elsewhere; and what it has open
//! ends with it.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::timeout;

use super::{a_key, a_session, me, ok, text};
use crate::harness::app::App;
use crate::harness::databases;
use crate::harness::doors::{Client, Door, Follow};
use crate::harness::process::{Api, Program};

/// Longest wait; a test that reaches it has failed.
const WAIT: Duration = Duration::from_secs(60);
/// How long another process may go on with what it knows of a key, and a good deal.
const ELSEWHERE: Duration = Duration::from_secs(8);

fn patient() -> Value {
    json!({
        "name": "patient", "model": "sim", "tools": [{"name": "ask", "client": {}}],
        "sim": {"turns": [{"when": "turn == 0", "tool_calls": [{"name": "ask"}]}, {"text": "x"}]},
    })
}

/// A run that waits for an output for as long as the test likes.
async fn a_waiting_run(app: &App) -> String {
    let admin = app.door(Door::Rest);
    let agent = ok(&admin, "AgentsService/CreateAgent", json!({"agent": patient()})).await;
    let run = json!({"agent_id": agent["id"], "input": "x", "wait": 30});
    let run = ok(&admin, "RunsService/CreateRun", run).await;
    assert_eq!(run["status"], "requires_action", "{run}");
    text(&run, "id")
}

/// A stream of the run, read up to where nothing more comes.
async fn open(caller: &Client, run: &str) -> Follow {
    let watch = json!({ "run_id": run });
    let mut follow = caller.follow("RunsService/WatchRun", watch).await.expect("a stream");
    loop {
        let event = follow.next().await.expect("an event").expect("no failure");
        if event.kind == "run.requires_action" {
            return follow;
        }
    }
}

async fn ends(mut follow: Follow) {
    let failure = follow.next().await.expect("a failure").expect_err("its key is no more");
    assert_eq!(failure.code, "invalid_api_key");
    // The client of gRPC-Web has ended the call with the failure.
    if !matches!(follow, Follow::GrpcWeb(..)) {
        assert!(follow.next().await.is_none(), "nothing follows it");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_key_is_refused_at_once_and_its_streams_end() {
    let app = App::start().await;
    let run = a_waiting_run(&app).await;
    for door in Door::ALL {
        let (key, caller) = a_key(&app, door, &["read"]).await;
        let (_, holder) = a_session(&app, &caller, json!({})).await;
        let streams = [open(&caller, &run).await, open(&holder, &run).await];
        ok(&app.door(Door::Rest), "KeysService/RevokeKey", json!({ "id": key })).await;
        for dead in [&caller, &holder] {
            assert_eq!(me(dead).await, Err("invalid_api_key".to_owned()), "{door:?}");
        }
        for stream in streams {
            ends(stream).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_ends_with_its_session_and_with_its_project() {
    let app = App::start().await;
    let run = a_waiting_run(&app).await;
    let (_, caller) = a_key(&app, Door::Rest, &["read"]).await;
    let (_, holder) = a_session(&app, &caller, json!({})).await;
    let (mut kept, stream) = (open(&caller, &run).await, open(&holder, &run).await);
    ok(&holder, "AuthService/DeleteSession", json!({})).await;
    ends(stream).await;
    let operator = app.client(Door::Rest, &app.operator);
    let project = me(&caller).await.expect("me")["project_id"].clone();
    ok(&operator, "ProjectsService/DeleteProject", json!({ "id": project })).await;
    // Its runs end too; whichever comes first ends the stream.
    let mut last = String::new();
    while let Some(event) = kept.next().await {
        match event {
            Ok(event) => last = event.kind,
            Err(failure) => last = failure.code,
        }
    }
    assert!(["invalid_api_key", "run.cancelled"].contains(&last.as_str()), "{last}");
}

/// What a caller reads of a stream in lines of JSON.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_of_json_end_with_the_failure_too() {
    let app = App::start().await;
    let run = a_waiting_run(&app).await;
    let key = ok(&app.door(Door::Rest), "KeysService/CreateKey", json!({"name": "k"})).await;
    let http = reqwest::Client::builder().no_proxy().build().expect("an HTTP client");
    let request = http.get(format!("{}/v1/runs/{run}/events", app.url));
    let request = request.bearer_auth(text(&key, "secret"));
    let answer = request.header("accept", "application/x-ndjson").send().await.expect("an answer");
    let kind = answer.headers()["content-type"].to_str().expect("a text").to_owned();
    assert!(kind.starts_with("application/x-ndjson"), "{kind}");
    ok(&app.door(Door::Rest), "KeysService/RevokeKey", json!({"id": key["id"]})).await;
    let text = timeout(WAIT, answer.text()).await.expect("it ends").expect("in order");
    let last: Value = serde_json::from_str(text.lines().last().expect("a line")).expect("JSON");
    assert_eq!(last["error"]["code"], "invalid_api_key", "{text}");
}

/// Asks until the key is refused.
async fn refused(api: &Api) {
    let asking = async {
        loop {
            match api.get("/v1/me").await.0 {
                200 => tokio::task::yield_now().await,
                status => return assert_eq!(status, 401),
            }
        }
    };
    timeout(ELSEWHERE, asking).await.expect("the key opens still");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_another_process_has_revoked_is_refused_soon() {
    let (store, _place) = databases::postgres_place(None).await;
    let config = "[auth]\npepper = \"a pepper for tests, of no worth\"";
    let (mut first, mut second) =
        (Program::on(&store.url, config), Program::on(&store.url, config));
    let here = first.start().await;
    let there = second.start_with(&here.key).await;
    let agent = here.agent(&patient()).await;
    let run = here.start(&agent, &json!("x")).await;
    assert_eq!(here.settled(&run).await["status"], "requires_action");
    let (status, key) = here.post("/v1/keys", &json!({"name": "k", "scopes": ["read"]})).await;
    assert_eq!(status, 201, "{key}");
    let (status, token) = {
        let holder = Api::new(&here.url, &text(&key, "secret"));
        holder.post("/v1/auth/token", &json!({})).await
    };
    assert_eq!(status, 201, "{token}");
    let callers =
        [text(&key, "secret"), text(&token, "token")].map(|key| Api::new(&there.url, &key));
    let mut streams = Vec::new();
    for caller in &callers {
        assert_eq!(caller.get("/v1/me").await.0, 200);
        let events = caller.request(reqwest::Method::GET, &format!("/v1/runs/{run}/events"));
        let stream = events.header("accept", "text/event-stream").send().await;
        streams.push(stream.expect("a stream").text());
    }
    let (status, _) = here.post(&format!("/v1/keys/{}/revoke", text(&key, "id")), &json!({})).await;
    assert_eq!(status, 200);
    for (caller, stream) in callers.iter().zip(streams) {
        assert_eq!(caller.at(&here.url).get("/v1/me").await.0, 401, "at once where it was revoked");
        refused(caller).await;
        let text = timeout(WAIT, stream).await.expect("it ends").expect("in order");
        assert!(text.contains("invalid_api_key"), "{text}");
    }
}
