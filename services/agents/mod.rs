//! The agents service: who does the work. One line per call; one file per call. A run of an agent
//! is created by the runs service, which it is handed: there is one way to start a run.

mod check;
mod condition;
mod convert;
mod create;
mod delete;
mod get;
mod invoke;
mod list;
mod mask;
mod publish;
mod update;
mod versions;

use std::sync::Arc;

use tonic::Request;

use crate::kernel::Clock;
use crate::kernel::Reread;
use crate::kernel::models::ModelTable;
use crate::kernel::page::Cursors;
use crate::kernel::reply::{Reply, caller, reply};
use crate::proto::runplane::v1 as pb;
use crate::proto::runplane::v1::agents_service_server::AgentsService;
use crate::proto::runplane::v1::runs_service_server::RunsService;
use crate::store::Store;

/// The agents service over the runs service `R`.
pub struct Agents<R> {
    /// Where agents are kept.
    pub store: Store,
    /// Tells the time.
    pub clock: Clock,
    /// Makes and reads cursors.
    pub cursors: Cursors,
    /// Models that an agent may name.
    pub models: Reread<ModelTable>,
    /// Starts runs.
    pub runs: Arc<R>,
}

/// A definition as the service keeps it: checked but for its model, with every default filled in.
///
/// # Errors
/// `missing_field` and `invalid_field`, as the service.
pub fn normal(agent: pb::Agent) -> crate::kernel::Result<pb::Agent> {
    Ok(convert::definition(check::spec(agent, None)?))
}

#[tonic::async_trait]
impl<R: RunsService> AgentsService for Agents<R> {
    type StreamAgentStream = R::StreamRunStream;

    async fn create_agent(&self, r: Request<pb::CreateAgentRequest>) -> Reply<pb::Agent> {
        reply(create::create(self, &caller(&r)?, r.into_inner()).await)
    }

    async fn list_agents(
        &self,
        r: Request<pb::ListAgentsRequest>,
    ) -> Reply<pb::ListAgentsResponse> {
        reply(list::list(self, &caller(&r)?, r.into_inner()).await)
    }

    async fn get_agent(&self, r: Request<pb::GetAgentRequest>) -> Reply<pb::Agent> {
        reply(get::get(self, &caller(&r)?, &r.into_inner().id).await)
    }

    async fn update_agent(&self, r: Request<pb::UpdateAgentRequest>) -> Reply<pb::Agent> {
        reply(update::update(self, &caller(&r)?, r.into_inner()).await)
    }

    async fn delete_agent(&self, r: Request<pb::DeleteAgentRequest>) -> Reply<()> {
        reply(delete::delete(self, &caller(&r)?, r.into_inner()).await)
    }

    async fn publish_agent(&self, r: Request<pb::PublishAgentRequest>) -> Reply<pb::Agent> {
        reply(publish::set(self, &caller(&r)?, &r.into_inner().id, true).await)
    }

    async fn unpublish_agent(&self, r: Request<pb::UnpublishAgentRequest>) -> Reply<pb::Agent> {
        reply(publish::set(self, &caller(&r)?, &r.into_inner().id, false).await)
    }

    async fn list_agent_versions(
        &self,
        r: Request<pb::ListAgentVersionsRequest>,
    ) -> Reply<pb::ListAgentVersionsResponse> {
        reply(versions::list(self, &caller(&r)?, r.into_inner()).await)
    }

    async fn get_agent_version(
        &self,
        r: Request<pb::GetAgentVersionRequest>,
    ) -> Reply<pb::AgentVersion> {
        reply(versions::get(self, &caller(&r)?, &r.into_inner()).await)
    }

    async fn invoke_agent(&self, r: Request<pb::InvokeAgentRequest>) -> Reply<pb::Run> {
        self.runs.create_run(invoke::waiting(r)).await
    }

    async fn run_agent(&self, r: Request<pb::InvokeAgentRequest>) -> Reply<pb::Run> {
        self.runs.create_run(invoke::starting(r)).await
    }

    async fn stream_agent(
        &self,
        r: Request<pb::InvokeAgentRequest>,
    ) -> Reply<Self::StreamAgentStream> {
        self.runs.stream_run(invoke::starting(r)).await
    }
}
