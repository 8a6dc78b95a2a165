//! Deletes an agent. Its runs stay, and those that have started go on.

use super::{Agents, condition, get};
use crate::kernel::call::Changed;
use crate::kernel::{Caller, Result, ids};
use crate::proto::runplane::v1 as pb;
use crate::store;

pub(super) async fn delete<R>(
    agents: &Agents<R>,
    caller: &Caller,
    request: pb::DeleteAgentRequest,
) -> Result<()> {
    let (id, now) = (get::id(&request.id)?, agents.clock.now());
    let scope = store::reach::agent(agents.store.read(), caller, "agents:write", id).await?;
    let if_match = request.if_match;
    condition::check(&if_match)?;
    let changed = agents.store.change(caller, "delete_agent", move |tx| {
        let if_match = if_match.clone();
        Box::pin(async move {
            // The row is held from here, so what is checked is what is deleted.
            let deleted = store::agents::delete(tx, scope, id, now).await?;
            condition::met(&deleted, &if_match)?;
            Changed::new(ids::format(ids::Kind::Agent, id), ()).before(&deleted.spec)
        })
    });
    changed.await.map(|_| ())
}
