//! The runs of a deleted project end, and a changed plan holds at once.

use std::sync::Arc;

use serde_json::{Value, json};

use runplane::kernel::Reason;
use runplane::store::tables::{lane, run};
use sea_orm::EntityTrait;

use crate::agents::id;
use crate::conversations::locks::prepared;
use crate::conversations::{
    CREATE, agent, asker, begin, driven, hold, ok, settled, sleeper, teller,
};
use crate::harness::app::{App, On, Options};
use crate::harness::doors::{Client, Door};

/// The only project there is.
async fn project(operator: &Client) -> Value {
    let list = ok(operator, "ProjectsService/ListProjects", json!({})).await;
    list["data"][0].clone()
}

/// Waits until no run is live, whoever owned it.
async fn none_is_live(app: &App) -> Vec<String> {
    loop {
        let runs = run::Entity::find().all(app.store.read()).await.expect("runs");
        let mut states: Vec<String> = runs.into_iter().map(|run| run.status).collect();
        let live = |state: &String| !["cancelled", "completed"].contains(&state.as_str());
        if !states.iter().any(live) {
            states.sort();
            return states;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn the_runs_of_a_deleted_project_end_and_none_begins() {
    for on in [On::Sqlite, On::Postgres] {
        let config = "[limits]\nplan = \"x\"\n[plans.x]\nconcurrent_runs = 1
            requests = { limit = 10000, per = \"1m\" }"
            .to_owned();
        let app = App::with(Options { on, config, ..Options::default() }).await;
        let (at, operator) = (app.door(Door::Rest), app.client(Door::Rest, &app.operator));
        let (asker, sleeper) = (agent(&at, asker()).await, agent(&at, sleeper()).await);
        let teller = agent(&at, teller()).await;
        let parked = hold(&at, &asker).await;
        begin(&at, &teller, "behind").await;
        let run = json!({"agent_id": sleeper, "background": true});
        driven(&at, &id(&ok(&at, CREATE, run.clone()).await)).await;
        ok(&at, CREATE, run).await;
        assert_eq!(parked["status"], "requires_action");
        let project = project(&operator).await;
        ok(&operator, "ProjectsService/DeleteProject", json!({"id": project["id"]})).await;
        let ended = tokio::time::timeout(std::time::Duration::from_secs(60), none_is_live(&app));
        assert_eq!(ended.await.expect("they end"), ["cancelled"; 4]);
        // Of a call that was let in before.
        let late = Arc::new(prepared(&app, &teller, None).await.1);
        let late = app.store.tx("test.create", move |tx| {
            let late = Arc::clone(&late);
            Box::pin(async move { late.write(tx).await })
        });
        let refused = late.await.expect_err("its project is deleted");
        assert_eq!(refused.reason, Reason::ProjectNotFound);
        app.stop().await;
    }
}

#[tokio::test]
async fn a_changed_plan_reaches_the_lane_before_the_next_run() {
    for on in [On::Sqlite, On::Postgres] {
        let requests = "requests = { limit = 10000, per = \"1m\" }";
        let config = format!(
            "[limits]\nplan = \"x\"\n[plans.x]\nconcurrent_runs = 4\n{requests}\n\
             [plans.y]\nconcurrent_runs = 7\n{requests}"
        );
        let app = App::with(Options { on, config, ..Options::default() }).await;
        let (at, operator) = (app.door(Door::Rest), app.client(Door::Rest, &app.operator));
        let teller = agent(&at, teller()).await;
        settled(&at, &begin(&at, &teller, "a").await).await;
        let cap = async || {
            let lanes = lane::Entity::find().all(app.store.read()).await.expect("lanes");
            lanes.iter().map(|lane| lane.cap).collect::<Vec<_>>()
        };
        assert_eq!(cap().await, [4]);
        let project = project(&operator).await;
        let update = |fields: Value| json!({"id": project["id"], "project": fields});
        let method = "ProjectsService/UpdateProject";
        ok(&operator, method, update(json!({"plan": "y"}))).await;
        assert_eq!(cap().await, [7]);
        let id = project["organisation_id"].clone();
        let method = "OrganisationsService/UpdateOrganisation";
        let limits = json!({"limits": {"concurrent_runs": 3}});
        ok(&operator, method, json!({"id": id, "organisation": limits})).await;
        assert_eq!(cap().await, [3]);
        app.stop().await;
    }
}
