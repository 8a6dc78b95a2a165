//! gRPC-Web from pages: by `@connectrpc/connect-web`, and by Google's `grpc-web` in text and in
//! binary. Every call is preflighted, for it carries a key.

use serde_json::json;

use super::{
    a_patient_agent, a_waiting_run, app, go_on, live_text, long_text, nobody_follows, up_to,
};
use crate::harness::browser::{Client as With, Console};
use crate::harness::contract::method;
use crate::harness::doors::{Client, Door};
use crate::harness::web::WebPart;

#[tokio::test]
async fn a_page_makes_a_call_and_reads_the_answer() {
    let (_console, app) = (Console::watch(), app().await);
    for with in With::ALL {
        let page = Client::in_page(with.of_a_friend(), &app.url, Some(&app.admin));
        let agent = json!({"name": "Örtli", "model": "sim", "metadata": {"from": "a page"},
            "sim": {"turns": [{"text": "Hi."}]}});
        let made = page.call("AgentsService/CreateAgent", json!({ "agent": agent })).await;
        let made = made.unwrap_or_else(|f| panic!("{with:?}: {f:?}"));
        let get = json!({"id": made["id"]});
        // Checks on the way that the page can read the request id.
        let read = page.answer("AgentsService/GetAgent", get).await.expect("the agent");
        assert_eq!((&read.body["name"], &read.body["id"]), (&json!("Örtli"), &made["id"]));
        assert_eq!(read.body["metadata"], json!({"from": "a page"}), "{with:?}");
    }
}

#[tokio::test]
async fn a_page_reads_why_a_call_failed() {
    let (_console, app) = (Console::watch(), app().await);
    for with in With::ALL {
        let page = Client::in_page(with.of_a_friend(), &app.url, Some(&app.admin));
        let list = "AgentsService/ListAgents";
        let failure = page.call(list, json!({"limit": 1000})).await.expect_err("too many");
        let over_grpc = app.door(Door::Grpc).call(list, json!({"limit": 1000})).await;
        assert_eq!(failure, over_grpc.expect_err("too many"), "{with:?}");
        assert_eq!(failure.code, "invalid_field");
        assert_eq!(failure.details["field"], "limit");

        // The field, as a BadRequest names it.
        let agent = json!({"agent": {"name": "x", "model": "sim", "max_steps": 999,
            "sim": {"turns": [{"text": "Hi."}]}}});
        let create = method("AgentsService/CreateAgent");
        let mut answer = page.begin(&create, &agent);
        let error = loop {
            match answer.next().await.expect("no success") {
                Ok(WebPart::Headers(..)) => {}
                Ok(part) => panic!("{with:?}: {part:?}"),
                Err(error) => break error,
            }
        };
        assert_eq!(error.reason.as_deref(), Some("INVALID_FIELD"), "{with:?}: {error:?}");
        let [violation] = &error.violations[..] else { panic!("{with:?}: {error:?}") };
        assert_eq!(violation.field, "max_steps", "{with:?}");
        assert_eq!(violation.description, error.message, "{with:?}");
        let id = error.headers.get("x-request-id").map(String::as_str).unwrap_or_default();
        assert!(id.starts_with("req_"), "{with:?}: {error:?}");
    }
}

#[tokio::test]
async fn a_page_reads_that_a_stream_failed_before_it_began() {
    let (_console, app) = (Console::watch(), app().await);
    for with in With::ALL {
        let page = Client::in_page(with.of_a_friend(), &app.url, Some(&app.admin));
        let nobody = json!({"run_id": "run_1"});
        let failure = page.stream("RunsService/WatchRun", nobody).await.expect_err("no such run");
        assert_eq!(failure.code, "run_not_found", "{with:?}");
    }
}

#[tokio::test]
async fn a_page_reads_a_whole_stream() {
    let (_console, app) = (Console::watch(), app().await);
    let agent = json!({"name": "x", "model": "sim", "sim": {"turns": [{"text": "Hi."}]}});
    let create = json!({ "agent": agent });
    let made = app.door(Door::Rest).call("AgentsService/CreateAgent", create).await;
    let run = json!({"agent_id": made.expect("an agent")["id"], "input": "x"});
    for with in With::ALL {
        let page = Client::in_page(with.of_a_friend(), &app.url, Some(&app.admin));
        let events = page.stream("RunsService/StreamRun", run.clone()).await.expect("a run");
        let last = events.last().expect("an event");
        assert_eq!(last.kind, "run.completed", "{with:?}: {events:?}");
        assert_eq!(last.data["output"]["result"], "Hi.", "{with:?}");
    }
}

#[tokio::test]
async fn a_page_sees_tokens_while_the_run_goes_on() {
    let (_console, app) = (Console::watch(), app().await);
    let elsewhere = app.door(Door::Rest);
    for with in With::LIVE {
        let page = Client::in_page(with.of_a_friend(), &app.url, Some(&app.admin));
        let run = json!({"agent_id": a_patient_agent(&app).await, "input": "x"});
        let mut follow = page.follow("RunsService/StreamRun", run).await.expect("a stream");
        let begun = up_to(&mut follow, "run.requires_action").await;
        let run_id = begun[0].data["id"].as_str().expect("an id").to_owned();
        assert_eq!(live_text(&begun).1, 0, "{with:?}");

        go_on(&elsewhere, &run_id).await;
        let said = up_to(&mut follow, "run.requires_action").await;
        // The run waits again: nothing has ended, and the page has every word.
        let (text, pieces) = live_text(&said);
        assert!(text == long_text() && pieces > 1, "{with:?}: {pieces} pieces: {text}");

        go_on(&elsewhere, &run_id).await;
        let rest = up_to(&mut follow, "run.completed").await;
        assert_eq!(live_text(&rest).0, "Done.", "{with:?}");
        assert!(follow.next().await.is_none(), "{with:?}: the stream ends with the run");
        let live = begun.iter().chain(&said).chain(&rest).filter(|e| e.kind != "token");
        let numbers: Vec<_> = live.map(|event| event.id.parse::<usize>().expect("a seq")).collect();
        assert_eq!(numbers, (1..=numbers.len()).collect::<Vec<_>>(), "{with:?}: in order");
    }
}

#[tokio::test]
async fn a_page_that_goes_away_ends_its_call_and_not_the_run() {
    let (_console, app) = (Console::watch(), app().await);
    let elsewhere = app.door(Door::Rest);
    for with in With::LIVE {
        let page = Client::in_page(with.of_a_friend(), &app.url, Some(&app.admin));
        let run = a_waiting_run(&app).await;
        let run_id = run["id"].as_str().expect("an id");
        nobody_follows(&app).await;
        let watch = json!({ "run_id": run_id });
        let mut follow = page.follow("RunsService/WatchRun", watch).await.expect("a stream");
        up_to(&mut follow, "run.requires_action").await;
        assert_eq!(app.bus.runs(), 1, "{with:?}: the page follows");
        drop(follow);
        nobody_follows(&app).await;

        for _ in 0..2 {
            go_on(&elsewhere, run_id).await;
            let get = json!({"id": run_id, "wait": 30});
            elsewhere.call("RunsService/GetRun", get).await.expect("the run");
        }
        let get = json!({ "id": run_id });
        let run = elsewhere.call("RunsService/GetRun", get).await.expect("the run");
        assert_eq!(run["status"], "completed", "{with:?}: {run}");
    }
}
