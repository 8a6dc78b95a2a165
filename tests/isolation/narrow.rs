//! Keys for one agent: they see it and its runs, and of another not even whether it exists.

use serde_json::{Value, json};

use super::world::{Who, World};
use super::{code, ok, text};
use crate::harness::doors::Door;

fn ids(list: &Value) -> Vec<String> {
    list["data"].as_array().expect("data").iter().map(|one| text(one, "id")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_narrow_key_sees_its_agent_and_its_runs() {
    let world = World::new().await;
    for door in Door::ALL {
        let caller = world.caller(Who::Narrow, door);
        let agents = ok(&caller, "AgentsService/ListAgents", json!({})).await;
        assert_eq!(ids(&agents), [&*world.own.agent], "{door:?}");
        let runs = ok(&caller, "RunsService/ListRuns", json!({})).await;
        assert_eq!(ids(&runs), [&*world.own.run], "{door:?}");
        let paged = ok(&caller, "RunsService/ListRuns", json!({"page": 1})).await;
        assert_eq!(paged["pagination"]["total"], 1, "{door:?}: how many others there are");
        let both = json!({"status": ["requires_action", "queued"], "agent_id": world.own.other});
        assert_eq!(ids(&ok(&caller, "RunsService/ListRuns", both).await), Vec::<String>::new());
        let agent = json!({"agent_id": world.own.agent});
        ok(&caller, "AgentsService/ListAgentVersions", agent).await;
        let events = json!({"run_id": world.own.run});
        ok(&caller, "RunsService/ListRunEvents", events).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_narrow_key_works_with_its_agent() {
    let world = World::new().await;
    let caller = world.caller(Who::Narrow, Door::Rest);
    let (agent, run) = (&world.own.agent, &world.own.run);
    ok(&caller, "AgentsService/UpdateAgent", json!({"id": agent, "agent": {"name": "n"}})).await;
    let outputs = json!([{"tool_call_id": world.own.call, "output": "yes"}]);
    let outputs = json!({"run_id": run, "tool_outputs": outputs, "wait": 30});
    let done = ok(&caller, "RunsService/SubmitToolOutputs", outputs).await;
    assert_eq!(done["status"], "completed", "{done}");
    let new =
        ok(&caller, "AgentsService/InvokeAgent", json!({"agent_id": agent, "query": "x"})).await;
    ok(&caller, "RunsService/CancelRun", json!({"id": new["id"]})).await;
    ok(&caller, "AgentsService/UnpublishAgent", json!({ "id": agent })).await;
    ok(&caller, "AgentsService/DeleteAgent", json!({ "id": agent })).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_narrow_key_makes_and_changes_no_other_agent() {
    let world = World::new().await;
    for door in Door::ALL {
        let caller = world.caller(Who::Narrow, door);
        let new = json!({"agent": {"name": "x", "model": "sim",
            "sim": {"turns": [{"text": "Hi."}]}}});
        let refused = code(&caller, "AgentsService/CreateAgent", new).await;
        assert_eq!(refused, "insufficient_scope", "{door:?}");
        for other in [&world.own.other, &world.own.draft, &world.foreign[2].agent] {
            let id = json!({ "id": other });
            for (method, fields) in [
                ("PublishAgent", id.clone()),
                ("UnpublishAgent", id.clone()),
                ("DeleteAgent", id.clone()),
                ("UpdateAgent", json!({"id": other, "agent": {"name": "stolen"}})),
            ] {
                let refused = code(&caller, &format!("AgentsService/{method}"), fields).await;
                assert_eq!(refused, "insufficient_scope", "{method} over {door:?}");
            }
        }
        let run = json!({"id": world.own.other_run});
        assert_eq!(code(&caller, "RunsService/CancelRun", run).await, "run_not_found");
    }
    let admin = world.caller(Who::Admin, Door::Rest);
    let other = ok(&admin, "AgentsService/GetAgent", json!({"id": world.own.other})).await;
    assert_eq!((&other["published"], &other["version"]), (&json!(true), &json!(1)));
}

/// One verb for one agent and another for another: each holds for its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_given_for_one_agent_holds_for_no_other() {
    let world = World::new().await;
    let (a, b) = (&world.own.agent, &world.own.other);
    let scopes = [format!("runs:create:{a}"), format!("runs:read:{b}"), "agents:read".to_owned()];
    let key = json!({"name": "mixed", "scopes": scopes});
    let admin = world.caller(Who::Admin, Door::Rest);
    let key = ok(&admin, "KeysService/CreateKey", key).await;
    let caller = world.app.client(Door::Rest, &text(&key, "secret"));
    let run = |agent: &str| json!({"agent_id": agent, "input": "x"});
    let own = ok(&caller, "RunsService/CreateRun", run(a)).await;
    assert_eq!(code(&caller, "RunsService/CreateRun", run(b)).await, "insufficient_scope");
    let unseen = json!({"id": own["id"]});
    assert_eq!(code(&caller, "RunsService/GetRun", unseen).await, "run_not_found");
    ok(&caller, "RunsService/GetRun", json!({"id": world.own.other_run})).await;
    let listed = ok(&caller, "RunsService/ListRuns", json!({})).await;
    assert_eq!(ids(&listed), [&*world.own.other_run]);
    let cancel = json!({"id": world.own.other_run});
    assert_eq!(code(&caller, "RunsService/CancelRun", cancel).await, "insufficient_scope");
}
