//! Other tenants' names where no name belongs: in headers, queries and bodies. What a caller owns
//! is what its key says.

use serde_json::{Value, json};

use super::{code, send, written};
use crate::harness::app::App;
use crate::harness::doors::Door;

const HEADERS: [&str; 10] = [
    "x-project",
    "x-project-id",
    "x-organisation",
    "x-organization-id",
    "x-tenant",
    "x-environment",
    "x-key-id",
    "project_id",
    "openai-project",
    "x-runplane-project",
];

async fn another_project(app: &App) -> [String; 2] {
    let operator = app.client(Door::Rest, &app.operator);
    let organisation =
        operator.call("OrganisationsService/CreateOrganisation", json!({"name": "o"}));
    let organisation = organisation.await.expect("an organisation");
    let project = json!({"name": "p", "organisation_id": organisation["id"]});
    let project = operator.call("ProjectsService/CreateProject", project).await.expect("a project");
    [&organisation, &project].map(|of| of["id"].as_str().expect("an id").to_owned())
}

#[tokio::test]
async fn no_header_moves_a_caller() {
    let app = App::start().await;
    let [organisation, project] = another_project(&app).await;
    for door in Door::ALL {
        let expected = app.door(door).call("AuthService/GetMe", json!({})).await.expect("me");
        for name in HEADERS {
            for value in [&*project, &*organisation, "test"] {
                let caller = app.door(door).with_header(name, value);
                let told = caller.call("AuthService/GetMe", json!({})).await.expect("me");
                assert_eq!(told, expected, "{name}: {value} over {door:?}");
            }
        }
    }
}

#[tokio::test]
async fn no_query_and_no_body_moves_a_caller() {
    let app = App::start().await;
    let before = written(&app).await;
    let [organisation, project] = another_project(&app).await;
    let key = format!("Bearer {}", app.admin);
    let headers: [(&str, &[u8]); 1] = [("authorization", key.as_bytes())];
    let agent = json!({"name": "x", "model": "sim", "sim": {"turns": [{"text": "Hi."}]},
        "project_id": project});
    for (line, body) in [
        (format!("GET /v1/me?project_id={project}"), Value::Null),
        (format!("GET /v1/agents?project_id={project}"), Value::Null),
        (format!("GET /v1/runs?organisation_id={organisation}"), Value::Null),
        (format!("GET /v1/keys?environment=test&project_id={project}"), Value::Null),
        ("POST /v1/agents".to_owned(), agent),
        ("POST /v1/runs".to_owned(), json!({"agent_id": "agt_1", "project_id": project})),
        ("POST /v1/auth/token".to_owned(), json!({ "project_id": project })),
        ("POST /v1/auth/token".to_owned(), json!({"level": "operator"})),
    ] {
        let answer = send(&app, &line, &headers, &body).await;
        assert_eq!(code(&answer), (400, "unknown_field"), "{line}: {answer:?}");
    }
    for (field, id) in [("project_id", &project), ("organisation_id", &organisation)] {
        let me = send(&app, "GET /v1/me", &headers, &Value::Null).await.1;
        // Its own id is refused in the same way: only an operator names one.
        for id in [id.as_str(), me[field].as_str().expect("an id")] {
            let body = json!({"name": "x", field: id});
            let answer = send(&app, "POST /v1/keys", &headers, &body).await;
            assert_eq!(code(&answer), (400, "invalid_field"), "{answer:?}");
            assert_eq!(answer.1["error"]["details"]["field"], field);
        }
    }
    assert_eq!(written(&app).await, before);
}

/// What only the server sets of a key stays as it is, whatever a change names.
#[tokio::test]
async fn no_change_of_a_key_moves_it() {
    let app = App::start().await;
    let [organisation, project] = another_project(&app).await;
    for door in Door::ALL {
        let admin = app.door(door);
        let new = json!({"name": "k", "scopes": ["read"]});
        let mut key = admin.call("KeysService/CreateKey", new).await.expect("a key");
        let change = json!({"id": key["id"],
            "update_mask": "project_id,organisation_id,scopes,level,environment,id,expires_at",
            "key": {"project_id": project, "organisation_id": organisation, "scopes": ["admin"],
                "level": "operator", "environment": "test", "id": "key_1"}});
        let changed = admin.call("KeysService/UpdateKey", change).await.expect("no change");
        key.as_object_mut().expect("a key").remove("secret");
        assert_eq!(changed, key, "{door:?}");
    }
}
