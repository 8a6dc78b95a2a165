//! Lists agents. A key that only runs sees published ones.

use super::{Agents, convert};
use crate::kernel::caller::{Level, Reach};
use crate::kernel::page::Asked;
use crate::kernel::{Caller, Error, Result, labels};
use crate::messages;
use crate::proto::runplane::v1 as pb;
use crate::store::{self, agents::Filter};

pub(super) async fn list<R>(
    agents: &Agents<R>,
    caller: &Caller,
    request: pb::ListAgentsRequest,
) -> Result<pb::ListAgentsResponse> {
    let published = if caller.sees_draft(None) { request.published } else { Some(true) };
    let metadata = labels::filter(&request.metadata)?;
    let organisation = (caller.level == Level::Organisation).then_some(caller.organisation);
    if organisation.is_some() && !metadata.is_empty() {
        let message = "metadata filters the agents of one project; this key is an organisation's";
        return Err(Error::field("metadata", message));
    }
    let only = match caller.reach("agents:read") {
        Some(Reach::Only(agents)) => agents,
        _ => Vec::new(),
    };
    let filter = Filter { published, metadata, only, organisation };
    let digest = format!("{filter:?}");
    let list = agents.cursors.list("agents", caller.scope, digest.as_bytes());
    let order = messages::order(request.order)?;
    let (limit, cursor) = (request.limit, request.cursor.as_str());
    let page = list.page(Asked { limit, cursor, page: request.page, order })?;
    let rows = store::agents::list(agents.store.read(), caller.scope, &filter, &page).await?;
    let paged = rows.try_map(convert::agent)?;
    Ok(pb::ListAgentsResponse {
        object: "list".to_owned(),
        has_more: paged.has_more,
        next_cursor: list.next(&page, &paged),
        pagination: messages::pagination(&page, &paged),
        data: paged.items,
    })
}
