//! Document 000, Push: `x-api-key` on `/api/v1`, published agents, invoking with parameters,
//! polling, keys that end at once, and the table of errors.

use serde_json::json;

use super::curl::{Printed, curl};
use super::{published, saying, unpublished};
use crate::harness::app::App;
use crate::harness::doors::Door;

const LIST: &str = r#"curl https://api.push.ai/api/v1/agents \
  -H "x-api-key: YOUR_API_KEY""#;

async fn list(app: &App, key: &str) -> Printed {
    curl(app, LIST, &[("YOUR_API_KEY", key)]).await
}

async fn invoke(app: &App, agent: &str, body: &str) -> Printed {
    let command = r#"curl https://api.push.ai/api/v1/agents/AGENT/invoke \
      -H "x-api-key: YOUR_API_KEY" -H "Content-Type: application/json" -d 'BODY'"#;
    let replaced = [("AGENT", agent), ("YOUR_API_KEY", &*app.runner), ("BODY", body)];
    curl(app, command, &replaced).await
}

#[tokio::test]
async fn the_published_agents_are_listed_to_every_key() {
    let app = App::start().await;
    unpublished(&app, saying("Draft", "x")).await;
    let id = published(&app, saying("Forecast", "x")).await;
    let door = app.door(Door::Rest);
    let another = door.call("KeysService/CreateKey", json!({"name": "another"})).await;
    let another = another.expect("a key")["secret"].as_str().expect("a secret").to_owned();
    for key in [&app.runner, &another] {
        let printed = list(&app, key).await;
        assert_eq!(printed.status, 200, "{printed:?}");
        let page = printed.json();
        let agents = page["data"].as_array().expect("data");
        assert_eq!(agents.len(), 1, "{page}");
        assert_eq!((&agents[0]["id"], &agents[0]["name"]), (&json!(id), &json!("Forecast")));
    }
}

#[tokio::test]
async fn a_key_that_is_missing_or_wrong_is_401() {
    let app = App::start().await;
    let bare = curl(&app, "curl https://api.push.ai/api/v1/agents", &[]).await;
    assert_eq!((bare.status, bare.code().as_str()), (401, "missing_api_key"));
    for wrong in ["YOUR_API_KEY", "sk_live_0000", ""] {
        let printed = list(&app, wrong).await;
        assert_eq!((printed.status, printed.code().as_str()), (401, "invalid_api_key"), "{wrong}");
    }
}

#[tokio::test]
async fn a_revoked_or_regenerated_key_is_401_at_once() {
    let app = App::start().await;
    let door = app.door(Door::Rest);
    for end in ["KeysService/RevokeKey", "KeysService/RegenerateKey", "KeysService/DeleteKey"] {
        let key = door.call("KeysService/CreateKey", json!({"name": "old"})).await.expect("a key");
        let old = key["secret"].as_str().expect("a secret");
        assert_eq!(list(&app, old).await.status, 200);
        let new = door.call(end, json!({"id": key["id"]})).await.expect("its end");
        let printed = list(&app, old).await;
        assert_eq!((printed.status, printed.code().as_str()), (401, "invalid_api_key"), "{end}");
        if let Some(new) = new["secret"].as_str() {
            assert_eq!(list(&app, new).await.status, 200);
        }
    }
}

#[tokio::test]
async fn an_agent_is_invoked_with_parameters_and_its_run_is_polled() {
    let app = App::start().await;
    let mut agent = saying("Forecast", "{{ parameters.region }}: up");
    agent["parameters"] =
        json!([{"name": "region", "type": "enum", "options": ["EMEA", "APAC"], "required": true}]);
    let id = published(&app, agent).await;
    let run = invoke(&app, &id, r#"{"parameters": {"region": "EMEA"}}"#).await;
    assert_eq!(run.status, 200, "{run:?}");
    let poll = r#"curl https://api.push.ai/api/v1/runs/RUN -H "x-api-key: YOUR_API_KEY""#;
    let run = run.json()["id"].as_str().expect("an id").to_owned();
    let polled = curl(&app, poll, &[("RUN", &run), ("YOUR_API_KEY", &app.runner)]).await.json();
    assert_eq!(polled["status"], "completed");
    assert_eq!(polled["output"]["result"], "EMEA: up");
}

#[tokio::test]
async fn the_errors_of_the_page_are_told_in_its_envelope() {
    let app = App::start().await;
    let draft = unpublished(&app, saying("Draft", "x")).await;
    let mut agent = saying("Forecast", "x");
    agent["parameters"] = json!([{"name": "region", "type": "enum", "options": ["EMEA"]}]);
    let id = published(&app, agent).await;
    let get = r#"curl https://api.push.ai/api/v1/PATH -H "x-api-key: YOUR_API_KEY""#;
    let gets = [
        ("agents/123", "agent_not_found"),
        (&format!("agents/{draft}"), "agent_not_found"),
        ("runs/123", "run_not_found"),
        ("runs/run_00000000000000000000000000", "run_not_found"),
    ];
    for (path, code) in gets {
        let printed = curl(&app, get, &[("PATH", path), ("YOUR_API_KEY", &app.runner)]).await;
        assert_eq!((printed.status, printed.code().as_str()), (404, code), "{path}");
    }
    for (agent, parameters, status, code) in [
        (&draft, r"{}", 404, "agent_not_found"),
        (&id, r#"{"colour": "red"}"#, 400, "unknown_parameter"),
        (&id, r#"{"region": "MOON"}"#, 400, "invalid_parameter_value"),
    ] {
        let body = format!(r#"{{"parameters": {parameters}}}"#);
        let printed = invoke(&app, agent, &body).await;
        assert_eq!((printed.status, printed.code().as_str()), (status, code), "{body}");
    }
}
