//! Gets a run, its thread included; with a wait, when it has ended or needs an action.

use std::time::Duration;

use uuid::Uuid;

use super::{Runs, convert, wait};
use crate::engine::Until;
use crate::kernel::{Caller, Error, Reason, Result, Scope, ids};
use crate::proto::runplane::v1 as pb;
use crate::store;

pub(super) async fn get(
    runs: &Runs,
    caller: &Caller,
    request: &pb::GetRunRequest,
    prefer: Option<u32>,
) -> Result<pb::Run> {
    let wait = wait::duration(request.wait, prefer)?;
    settled(runs, caller.scope, id(&request.id)?, wait).await
}

/// The run as it is when it has settled, or when `wait` is over.
pub(super) async fn settled(
    runs: &Runs,
    scope: Scope,
    run_id: Uuid,
    wait: Duration,
) -> Result<pb::Run> {
    if !wait.is_zero() {
        runs.engine.wait(scope, run_id, wait, Until::TerminalOrAction).await?;
    }
    let (row, thread) = store::runs::get_with_thread(runs.store.read(), scope, run_id).await?;
    convert::run(row, convert::thread(thread.as_bytes())?, runs.clock.now())
}

/// The UUID of a run's id; a malformed one names no run.
pub(super) fn id(text: &str) -> Result<Uuid> {
    ids::parse(ids::Kind::Run, text).ok_or_else(|| {
        let shown: String = text.chars().take(64).collect();
        Error::new(Reason::RunNotFound, format!("run {shown} not found"))
    })
}
