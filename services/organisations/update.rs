//! Changes an organisation: the fields that the mask names.

use super::{Organisations, convert};
use crate::kernel::config::Plans;
use crate::kernel::plan::Overrides;
use crate::kernel::{Caller, Error, Result, labels};
use crate::messages;
use crate::proto::runplane::v1 as pb;
use crate::store::lanes::{self, Replanned};
use crate::store::organisations::{Change, Organisation};
use crate::store::{self, Tx};

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
    let plans = organisations.plans.clone();
    let changed = organisations.store.change(caller, "update_organisation", move |tx| {
        let (mut change, named, plans) = (change.clone(), named.clone(), plans.clone());
        Box::pin(async move {
            let old = store::organisations::locked(tx, id).await?;
            change.limits = Some(messages::merged_limits(&old.limits, &limits, &named)?);
            let row = store::organisations::update(tx, id, change, now).await?;
            if replans {
                replan(tx, &plans, &row).await?;
            }
            convert::changed(row)?.before(&convert::state(&old))
        })
    });
    let answer = changed.await?.answer;
    if replans {
        organisations.forget.all().await;
    }
    Ok(answer)
}

/// Lets what was changed hold at once for the runs that wait, by the plans that projects name.
async fn replan(tx: &Tx, plans: &Plans, row: &Organisation) -> Result<()> {
    let overrides: Overrides = serde_json::from_str(&row.limits).map_err(Error::internal)?;
    for named in plans.names().into_iter().chain([String::new()]) {
        let plan = if named.is_empty() { &*row.plan } else { &named };
        let cap = plans.limits(plan, &overrides, &Overrides::default()).concurrent_runs;
        lanes::replan(tx, Replanned::Organisation(row.id, &named), cap).await?;
    }
    Ok(())
}
