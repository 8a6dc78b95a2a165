//! Cancels a run.

use std::time::Duration;

use super::{Runs, get};
use crate::kernel::{Caller, Result};
use crate::proto::runplane::v1 as pb;

pub(super) async fn cancel(runs: &Runs, caller: &Caller, id: &str) -> Result<pb::Run> {
    let run_id = get::id(id)?;
    runs.engine.cancel(caller.scope, run_id).await?;
    get::settled(runs, caller.scope, run_id, Duration::ZERO).await
}
