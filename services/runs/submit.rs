//! Hands over outputs of client tools: any subset of those that the run waits for.

use uuid::Uuid;

use super::{Events, Runs, events, get, wait};
use crate::cache::EventId;
use crate::engine::Output;
use crate::kernel::{Caller, Error, Result, json};
use crate::proto::runplane::v1 as pb;
use crate::store;

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
    let run_id = hand_over(runs, caller, request).await?;
    get::settled(runs, caller.scope, run_id, wait).await
}

pub(super) async fn stream(
    runs: &Runs,
    caller: &Caller,
    request: pb::SubmitToolOutputsRequest,
) -> Result<Events> {
    let run_id = get::id(&request.run_id)?;
    let row = store::runs::get(runs.store.read(), caller.scope, run_id).await?;
    let before = EventId { seq: row.last_seq, n: 0 };
    hand_over(runs, caller, request).await?;
    events::follow(runs, caller.scope, run_id, before).await
}

async fn hand_over(
    runs: &Runs,
    caller: &Caller,
    request: pb::SubmitToolOutputsRequest,
) -> Result<Uuid> {
    let run_id = get::id(&request.run_id)?;
    let outputs = checked(request.tool_outputs)?;
    runs.engine.submit(caller.scope, run_id, Some(caller.key_id), outputs).await?;
    Ok(run_id)
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
