//! Hands over outputs of client tools: any subset of those that the run waits for.

use std::sync::Arc;

use super::{Events, Runs, current, events, get, wait};
use crate::cache::EventId;
use crate::engine::{Handover, Output};
use crate::kernel::call::Changed;
use crate::kernel::{Caller, Error, Result, Scope, json};
use crate::proto::runplane::v1 as pb;

/// Most outputs of one call.
const OUTPUTS_MAX: usize = 128;
/// Most bytes of one output, as JSON.
const OUTPUT_BYTES_MAX: usize = 262_144;

pub(super) async fn submit(
    runs: &Runs,
    caller: &Caller,
    request: pb::SubmitToolOutputsRequest,
    prefer: Option<u32>,
) -> Result<pb::Run> {
    let wait = wait::duration(request.wait, prefer)?;
    let (scope, run) = handed_over(runs, caller, request).await?;
    if wait.is_zero() {
        return Ok(run);
    }
    get::settled(runs, scope, get::id(&run.id)?, wait).await
}

pub(super) async fn stream(
    runs: &Runs,
    caller: &Caller,
    request: pb::SubmitToolOutputsRequest,
) -> Result<Events> {
    let (scope, run) = handed_over(runs, caller, request).await?;
    let before = EventId { seq: run.last_seq.into(), n: 0 };
    events::follow(runs, (caller, scope), get::id(&run.id)?, before).await
}

/// The run as it was when the outputs were handed over, now or by the same call before, and whose
/// it is.
async fn handed_over(
    runs: &Runs,
    caller: &Caller,
    request: pb::SubmitToolOutputsRequest,
) -> Result<(Scope, pb::Run)> {
    let run_id = get::id(&request.run_id)?;
    if let Some(run) = caller.call.remembered::<pb::Run>()? {
        return Ok((get::owner(runs, caller, "runs:write", run_id).await?, run));
    }
    let outputs = checked(request.tool_outputs)?;
    let scope = get::owner(runs, caller, "runs:write", run_id).await?;
    let handover = Handover::new(scope, run_id, Some(caller.key_id), outputs)?;
    let (handover, now) = (Arc::new(handover), runs.clock.now());
    // Also for a caller that goes away while the answer is on its way.
    let doubt = runs.engine.bus().doubt(run_id);
    let changed = runs.store.change(caller, "submit_tool_outputs", move |tx| {
        let handover = Arc::clone(&handover);
        Box::pin(async move {
            let status = handover.write(tx, now).await?;
            let (run, version) = current::read_by(tx, scope, run_id, now).await?;
            Ok(Changed::new(run.id.clone(), run).with((status, version)))
        })
    });
    let changed = changed.await?;
    let (status, version) = changed.more;
    // Told first: keeping a picture may take a while.
    runs.engine.submitted(status);
    current::changed(runs, scope, (run_id, version), &changed.answer).await;
    doubt.resolve();
    Ok((scope, changed.answer))
}

fn checked(outputs: Vec<pb::ToolOutput>) -> Result<Vec<Output>> {
    if outputs.is_empty() {
        return Err(Error::missing("tool_outputs"));
    }
    if outputs.len() > OUTPUTS_MAX {
        let have = outputs.len();
        let message = format!("tool_outputs has {have} items, at most {OUTPUTS_MAX} are allowed");
        return Err(Error::field("tool_outputs", message).with("limit", OUTPUTS_MAX.to_string()));
    }
    let mut kept: Vec<Output> = Vec::with_capacity(outputs.len());
    for (i, output) in outputs.into_iter().enumerate() {
        let path = |name: &str| format!("tool_outputs[{i}].{name}");
        if output.tool_call_id.is_empty() {
            return Err(Error::missing(path("tool_call_id")));
        }
        let value = json::from_value(output.output.unwrap_or_default());
        let bytes = value.to_string().len();
        if bytes > OUTPUT_BYTES_MAX {
            let field = path("output");
            let message =
                format!("{field} has {bytes} bytes, at most {OUTPUT_BYTES_MAX} are allowed");
            return Err(Error::field(field, message).with("limit", OUTPUT_BYTES_MAX.to_string()));
        }
        let call_id = output.tool_call_id;
        if kept.iter().any(|other| other.call_id == call_id) {
            let field = path("tool_call_id");
            return Err(Error::field(&field, format!("{field} is there twice")));
        }
        kept.push(Output { call_id, output: value, is_error: output.is_error });
    }
    Ok(kept)
}
