//! Every method with every key: it may or may not, as the table says. And nobody gives what he
//! lacks: not in a new key, not in a session, not by rotation.

use prost_reflect::MethodDescriptor;
use runplane::kernel::grants;
use serde_json::{Map, Value, json};

use super::fields::{methods, name, scope};
use super::table::Level;
use super::world::{a_project, an_organisation, secret};
use super::{ok, text};
use crate::harness::app::App;
use crate::harness::doors::{Client, Door, Failure};

/// A server with a project to make keys of.
struct Site {
    app: App,
    project: String,
    organisation: String,
}

impl Site {
    async fn new() -> Self {
        let app = App::start().await;
        let operator = app.client(Door::Rest, &app.operator);
        let organisation = an_organisation(&operator).await;
        let project = a_project(&operator, &organisation).await;
        Self { app, project, organisation }
    }

    /// Id and secret of a new key with these scopes.
    async fn key(&self, level: Level, scopes: &[&str]) -> (String, String) {
        let mut key = json!({"name": scopes.join(" "), "scopes": scopes});
        match level {
            Level::Project => key["project_id"] = json!(self.project),
            Level::Organisation => key["organisation_id"] = json!(self.organisation),
            Level::Operator => {}
        }
        let operator = self.app.client(Door::Rest, &self.app.operator);
        let key = ok(&operator, "KeysService/CreateKey", key).await;
        (text(&key, "id"), secret(&key))
    }
}

/// Calls a method with nothing but what its path needs; what it fails with, if it fails.
async fn asked(caller: &Client, method: &MethodDescriptor) -> Option<Failure> {
    let input = method.input();
    let ids = input.fields().filter(|f| ["id", "agent_id", "run_id"].contains(&f.name()));
    let mut fields: Map<_, _> = ids.map(|f| (f.name().to_owned(), json!("x"))).collect();
    if input.get_field_by_name("version").is_some() && fields.len() == 1 {
        fields.insert("version".to_owned(), json!(1));
    }
    let fields = Value::Object(fields);
    match method.is_server_streaming() {
        true => caller.stream(&name(method), fields).await.err(),
        false => caller.call(&name(method), fields).await.err(),
    }
}

#[test]
fn every_scope_of_a_method_is_known() {
    for method in methods() {
        assert!(grants::is_scope(&scope(&method)), "{} needs {}", name(&method), scope(&method));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_may_what_the_table_says_and_nothing_else() {
    let site = Site::new().await;
    for level in Level::ALL {
        for (i, grant) in level.grants().iter().enumerate() {
            let (_, key) = site.key(level, &[grant]).await;
            // Which door it comes in by is all the same above; one of them each.
            let caller = site.app.client(Door::ALL[i % 3], &key);
            for method in methods() {
                let scope = scope(&method);
                // Who may change one agent makes no others.
                let makes = name(&method) == "AgentsService/CreateAgent" && grant.contains(":agt_");
                let may = level.may(grant, &scope) && !makes;
                let failure = asked(&caller, &method).await;
                let refused = failure.as_ref().filter(|f| f.code == "insufficient_scope");
                let at = format!("{level:?} {grant} {}: {failure:?}", name(&method));
                assert_eq!(refused.is_none(), may, "{at}");
                let told = refused.map(|refused| &*refused.details["scope"]);
                assert_eq!(told, refused.and(Some(&*scope)), "{at}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_gives_what_he_lacks() {
    let site = Site::new().await;
    let mut allowed = 0;
    for level in Level::ALL {
        for have in level.grants() {
            let maker = site.key(level, &[&have, "keys:write"]).await.1;
            let (maker, holder) = (
                site.app.client(Door::Rest, &maker),
                site.app.client(Door::Rest, &site.key(level, &[&have]).await.1),
            );
            for asked in level.grants() {
                let new = json!({"name": "new", "scopes": [asked]});
                let made = maker.call("KeysService/CreateKey", new).await;
                let may = level.may_give(&have, &asked) || asked == "keys:write";
                told(made, may, &format!("{level:?} {have} makes a key of {asked}"));
                let token = json!({"scopes": [asked]});
                let made = holder.call("AuthService/CreateToken", token).await;
                let may = level.may_give(&have, &asked);
                told(made, may, &format!("{level:?} {have} makes a session of {asked}"));
                allowed += usize::from(may);
            }
        }
    }
    assert!(allowed > 60, "only {allowed} of them may");
}

/// A successor's secret opens what the old key opens: who asks for it must have all of that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_gets_by_rotation_what_he_lacks() {
    let site = Site::new().await;
    for level in Level::ALL {
        let have = if level == Level::Operator { "projects:read" } else { "run" };
        let maker = site.key(level, &[have, "keys:write"]).await.1;
        for asked in level.grants() {
            let may = level.may_give(have, &asked) || asked == "keys:write";
            for (i, method) in
                ["KeysService/RotateKey", "KeysService/RegenerateKey"].iter().enumerate()
            {
                let (id, old) = site.key(level, &[&asked]).await;
                let caller = site.app.client(Door::ALL[i], &maker);
                let made = caller.call(method, json!({ "id": id })).await;
                told(made, may, &format!("{level:?} {have} rotates {asked}"));
                let old = site.app.client(Door::Rest, &old);
                let works = old.call("AuthService/GetMe", json!({})).await;
                assert_eq!(works.is_ok(), !may || i == 0, "{asked}");
            }
        }
    }
}

fn told(made: Result<Value, Failure>, may: bool, what: &str) {
    match made {
        Ok(_) => assert!(may, "{what}"),
        Err(failure) => {
            assert!(!may, "{what}: {failure:?}");
            assert_eq!(failure.code, "insufficient_scope", "{what}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scope_of_another_level_is_no_scope() {
    let site = Site::new().await;
    for level in Level::ALL {
        let wide = if level == Level::Operator { "operator" } else { "admin" };
        let caller = site.app.client(Door::Rest, &site.key(level, &[wide]).await.1);
        let others = Level::ALL.iter().flat_map(|other| other.grants());
        for grant in others.filter(|grant| !level.grants().contains(grant)) {
            let new = json!({"name": "x", "scopes": [grant]});
            let failure = caller.call("KeysService/CreateKey", new).await.expect_err("no scope");
            assert_eq!(failure.code, "invalid_field", "{level:?} {grant}: {failure:?}");
            assert_eq!(failure.details["field"], "scopes[0]");
        }
    }
}
