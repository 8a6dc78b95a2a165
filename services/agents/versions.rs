//! The immutable versions of an agent.

use super::{Agents, convert, get};
use crate::kernel::page::Asked;
use crate::kernel::{Caller, Result};
use crate::messages;
use crate::proto::runplane::v1 as pb;
use crate::store;

pub(super) async fn get<R>(
    agents: &Agents<R>,
    caller: &Caller,
    request: &pb::GetAgentVersionRequest,
) -> Result<pb::AgentVersion> {
    let (scope, agent) = get::visible(agents, caller, &request.agent_id).await?;
    let which = (agent.id, request.version);
    let row = store::agents::get_version(agents.store.read(), scope, which).await?;
    convert::version(row)
}

pub(super) async fn list<R>(
    agents: &Agents<R>,
    caller: &Caller,
    request: pb::ListAgentVersionsRequest,
) -> Result<pb::ListAgentVersionsResponse> {
    let (scope, agent) = get::visible(agents, caller, &request.agent_id).await?;
    let list = agents.cursors.list("agent_versions", caller.scope, agent.id.as_bytes());
    let order = messages::order(request.order)?;
    let (limit, cursor) = (request.limit, request.cursor.as_str());
    let page = list.page(Asked { limit, cursor, page: request.page, order })?;
    let read = agents.store.read();
    let rows = store::agents::list_versions(read, scope, agent.id, &page).await?;
    let paged = rows.try_map(convert::version)?;
    Ok(pb::ListAgentVersionsResponse {
        object: "list".to_owned(),
        has_more: paged.has_more,
        next_cursor: list.next(&page, &paged),
        pagination: messages::pagination(&page, &paged),
        data: paged.items,
    })
}
