//! Rows to messages: the only file here that knows both.

use uuid::Uuid;

use crate::kernel::call::Changed;
use crate::kernel::ids::{self, Kind};
use crate::kernel::{Error, Reason, Result, Timestamp};
use crate::messages;
use crate::proto::runplane::v1 as pb;
use crate::store::tables::project;

/// The message of a project.
pub(super) fn project(row: project::Model) -> Result<pb::Project> {
    Ok(pb::Project {
        id: ids::format(Kind::Project, row.id),
        object: "project".to_owned(),
        organisation_id: ids::format(Kind::Organisation, row.organisation_id.unwrap_or_default()),
        name: row.name,
        plan: row.plan,
        metadata: serde_json::from_str(&row.metadata).map_err(Error::internal)?,
        created_at: Some(Timestamp(row.created_at).into()),
        updated_at: Some(Timestamp(row.updated_at).into()),
    })
}

/// What a change of a project has come to.
pub(super) fn changed(row: project::Model) -> Result<Changed<pb::Project>> {
    let state = state(&row);
    Changed::new(ids::format(Kind::Project, row.id), project(row)?).after(&state)
}

/// What is written down of a project.
pub(super) fn state(row: &project::Model) -> serde_json::Value {
    serde_json::json!([row.name, row.plan, row.metadata])
}

/// The UUID of a project's id; a malformed one names none.
pub(super) fn id(text: &str) -> Result<Uuid> {
    messages::id(Kind::Project, text, (Reason::ProjectNotFound, "project"))
}

/// The UUID of an organisation's id; a malformed one names none.
pub(super) fn organisation(text: &str) -> Result<Uuid> {
    messages::id(Kind::Organisation, text, (Reason::OrganisationNotFound, "organisation"))
}
