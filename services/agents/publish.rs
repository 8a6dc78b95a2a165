//! Publishes an agent for keys that only run, or withdraws it from them.

use super::{Agents, convert, get};
use crate::kernel::{Caller, Result};
use crate::proto::runplane::v1 as pb;
use crate::store;

pub(super) async fn set<R>(
    agents: &Agents<R>,
    caller: &Caller,
    id: &str,
    published: bool,
) -> Result<pb::Agent> {
    let (id, now) = (get::id(id)?, agents.clock.now());
    let scope = store::reach::agent(agents.store.read(), caller, "agents:write", id).await?;
    let changed = agents.store.change(caller, "publish_agent", move |tx| {
        Box::pin(async move {
            let row = store::agents::set_published(tx, scope, id, published, now).await?;
            convert::changed(row)
        })
    });
    Ok(changed.await?.answer)
}
