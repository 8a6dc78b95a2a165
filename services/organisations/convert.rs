//! Rows to messages: the only file here that knows both.

use uuid::Uuid;

use crate::kernel::call::Changed;
use crate::kernel::ids::{self, Kind};
use crate::kernel::{Error, Reason, Result, Timestamp};
use crate::messages;
use crate::proto::runplane::v1 as pb;
use crate::store::tables::organisation;

/// The message of an organisation.
pub(super) fn organisation(row: organisation::Model) -> Result<pb::Organisation> {
    Ok(pb::Organisation {
        id: ids::format(Kind::Organisation, row.id),
        object: "organisation".to_owned(),
        name: row.name,
        plan: row.plan,
        limits: messages::limits(&serde_json::from_str(&row.limits).map_err(Error::internal)?),
        metadata: serde_json::from_str(&row.metadata).map_err(Error::internal)?,
        created_at: Some(Timestamp(row.created_at).into()),
        updated_at: Some(Timestamp(row.updated_at).into()),
    })
}

/// What a change of an organisation has come to.
pub(super) fn changed(row: organisation::Model) -> Result<Changed<pb::Organisation>> {
    let state = state(&row);
    Changed::new(ids::format(Kind::Organisation, row.id), organisation(row)?).after(&state)
}

/// What is written down of an organisation.
pub(super) fn state(row: &organisation::Model) -> serde_json::Value {
    serde_json::json!([row.name, row.plan, row.limits, row.metadata])
}

/// The UUID of an organisation's id; a malformed one names none.
pub(super) fn id(text: &str) -> Result<Uuid> {
    messages::id(Kind::Organisation, text, (Reason::OrganisationNotFound, "organisation"))
}
