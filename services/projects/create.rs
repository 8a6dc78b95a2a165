//! Creates a project.

use super::{Projects, convert};
use crate::kernel::{Caller, Error, Result, ids, labels};
use crate::messages;
use crate::proto::runplane::v1 as pb;
use crate::store::{self, tables::project};

pub(super) async fn create(
    projects: &Projects,
    caller: &Caller,
    request: pb::CreateProjectRequest,
) -> Result<pb::Project> {
    messages::name(&request.name)?;
    messages::plan(&projects.plans, &request.plan)?;
    if request.organisation_id.is_empty() {
        return Err(Error::missing("organisation_id"));
    }
    let organisation = convert::organisation(&request.organisation_id)?;
    let now = projects.clock.now();
    let id = ids::fresh(now);
    let row = project::Model {
        id,
        name: request.name,
        signing_secret: projects.pepper.signing_secret(id),
        created_at: now.0,
        organisation_id: Some(organisation),
        plan: request.plan,
        metadata: serde_json::json!(labels::checked(request.metadata)?).to_string(),
        updated_at: now.0,
        deleted_at: None,
    };
    let changed = projects.store.change(caller, "create_project", move |tx| {
        let row = row.clone();
        Box::pin(async move {
            // Held, so that it is not deleted meanwhile.
            store::organisations::hold(tx, organisation).await?;
            store::projects::insert(tx, row.clone()).await?;
            convert::changed(row)
        })
    });
    Ok(changed.await?.answer)
}
