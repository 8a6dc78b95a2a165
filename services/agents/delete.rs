//! Deletes an agent. Its runs stay, and those that have started go on.

use super::{Agents, get};
use crate::kernel::{Caller, Result};
use crate::store;

pub(super) async fn delete<R>(agents: &Agents<R>, caller: &Caller, id: &str) -> Result<()> {
    let (scope, id, now) = (caller.scope, get::id(id)?, agents.clock.now());
    agents
        .store
        .tx("delete_agent", move |tx| {
            Box::pin(async move { store::agents::delete(tx, scope, id, now).await })
        })
        .await
}
