//! Every list and every stream holds what is the caller's and nothing else; and a cursor is good
//! for the list that it is from.

use prost_reflect::MethodDescriptor;
use serde_json::{Value, json};

use super::fields::{methods, name, operates, request};
use super::world::{Who, World};
use super::{code, ok};
use crate::harness::doors::Door;

/// Methods that answer with pages.
fn lists() -> Vec<MethodDescriptor> {
    let pages = |m: &MethodDescriptor| m.output().get_field_by_name("has_more").is_some();
    let found: Vec<_> = methods().into_iter().filter(pages).collect();
    assert!(found.len() >= 7, "{found:?}");
    found
}

fn merged(mut fields: Value, more: &Value) -> Value {
    for (name, value) in more.as_object().expect("fields") {
        fields[name] = value.clone();
    }
    fields
}

/// Pages of a list, asked for in each way that it knows.
fn ways(list: &MethodDescriptor, own: &Value) -> Vec<Value> {
    let has = |name: &str| list.input().get_field_by_name(name).is_some();
    let ways = [
        json!({}),
        json!({"limit": 100}),
        json!({"limit": 100, "order": "asc"}),
        json!({"limit": 100, "page": 1}),
        json!({"limit": 100, "published": false}),
        json!({"limit": 100, "status": ["requires_action", "completed"]}),
        json!({"limit": 100, "status": ["requires_action"], "page": 1}),
        json!({"limit": 100, "created_after": "2001-01-01T00:00:00Z"}),
    ];
    let known = |way: &&Value| way.as_object().expect("fields").keys().all(|name| has(name));
    ways.iter().filter(known).map(|way| merged(own.clone(), way)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_holds_nothing_of_another() {
    let world = World::new().await;
    let mut heard_own = 0;
    for door in Door::ALL {
        for who in Who::ALL {
            for list in lists() {
                heard_own += listened(&world, (who, door), &list).await;
            }
        }
    }
    assert!(heard_own > 100, "the lists hold only {heard_own} times what they should");
}

/// Asks for a list in all ways; how many of the pages held what is of the callers' own place.
async fn listened(world: &World, (who, door): (Who, Door), list: &MethodDescriptor) -> usize {
    let caller = world.caller(who, door);
    let mut heard_own = 0;
    for fields in ways(list, &request(list, &world.own)) {
        let at = format!("{} {fields} over {door:?}", name(list));
        let page = match caller.call(&name(list), fields).await {
            Ok(page) => page,
            Err(failure) => json!(format!("{failure:?}")),
        };
        world.listen(who, &at, &page);
        heard_own += usize::from(page.to_string().contains("-of-own"));
    }
    heard_own
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn labels_of_another_find_nothing() {
    let world = World::new().await;
    for who in [Who::Admin, Who::Session, Who::Runner, Who::Narrow] {
        let caller = world.caller(who, Door::Rest);
        for list in ["AgentsService/ListAgents", "RunsService/ListRuns"] {
            let own = json!({"metadata": [format!("canary:{}", world.own.canary(""))]});
            let found = ok(&caller, list, own).await;
            assert_eq!(found["data"].as_array().map(Vec::len), Some(1), "{who:?}: {found}");
            for word in world.canaries(who) {
                let foreign = json!({"metadata": [format!("canary:{word}")]});
                let found = ok(&caller, list, foreign).await;
                assert_eq!(found["data"], json!([]), "{list} as {who:?} by {word}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_holds_what_its_run_does() {
    let world = World::new().await;
    for door in Door::ALL {
        for who in [Who::Admin, Who::Session, Who::Runner, Who::Narrow, Who::Organisation] {
            let caller = world.caller(who, door);
            let watch = json!({"run_id": world.own.run});
            let mut follow = caller.follow("RunsService/WatchRun", watch).await.expect("events");
            let mut heard = Vec::new();
            while !heard.iter().any(|e: &String| e.contains("run.requires_action")) {
                let event = follow.next().await.expect("an event").expect("no failure");
                heard.push(format!("{event:?}"));
            }
            world.listen(who, "WatchRun", &json!(heard));
            assert!(heard.concat().contains(&world.own.canary("")), "{heard:?}");
        }
    }
}

/// A cursor of each list, as a caller of a space gets it.
async fn cursor(world: &World, admin: &str, list: &MethodDescriptor, own: &Value) -> String {
    let key = if operates(list) { &world.app.operator } else { admin };
    let caller = world.app.client(Door::Rest, key);
    let page = ok(&caller, &name(list), merged(own.clone(), &json!({"limit": 1}))).await;
    super::text(&page, "next_cursor")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cursor_is_good_for_its_own_list_alone() {
    let world = World::new().await;
    let signed = |m: &MethodDescriptor| m.input().get_field_by_name("cursor").is_some();
    let lists: Vec<_> = lists().into_iter().filter(signed).collect();
    let admin = world.caller(Who::Admin, Door::Rest);
    let operator = world.operator();
    // So that there is a second page of versions.
    let renamed = json!({"id": world.own.agent, "agent": {"description": "new"}});
    ok(&admin, "AgentsService/UpdateAgent", renamed).await;
    let mut cursors = Vec::new();
    for list in &lists {
        let own = request(list, &world.own);
        cursors.push((name(list), cursor(&world, &world.own.admin, list, &own).await));
        for space in world.foreign.iter().filter(|s| s.name != "deleted") {
            // Who lists what is of one agent or run has no foreign one to ask for.
            if own == json!({}) && !operates(list) {
                let theirs = cursor(&world, &space.admin, list, &own).await;
                cursors.push((format!("{} of {}", name(list), space.name), theirs));
            }
        }
    }
    for list in &lists {
        let own = request(list, &world.own);
        let caller = if operates(list) { &operator } else { &admin };
        for (of, cursor) in &cursors {
            let fields = merged(own.clone(), &json!({"limit": 1, "cursor": cursor}));
            if *of == name(list) {
                ok(caller, of, fields).await;
                continue;
            }
            let told = code(caller, &name(list), fields).await;
            assert_eq!(told, "invalid_cursor", "a cursor of {of} in {}", name(list));
        }
    }
}

/// `GET /v1/runs?idempotency_key=` finds what calls of the same tenant have created.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idempotency_key_of_another_finds_nothing() {
    let world = World::new().await;
    let (create, list) = ("RunsService/CreateRun", "RunsService/ListRuns");
    for space in world.spaces().filter(|space| space.name != "deleted") {
        let caller = world.app.client(Door::Rest, &space.admin);
        let caller = caller.with_header("idempotency-key", &format!("key-of-{}", space.name));
        ok(&caller, create, json!({"agent_id": space.agent, "input": "x"})).await;
    }
    for door in Door::ALL {
        for space in world.spaces() {
            let asked = json!({"idempotency_key": format!("key-of-{}", space.name)});
            let own = usize::from(space.name == "own");
            for (who, expected) in [(Who::Admin, own), (Who::Narrow, own), (Who::Organisation, 0)] {
                let found = ok(&world.caller(who, door), list, asked.clone()).await;
                let found = found["data"].as_array().map(Vec::len);
                assert_eq!(found, Some(expected), "{} as {who:?} over {door:?}", space.name);
            }
        }
    }
}
