//! Creates an agent, as its version 1, unpublished.

use super::{Agents, check, convert};
use crate::kernel::caller::Reach;
use crate::kernel::{Caller, Error, Reason, Result, ids};
use crate::proto::runplane::v1 as pb;
use crate::store;

pub(super) async fn create<R>(
    agents: &Agents<R>,
    caller: &Caller,
    request: pb::CreateAgentRequest,
) -> Result<pb::Agent> {
    if caller.reach("agents:write") != Some(Reach::All) {
        let message = "this method needs the scope agents:write for all agents";
        return Err(Error::new(Reason::InsufficientScope, message).with("scope", "agents:write"));
    }
    let agent = request.agent.ok_or_else(|| Error::missing("agent"))?;
    let spec = check::spec(agent, Some(&agents.models.get()))?;
    let (scope, now) = (caller.scope, agents.clock.now());
    let id = ids::fresh(now);
    let changed = agents.store.change(caller, "create_agent", move |tx| {
        let spec = spec.clone();
        Box::pin(async move {
            let row = store::agents::insert(tx, scope, id, &spec, now).await?;
            convert::changed(row)
        })
    });
    Ok(changed.await?.answer)
}
