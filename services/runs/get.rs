//! Gets a run, its thread included; with a wait, when it has ended or needs an action.

use std::time::Duration;

use uuid::Uuid;

use super::current::current;
use super::{Runs, convert, wait};
use crate::engine::{Told, Until};
use crate::kernel::ids::Kind;
use crate::kernel::{Caller, Reason, Result, Scope};
use crate::messages;
use crate::proto::runplane::v1 as pb;
use crate::store;

pub(super) async fn get(
    runs: &Runs,
    caller: &Caller,
    request: &pb::GetRunRequest,
    prefer: Option<u32>,
) -> Result<pb::Run> {
    let wait = wait::duration(request.wait, prefer)?;
    let run_id = id(&request.id)?;
    settled(runs, owner(runs, caller, "runs:read", run_id).await?, run_id, wait).await
}

/// Whose a run is that the caller does something with.
pub(super) async fn owner(
    runs: &Runs,
    caller: &Caller,
    needs: &'static str,
    run_id: Uuid,
) -> Result<Scope> {
    store::reach::run(runs.store.read(), caller, needs, run_id).await
}

/// The run as it is when it has settled, or when `wait` is over.
pub(super) async fn settled(
    runs: &Runs,
    scope: Scope,
    run_id: Uuid,
    wait: Duration,
) -> Result<pb::Run> {
    if wait.is_zero() {
        return current(runs, scope, run_id, Told::default()).await;
    }
    let read = |told| async move {
        let run = current(runs, scope, run_id, told).await?;
        let has_settled = convert::has_settled(&run);
        Ok((run, has_settled))
    };
    runs.engine.waiter(run_id, wait, Until::TerminalOrAction).settled(read).await
}

/// The UUID of a run's id; a malformed one names no run.
pub(super) fn id(text: &str) -> Result<Uuid> {
    messages::id(Kind::Run, text, (Reason::RunNotFound, "run"))
}
