//! Cancels a run.

use super::{Runs, current, get};
use crate::engine::ask_cancel;
use crate::kernel::call::Changed;
use crate::kernel::{Caller, Result};
use crate::proto::runplane::v1 as pb;

pub(super) async fn cancel(runs: &Runs, caller: &Caller, id: &str) -> Result<pb::Run> {
    let (run_id, now) = (get::id(id)?, runs.clock.now());
    let scope = get::owner(runs, caller, "runs:write", run_id).await?;
    // Also for a caller that goes away while the answer is on its way.
    let doubt = runs.engine.bus().doubt(run_id);
    let changed = runs.store.change(caller, "cancel_run", move |tx| {
        Box::pin(async move {
            let asked = ask_cancel(tx, scope, run_id, now).await?;
            let (run, version) = current::read_by(tx, scope, run_id, now).await?;
            Ok(Changed::new(run.id.clone(), run).with((asked, version)))
        })
    });
    let changed = changed.await?;
    let (asked, version) = changed.more;
    // Told first: keeping a picture may take a while.
    runs.engine.cancel_asked(asked);
    current::changed(runs, scope, (run_id, version), &changed.answer).await;
    doubt.resolve();
    Ok(changed.answer)
}
