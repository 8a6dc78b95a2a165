//! Gets one project, or a page of them.

use super::{Projects, convert};
use crate::kernel::page::Asked;
use crate::kernel::{Caller, Result};
use crate::messages;
use crate::proto::runplane::v1 as pb;
use crate::store;

pub(super) async fn get(projects: &Projects, id: &str) -> Result<pb::Project> {
    let row = store::projects::live(projects.store.read(), convert::id(id)?).await?;
    convert::project(row)
}

pub(super) async fn list(
    projects: &Projects,
    caller: &Caller,
    request: pb::ListProjectsRequest,
) -> Result<pb::ListProjectsResponse> {
    let organisation = request.organisation_id.as_deref().map(convert::organisation).transpose()?;
    let digest = organisation.map(|id| id.into_bytes().to_vec()).unwrap_or_default();
    let list = projects.cursors.list("projects", caller.scope, &digest);
    let order = messages::order(request.order)?;
    let (limit, cursor) = (request.limit, request.cursor.as_str());
    let page = list.page(Asked { limit, cursor, page: request.page, order })?;
    let rows = store::projects::list(projects.store.read(), organisation, &page).await?;
    let paged = rows.try_map(convert::project)?;
    Ok(pb::ListProjectsResponse {
        object: "list".to_owned(),
        has_more: paged.has_more,
        next_cursor: list.next(&page, &paged),
        pagination: messages::pagination(&page, &paged),
        data: paged.items,
    })
}
