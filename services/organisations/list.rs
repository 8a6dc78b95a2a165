//! Gets one organisation, or a page of them.

use super::{Organisations, convert};
use crate::kernel::page::Asked;
use crate::kernel::{Caller, Result};
use crate::messages;
use crate::proto::runplane::v1 as pb;
use crate::store;

pub(super) async fn get(organisations: &Organisations, id: &str) -> Result<pb::Organisation> {
    let row = store::organisations::live(organisations.store.read(), convert::id(id)?).await?;
    convert::organisation(row)
}

pub(super) async fn list(
    organisations: &Organisations,
    caller: &Caller,
    request: pb::ListOrganisationsRequest,
) -> Result<pb::ListOrganisationsResponse> {
    let list = organisations.cursors.list("organisations", caller.scope, &[]);
    let order = messages::order(request.order)?;
    let (limit, cursor) = (request.limit, request.cursor.as_str());
    let page = list.page(Asked { limit, cursor, page: request.page, order })?;
    let rows = store::organisations::list(organisations.store.read(), &page).await?;
    let paged = rows.try_map(convert::organisation)?;
    Ok(pb::ListOrganisationsResponse {
        object: "list".to_owned(),
        has_more: paged.has_more,
        next_cursor: list.next(&page, &paged),
        pagination: messages::pagination(&page, &paged),
        data: paged.items,
    })
}
