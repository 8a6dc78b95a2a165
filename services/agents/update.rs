//! Changes an agent: the fields that the mask names, as a new immutable version.

use super::{Agents, check, condition, convert, get, mask};
use crate::kernel::{Caller, Error, Reason, Result};
use crate::proto::runplane::v1 as pb;
use crate::store::{self, tables::agent};

/// How often a change is tried again when another got in between and the caller named no version.
const TRIES: usize = 5;

pub(super) async fn update<R>(
    agents: &Agents<R>,
    caller: &Caller,
    request: pb::UpdateAgentRequest,
) -> Result<pb::Agent> {
    let id = get::id(&request.id)?;
    let new = request.agent.unwrap_or_default();
    let paths = request.update_mask.map(|mask| mask.paths).unwrap_or_default();
    condition::check(&request.if_match)?;
    let read = agents.store.read();
    let scope = store::reach::agent(read, caller, "agents:write", id).await?;
    for _ in 0..TRIES {
        let current = store::agents::get(read, scope, id).await?;
        expect(&current, request.if_version)?;
        condition::met(&current, &request.if_match)?;
        match change(agents, caller, current, &new, &paths).await {
            Err(e) if e.reason == Reason::VersionConflict => {}
            changed => return changed,
        }
    }
    Err(Error::new(Reason::VersionConflict, "the agent is being changed by others; try again"))
}

async fn change<R>(
    agents: &Agents<R>,
    caller: &Caller,
    current: agent::Model,
    new: &pb::Agent,
    paths: &[String],
) -> Result<pb::Agent> {
    let old = convert::spec(&current.spec)?;
    let merged = mask::merge(&convert::definition(old.clone()), new, paths)?;
    let spec = check::spec(merged, Some(&agents.models.get()))?;
    let same = spec == old;
    let (scope, now) = (caller.scope, agents.clock.now());
    let changed = agents.store.change(caller, "update_agent", move |tx| {
        let (current, spec) = (current.clone(), spec.clone());
        Box::pin(async move {
            let row = match same {
                true => current.clone(),
                false => store::agents::update(tx, scope, &current, &spec, now).await?,
            };
            convert::changed(row)?.before(&current.spec)
        })
    });
    Ok(changed.await?.answer)
}

fn expect(current: &agent::Model, version: Option<i32>) -> Result<()> {
    match version {
        Some(version) if version != current.version => {
            let message = format!("the agent is at version {}, not {version}", current.version);
            let error = Error::new(Reason::VersionConflict, message);
            Err(error.with("field", "if_version").with("version", current.version.to_string()))
        }
        _ => Ok(()),
    }
}
