//! Document 002, AI Agents: `Authorization: Token`, the life of an agent, and a run that streams
//! whole messages as `step` events. The page has no `curl`; its headers and endpoints are walked.

use serde_json::{Value, json};

use super::curl::{Printed, curl};
use super::saying;
use crate::harness::app::App;

async fn call(app: &App, verb: &str, path: &str, body: Option<Value>) -> Printed {
    let mut command = format!(
        "curl -X {verb} -H \"Authorization: Token your-api-token\" https://api.example.com/v1{path}"
    );
    if let Some(body) = body {
        command = format!("{command} -H \"Content-Type: application/json\" -d '{body}'");
    }
    curl(app, &command, &[("your-api-token", &app.admin)]).await
}

async fn an_agent(app: &App) -> String {
    let mut agent = saying("Clerk", "Done: {{ input }}");
    agent["instructions"] = json!("do what user says");
    let printed = call(app, "POST", "/agents", Some(agent)).await;
    assert_eq!(printed.status, 201, "{printed:?}");
    printed.json()["id"].as_str().expect("an id").to_owned()
}

#[tokio::test]
async fn an_agent_is_created_listed_read_modified_and_deleted() {
    let app = App::start().await;
    let id = an_agent(&app).await;
    let list = call(&app, "GET", "/agents", None).await;
    assert_eq!((list.status, &list.json()["data"][0]["id"]), (200, &json!(id)));
    let path = format!("/agents/{id}");
    let read = call(&app, "GET", &path, None).await;
    assert_eq!((read.status, &read.json()["name"]), (200, &json!("Clerk")));
    let changed = call(&app, "PATCH", &path, Some(json!({"name": "Head clerk"}))).await;
    assert_eq!(changed.status, 200, "{changed:?}");
    let changed = changed.json();
    assert_eq!((&changed["name"], &changed["version"]), (&json!("Head clerk"), &json!(2)));
    assert_eq!(changed["instructions"], "do what user says", "what is not named stays");
    let gone = call(&app, "DELETE", &path, None).await;
    assert_eq!((gone.status, gone.body.as_str()), (204, ""), "no content");
    assert!(!gone.headers.contains_key("content-type"), "{gone:?}");
    let after = call(&app, "GET", &path, None).await;
    assert_eq!((after.status, after.code().as_str()), (404, "agent_not_found"));
}

#[tokio::test]
async fn a_token_that_is_wrong_is_refused() {
    let app = App::start().await;
    let command = r#"curl https://api.example.com/v1/agents -H "Authorization: Token wrong""#;
    let printed = curl(&app, command, &[]).await;
    assert_eq!((printed.status, printed.code().as_str()), (401, "invalid_api_key"));
}

#[tokio::test]
async fn a_run_is_started_and_answers_at_once() {
    let app = App::start().await;
    let id = an_agent(&app).await;
    let started =
        call(&app, "POST", &format!("/agents/{id}/run"), Some(json!({"input": "x"}))).await;
    assert_eq!(started.status, 202, "{started:?}");
    let run = started.json()["id"].as_str().expect("an id").to_owned();
    let ended = call(&app, "GET", &format!("/runs/{run}?wait=30"), None).await.json();
    assert_eq!(
        (&ended["status"], &ended["output"]["result"]),
        (&json!("completed"), &json!("Done: x"))
    );
}

#[tokio::test]
async fn a_run_streams_its_messages_as_steps() {
    let app = App::start().await;
    let id = an_agent(&app).await;
    let streams =
        [("stream", json!({"input": "sort"})), ("run", json!({"input": "sort", "stream": true}))];
    for (path, body) in streams {
        let printed = call(&app, "POST", &format!("/agents/{id}/{path}"), Some(body)).await;
        assert_eq!(printed.status, 200, "{printed:?}");
        let frames = printed.frames();
        let steps: Vec<_> = frames.iter().filter(|frame| frame.event == "step").collect();
        let steps: Vec<Value> =
            steps.iter().map(|step| serde_json::from_str(&step.data).expect("JSON")).collect();
        let said: Vec<_> = steps.iter().map(|step| (&step["role"], &step["content"])).collect();
        let expected =
            [("system", "do what user says"), ("user", "sort"), ("assistant", "Done: sort")];
        assert_eq!(said.len(), expected.len(), "{said:?}");
        for (said, (role, content)) in said.iter().zip(expected) {
            assert_eq!(*said, (&json!(role), &json!(content)));
        }
        for step in &steps {
            assert!(step["id"].as_str().is_some_and(|id| id.starts_with("stp_")), "{step}");
            assert!(step["iteration_id"].as_str().is_some_and(|id| !id.is_empty()), "{step}");
        }
        assert_eq!(frames.last().map(|frame| frame.event.as_str()), Some("run.completed"));
    }
}
