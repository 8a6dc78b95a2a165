//! Changes a project: the fields that the mask names.

use uuid::Uuid;

use super::{Projects, convert};
use crate::kernel::config::Plans;
use crate::kernel::plan::Overrides;
use crate::kernel::{Caller, Result, labels};
use crate::messages;
use crate::proto::runplane::v1 as pb;
use crate::store::lanes::{self, Replanned};
use crate::store::{self, Tx, projects::Change};

/// Fields that only the server sets.
const OUTPUT_ONLY: &[&str] = &["id", "object", "organisation_id", "created_at", "updated_at"];

pub(super) async fn update(
    projects: &Projects,
    caller: &Caller,
    request: pb::UpdateProjectRequest,
) -> Result<pb::Project> {
    let (id, now) = (convert::id(&request.id)?, projects.clock.now());
    let new = request.project.unwrap_or_default();
    let fields = [
        ("name", !new.name.is_empty()),
        ("plan", !new.plan.is_empty()),
        ("metadata", !new.metadata.is_empty()),
    ];
    let mut change = Change::default();
    for field in messages::masked(request.update_mask, &fields, OUTPUT_ONLY)? {
        match field {
            "name" => {
                messages::name(&new.name)?;
                change.name = Some(new.name.clone());
            }
            "plan" => {
                messages::plan(&projects.plans, &new.plan)?;
                change.plan = Some(new.plan.clone());
            }
            _ => {
                let labels = labels::checked(new.metadata.clone())?;
                change.metadata = Some(serde_json::json!(labels).to_string());
            }
        }
    }
    let replans = change.plan.is_some();
    let plans = projects.plans.clone();
    let changed = projects.store.change(caller, "update_project", move |tx| {
        let (change, plans) = (change.clone(), plans.clone());
        Box::pin(async move {
            let old = store::projects::live(tx, id).await?;
            let row = store::projects::update(tx, id, change, now).await?;
            if replans {
                replan(tx, &plans, id).await?;
            }
            convert::changed(row)?.before(&convert::state(&old))
        })
    });
    let answer = changed.await?.answer;
    if replans {
        projects.forget.all().await;
    }
    Ok(answer)
}

/// Lets the new plan hold at once for the runs that wait.
async fn replan(tx: &Tx, plans: &Plans, project: Uuid) -> Result<()> {
    let Some(tenant) = store::tenants::of_project(tx, project).await? else { return Ok(()) };
    let limits = plans.limits(&tenant.plan, &tenant.overrides, &Overrides::default());
    lanes::replan(tx, Replanned::Project(project), limits.concurrent_runs).await
}
