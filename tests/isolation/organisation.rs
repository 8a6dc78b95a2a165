//! Keys of an organisation: the published agents of all its projects and their runs, in one
//! environment, and nothing else; and what is deleted is gone at once.

use serde_json::{Value, json};

use super::world::{Who, World, a_project, an_organisation, secret};
use super::{code, ok, text};
use crate::harness::doors::Door;

async fn all_agents(world: &World, door: Door, limit: i32) -> Vec<String> {
    let caller = world.caller(Who::Organisation, door);
    let (mut found, mut cursor) = (Vec::new(), String::new());
    loop {
        let fields = json!({"limit": limit, "cursor": cursor});
        let page = ok(&caller, "AgentsService/ListAgents", fields).await;
        let data = page["data"].as_array().expect("data");
        found.extend(data.iter().map(|agent| text(agent, "id")));
        match page["next_cursor"].as_str() {
            Some(next) => next.clone_into(&mut cursor),
            None => return found,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_of_an_organisation_lists_what_its_projects_have_published() {
    let world = World::new().await;
    let (first, second) = (&world.own, &world.foreign[1]);
    let newest = [&second.other, &second.agent, &first.other, &first.agent].map(String::clone);
    for door in Door::ALL {
        for limit in [1, 3, 100] {
            assert_eq!(all_agents(&world, door, limit).await, newest, "{door:?} {limit}");
        }
    }
    let caller = world.caller(Who::Organisation, Door::Rest);
    let page = ok(&caller, "AgentsService/ListAgents", json!({"page": 2, "limit": 3})).await;
    assert_eq!(page["pagination"], json!({"page": 2, "limit": 3, "total": 4, "pages": 2}));
    let by_label = json!({"metadata": ["a:b"]});
    assert_eq!(code(&caller, "AgentsService/ListAgents", by_label).await, "invalid_field");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_of_an_organisation_runs_agents_of_all_its_projects() {
    let world = World::new().await;
    for (door, space) in [(Door::Rest, &world.own), (Door::Grpc, &world.foreign[1])] {
        let caller = world.caller(Who::Organisation, door);
        let agent = json!({"id": space.agent});
        ok(&caller, "AgentsService/GetAgent", agent).await;
        let versions = json!({"agent_id": space.agent});
        let versions = ok(&caller, "AgentsService/ListAgentVersions", versions).await;
        assert_eq!(versions["data"].as_array().map(Vec::len), Some(1), "{versions}");
        let version = json!({"agent_id": space.agent, "version": 1});
        ok(&caller, "AgentsService/GetAgentVersion", version).await;
        let run = json!({"agent_id": space.agent, "input": "x", "wait": 30});
        let run = ok(&caller, "RunsService/CreateRun", run).await;
        // It belongs to the project, and the project's keys see it.
        let admin = world.app.client(door, &space.admin);
        ok(&admin, "RunsService/GetRun", json!({"id": run["id"]})).await;
        let call = &run["required_action"]["tool_calls"][0]["id"];
        let outputs = json!({"run_id": run["id"], "wait": 30,
            "tool_outputs": [{"tool_call_id": call, "output": "yes"}]});
        let done = ok(&caller, "RunsService/SubmitToolOutputs", outputs).await;
        assert_eq!(done["status"], "completed", "{done}");
        let events = json!({"run_id": run["id"]});
        let events = caller.stream("RunsService/WatchRun", events).await.expect("events");
        assert!(events.iter().any(|event| event.kind == "run.completed"));
        // A run of somebody else of the organisation.
        ok(&caller, "RunsService/GetRun", json!({"id": space.run})).await;
    }
    // What it lists is what it has made.
    let caller = world.caller(Who::Organisation, Door::Rest);
    let runs = ok(&caller, "RunsService/ListRuns", json!({})).await;
    assert_eq!(runs["data"].as_array().map(Vec::len), Some(2), "{runs}");
    let of_another = json!({"key_id": world.own.key});
    let runs = ok(&caller, "RunsService/ListRuns", of_another).await;
    assert_eq!(runs["data"], json!([]), "asked for the runs of another key");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_of_an_organisation_changes_no_agent() {
    let world = World::new().await;
    for door in Door::ALL {
        let caller = world.caller(Who::Organisation, door);
        let id = json!({"id": world.own.agent});
        for method in ["DeleteAgent", "PublishAgent", "UnpublishAgent"] {
            let refused = code(&caller, &format!("AgentsService/{method}"), id.clone()).await;
            assert_eq!(refused, "insufficient_scope", "{method} over {door:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_of_an_organisation_joins_and_interrupts_no_conversation_that_it_does_not_reach() {
    let world = World::new().await;
    let (own, wide) = (&world.own, world.caller(Who::Organisation, Door::Rest));
    let admin = world.app.client(Door::Rest, &own.admin);
    let create = "RunsService/CreateRun";
    let run = |agent: &str, session: &str, on: &str| {
        json!({"agent_id": agent, "input": "x", "session_id": session, "background": true,
            "on_session_busy": on})
    };
    let draft = ok(&admin, create, run(&own.draft, "s", "queue")).await;
    for on in ["queue", "interrupt"] {
        let refused = code(&wide, create, run(&own.agent, "s", on)).await;
        assert_eq!(refused, "insufficient_scope", "{on}");
    }
    let draft = ok(&admin, "RunsService/GetRun", json!({"id": draft["id"], "wait": 30})).await;
    assert_eq!(draft["status"], "requires_action", "it goes on");
    let first = ok(&wide, create, run(&own.agent, "t", "queue")).await;
    ok(&wide, create, run(&own.other, "t", "interrupt")).await;
    let first = ok(&wide, "RunsService/GetRun", json!({"id": first["id"], "wait": 30})).await;
    assert_eq!(first["status"], "cancelled", "its own");
    ok(&admin, "AgentsService/PublishAgent", json!({"id": own.draft})).await;
    ok(&wide, create, run(&own.agent, "s", "interrupt")).await;
}

async fn a_key(world: &World, fields: Value) -> String {
    let mut key = json!({"name": "k", "scopes": ["admin"]});
    for (name, value) in fields.as_object().expect("fields") {
        key[name] = value.clone();
    }
    secret(&ok(&world.operator(), "KeysService/CreateKey", key).await)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_deleted_is_gone_at_once() {
    let world = World::new().await;
    let second = &world.foreign[1];
    let wide = world.caller(Who::Organisation, Door::Rest);
    let run = json!({"agent_id": second.agent, "input": "x"});
    let run = ok(&wide, "RunsService/CreateRun", run).await;
    let admin = world.app.client(Door::Rest, &second.admin);
    let session = ok(&admin, "AuthService/CreateToken", json!({})).await;
    let session = world.app.client(Door::Rest, &text(&session, "token"));
    for caller in [&admin, &session] {
        ok(caller, "AuthService/GetMe", json!({})).await;
    }
    let project = json!({"id": second.project});
    ok(&world.operator(), "ProjectsService/DeleteProject", project.clone()).await;
    for caller in [&admin, &session] {
        assert_eq!(code(caller, "AuthService/GetMe", json!({})).await, "invalid_api_key");
    }
    assert_eq!(all_agents(&world, Door::Rest, 100).await.len(), 2, "those of the first project");
    let listed = ok(&wide, "RunsService/ListRuns", json!({})).await;
    assert_eq!(listed["data"], json!([]), "the run of a deleted project");
    for (method, fields, expected) in [
        ("RunsService/GetRun", json!({"id": run["id"]}), "run_not_found"),
        ("RunsService/CancelRun", json!({"id": second.run}), "run_not_found"),
        ("AgentsService/GetAgent", json!({"id": second.agent}), "agent_not_found"),
        ("AgentsService/InvokeAgent", json!({"agent_id": second.agent}), "agent_not_found"),
    ] {
        assert_eq!(code(&wide, method, fields).await, expected, "{method}");
    }
    let operator = world.operator();
    let gone = code(&operator, "ProjectsService/GetProject", project.clone()).await;
    assert_eq!(gone, "project_not_found");
    let key = json!({"name": "k", "project_id": second.project});
    assert_eq!(code(&operator, "KeysService/CreateKey", key).await, "project_not_found");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_organisation_goes_with_its_keys_and_not_before_its_projects() {
    let world = World::new().await;
    let operator = world.operator();
    let organisation = an_organisation(&operator).await;
    let project = a_project(&operator, &organisation).await;
    let key = a_key(&world, json!({ "organisation_id": organisation })).await;
    let caller = world.app.client(Door::Grpc, &key);
    ok(&caller, "AuthService/GetMe", json!({})).await;
    let it = json!({ "id": organisation });
    let delete = "OrganisationsService/DeleteOrganisation";
    assert_eq!(code(&operator, delete, it.clone()).await, "validation_failed");
    ok(&caller, "AuthService/GetMe", json!({})).await;
    ok(&operator, "ProjectsService/DeleteProject", json!({ "id": project })).await;
    ok(&operator, delete, it.clone()).await;
    assert_eq!(code(&caller, "AuthService/GetMe", json!({})).await, "invalid_api_key");
    let again = code(&operator, "OrganisationsService/GetOrganisation", it).await;
    assert_eq!(again, "organisation_not_found");
}
