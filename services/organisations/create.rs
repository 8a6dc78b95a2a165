//! Creates an organisation.

use super::{Organisations, convert};
use crate::kernel::{Caller, Error, Result, ids, labels};
use crate::messages;
use crate::proto::runplane::v1 as pb;
use crate::store::{self, tables::organisation};

pub(super) async fn create(
    organisations: &Organisations,
    caller: &Caller,
    request: pb::CreateOrganisationRequest,
) -> Result<pb::Organisation> {
    messages::name(&request.name)?;
    messages::plan(&organisations.plans, &request.plan)?;
    let limits = messages::overrides(request.limits)?;
    let now = organisations.clock.now();
    let row = organisation::Model {
        id: ids::fresh(now),
        name: request.name,
        plan: request.plan,
        limits: serde_json::to_string(&limits).map_err(Error::internal)?,
        metadata: serde_json::json!(labels::checked(request.metadata)?).to_string(),
        created_at: now.0,
        updated_at: now.0,
        deleted_at: None,
    };
    let changed = organisations.store.change(caller, "create_organisation", move |tx| {
        let row = row.clone();
        Box::pin(async move {
            store::organisations::insert(tx, row.clone()).await?;
            convert::changed(row)
        })
    });
    Ok(changed.await?.answer)
}
