//! Every method, with every id in its request, as every caller: whatever is not the caller's is as
//! if it had never been, word for word.

use prost_reflect::MethodDescriptor;
use runplane::kernel::error::Reason;
use runplane::kernel::{Clock, ids};
use serde_json::{Value, json};
use tonic::Code;

use super::fields::{IdField, Names, id_fields, methods, name, operates, reads, request, with_id};
use super::spaces::Space;
use super::world::{Who, World, a_project, an_organisation};
use crate::harness::doors::{Client, Door};

/// An id of a kind that there never was.
fn random(names: Names) -> String {
    let kind = match names {
        Names::Agent => ids::Kind::Agent,
        Names::Run => ids::Kind::Run,
        Names::Key => ids::Kind::Key,
        Names::Project => ids::Kind::Project,
        Names::Organisation => ids::Kind::Organisation,
        Names::Call => ids::Kind::Call,
        Names::Label => return "a word that nobody uses".to_owned(),
    };
    ids::format(kind, ids::fresh(Clock::system().now()))
}

/// What a caller hears, with `ID` for the id that it asked with.
async fn heard(caller: &Client, field: &IdField, fields: Value, id: &str) -> Value {
    let fields = with_id(fields, &field.path, id);
    let answer = match field.method.is_server_streaming() {
        true => caller.stream(&name(&field.method), fields).await.map(|e| json!(format!("{e:?}"))),
        false => caller.call(&name(&field.method), fields).await,
    };
    let heard = match answer {
        Ok(answer) => json!({ "answer": answer }),
        Err(f) => json!({"code": f.code, "message": f.message, "details": f.details}),
    };
    let quoted = Value::from(id).to_string();
    let heard = heard.to_string().replace(quoted.trim_matches('"'), "ID");
    serde_json::from_str(&heard).expect("JSON")
}

fn is_not_found(heard: &Value) -> bool {
    let reason = heard["code"].as_str().and_then(Reason::parse);
    reason.is_some_and(|reason| reason.row().grpc == Code::NotFound)
}

async fn ids_are_alike(world: &World, door: Door, who: Who) -> usize {
    let caller = world.caller(who, door);
    let mut count = 0;
    for field in id_fields() {
        // A word that a caller gives to its own run names nothing of another's.
        if field.names == Names::Label && !reads(&field.method) {
            continue;
        }
        let at = format!("{}.{} over {door:?}", name(&field.method), field.path.join("."));
        let fields = request(&field.method, &world.own);
        let expected = heard(&caller, &field, fields.clone(), &random(field.names)).await;
        let known = expected["code"] != "insufficient_scope";
        if known && field.required && field.names != Names::Call {
            assert!(is_not_found(&expected), "{at} as {who:?}: {expected}");
        }
        for (what, id) in world.ids(who, field.names) {
            let heard = heard(&caller, &field, fields.clone(), &id).await;
            assert_eq!(heard, expected, "{at} as {who:?}: the {what} is told from nothing");
            world.listen(who, &at, &heard);
            count += 1;
        }
        if field.names == Names::Label {
            continue;
        }
        for id in ["nonsense", "agt_1", "run_é", &random(Names::Call).to_uppercase()] {
            let heard = heard(&caller, &field, fields.clone(), id).await;
            // What no id can be is no filter, and of no key's agents.
            let told = is_not_found(&heard) && !(known && field.required);
            assert!(heard == expected || told, "{at} as {who:?} with {id}: {heard}, {expected}");
            count += 1;
        }
    }
    count
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_of_another_is_as_if_it_had_never_been() {
    let world = World::new().await;
    for door in Door::ALL {
        for who in Who::ALL {
            let count = ids_are_alike(&world, door, who).await;
            assert!(count > 200, "only {count} calls as {who:?} over {door:?}");
        }
    }
    // All of it is still there and as it was.
    let admin = world.caller(Who::Admin, Door::Rest);
    for (method, id) in [
        ("AgentsService/GetAgent", &world.own.agent),
        ("AgentsService/GetAgent", &world.own.draft),
        ("KeysService/GetKey", &world.own.key),
    ] {
        let it = super::ok(&admin, method, json!({ "id": id })).await;
        assert!(it["name"].as_str().expect("a name").starts_with("canary"), "{it}");
        assert!(it["revoked_at"].is_null() && it["replaced_by"].is_null(), "{it}");
    }
    for run in [&world.own.run, &world.own.other_run] {
        let run = super::ok(&admin, "RunsService/GetRun", json!({ "id": run })).await;
        assert_eq!(run["status"], "requires_action", "{run}");
    }
}

/// A space of the same project, for a method that may change or end it.
async fn a_fresh_space(world: &World, own: &Space) -> Space {
    let operator = world.operator();
    let organisation = an_organisation(&operator).await;
    let project = a_project(&operator, &own.organisation).await;
    let fresh = own.clone().furnished(&world.app).await;
    Space { organisation, project, ..fresh }
}

/// Whether it succeeds, whether it was remembered, and what is heard.
async fn made(caller: &Client, method: &MethodDescriptor, fields: Value) -> (bool, bool, Value) {
    if method.is_server_streaming() {
        let first = match caller.follow(&name(method), fields).await {
            Ok(mut follow) => follow.next().await.expect("an event or a failure"),
            Err(failure) => Err(failure),
        };
        return (first.is_ok(), false, json!(format!("{first:?}")));
    }
    match caller.answer(&name(method), fields).await {
        Ok(answer) => (true, answer.headers.contains_key("idempotent-replayed"), answer.body),
        Err(failure) => (false, false, json!(format!("{failure:?}"))),
    }
}

/// The other side of the same coin, without which the test above could pass for a wrong reason:
/// with the caller's own ids every method answers. And the same call of another tenant, with the
/// same idempotency key, is another call.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_call_of_another_tenant_is_another_call() {
    let world = World::new().await;
    for method in methods() {
        let space = a_fresh_space(&world, &world.own).await;
        let fields = request(&method, &space);
        let who = if operates(&method) { Who::Operator } else { Who::Admin };
        let same = |caller: Client| caller.with_header("idempotency-key", &name(&method));
        let first = made(&same(world.caller(who, Door::Rest)), &method, fields.clone()).await;
        assert!(first.0, "{} {fields}: {}", name(&method), first.2);
        let again = made(&same(world.caller(who, Door::Rest)), &method, fields.clone()).await;
        let streams = method.is_server_streaming();
        assert!(streams || reads(&method) || again.1, "{} is not remembered", name(&method));
        let others = world.foreign.iter().filter(|space| space.name != "deleted");
        let others = others.map(|space| world.app.client(Door::Rest, &space.admin));
        let wide = world.caller(Who::Organisation, Door::Rest);
        for (i, other) in others.chain([wide]).enumerate() {
            let (made, remembered, heard) = made(&same(other), &method, fields.clone()).await;
            let at = format!("{} by {i}: {heard}", name(&method));
            assert!(!remembered, "{at}");
            // Of the organisation's own it may read and run.
            if i < 3 {
                let names_something =
                    id_fields().iter().any(|f| f.required && name(&f.method) == name(&method));
                assert!(!(made && names_something), "{at}");
                assert!(!heard.to_string().contains("-of-own"), "{at}");
            }
        }
    }
}
