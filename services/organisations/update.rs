//! Changes an organisation: the fields that the mask names.

use super::{Organisations, convert};
use crate::kernel::{Caller, Result, labels};
use crate::messages;
use crate::proto::runplane::v1 as pb;
use crate::store::{self, organisations::Change};

/// Fields that only the server sets.
const OUTPUT_ONLY: &[&str] = &["id", "object", "created_at", "updated_at"];

pub(super) async fn update(
    organisations: &Organisations,
    caller: &Caller,
    request: pb::UpdateOrganisationRequest,
) -> Result<pb::Organisation> {
    let (id, now) = (convert::id(&request.id)?, organisations.clock.now());
    let new = request.organisation.unwrap_or_default();
    let fields = [
        ("name", !new.name.is_empty()),
        ("plan", !new.plan.is_empty()),
        ("limits", new.limits.is_some()),
        ("metadata", !new.metadata.is_empty()),
    ];
    let named = messages::masked(request.update_mask, &fields, OUTPUT_ONLY)?;
    let mut change = Change::default();
    for field in &named {
        match *field {
            "name" => {
                messages::name(&new.name)?;
                change.name = Some(new.name.clone());
            }
            "plan" => {
                messages::plan(&organisations.plans, &new.plan)?;
                change.plan = Some(new.plan.clone());
            }
            "metadata" => {
                let labels = labels::checked(new.metadata.clone())?;
                change.metadata = Some(serde_json::json!(labels).to_string());
            }
            _ => {}
        }
    }
    let limits = messages::overrides(new.limits)?;
    let replans = named.iter().any(|field| *field == "plan" || field.starts_with("limits"));
    let changed = organisations.store.change(caller, "update_organisation", move |tx| {
        let (mut change, named) = (change.clone(), named.clone());
        Box::pin(async move {
            let old = store::organisations::locked(tx, id).await?;
            change.limits = Some(messages::merged_limits(&old.limits, &limits, &named)?);
            let row = store::organisations::update(tx, id, change, now).await?;
            convert::changed(row)?.before(&convert::state(&old))
        })
    });
    let answer = changed.await?.answer;
    if replans {
        organisations.forget.all().await;
    }
    Ok(answer)
}
