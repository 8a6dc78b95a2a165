//! Gets an agent that the caller may see.

use uuid::Uuid;

use super::{Agents, convert};
use crate::kernel::{Caller, Error, Reason, Result, Scope, ids};
use crate::proto::runplane::v1 as pb;
use crate::store::{self, tables::agent};

pub(super) async fn get<R>(agents: &Agents<R>, caller: &Caller, id: &str) -> Result<pb::Agent> {
    convert::agent(visible(agents, caller, id).await?.1)
}

/// The row of an agent that the caller may see, and whose it is.
pub(super) async fn visible<R>(
    agents: &Agents<R>,
    caller: &Caller,
    text: &str,
) -> Result<(Scope, agent::Model)> {
    let (read, id) = (agents.store.read(), id(text)?);
    let scope = store::reach::agent(read, caller, "agents:read", id).await?;
    let row = store::agents::get(read, scope, id).await?;
    if row.published || caller.sees_draft(Some(id)) {
        return Ok((scope, row));
    }
    Err(not_found(text))
}

/// The UUID of an agent's id; a malformed one names no agent.
pub(super) fn id(text: &str) -> Result<Uuid> {
    ids::parse(ids::Kind::Agent, text).ok_or_else(|| not_found(text))
}

fn not_found(id: &str) -> Error {
    let shown: String = id.chars().take(64).collect();
    Error::new(Reason::AgentNotFound, format!("agent {shown} not found or not published"))
}
