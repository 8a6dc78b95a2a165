//! Invoking an agent is creating a run of it: the same request, with the agent from the path.

use tonic::Request;

use crate::proto::runplane::v1 as pb;

/// Longest wait of an invocation, in seconds.
const WAIT_S: i32 = 600;

/// A run to wait for, unless the caller wants it in the background.
pub(super) fn waiting(request: Request<pb::InvokeAgentRequest>) -> Request<pb::CreateRunRequest> {
    request.map(|invoke| {
        let wait = if invoke.background { 0 } else { WAIT_S };
        pb::CreateRunRequest { wait: Some(wait), ..run(invoke) }
    })
}

/// A run that is only started.
pub(super) fn starting(request: Request<pb::InvokeAgentRequest>) -> Request<pb::CreateRunRequest> {
    request.map(|invoke| pb::CreateRunRequest { background: true, ..run(invoke) })
}

fn run(invoke: pb::InvokeAgentRequest) -> pb::CreateRunRequest {
    pb::CreateRunRequest {
        agent_id: invoke.agent_id,
        input: invoke.input,
        query: invoke.query,
        parameters: invoke.parameters,
        stream: invoke.stream,
        background: invoke.background,
        metadata: invoke.metadata,
        session_id: invoke.session_id,
        version: invoke.version,
        wait: None,
        on_limit: invoke.on_limit,
        on_session_busy: invoke.on_session_busy,
    }
}
