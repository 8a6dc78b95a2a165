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
    let (scope, id, now) = (caller.scope, get::id(id)?, agents.clock.now());
    let row = agents
        .store
        .tx("publish_agent", move |tx| {
            Box::pin(
                async move { store::agents::set_published(tx, scope, id, published, now).await },
            )
        })
        .await?;
    convert::agent(row)
}
