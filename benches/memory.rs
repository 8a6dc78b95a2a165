//! The services of the contract, answering from memory: what the transcoder and tonic cost when
//! nothing is behind them.

use std::fs;
use std::path::Path;

use runplane::proto::codec::from_slice;
use runplane::proto::runplane::v1::agents_service_server::AgentsService;
use runplane::proto::runplane::v1::auth_service_server::AuthService;
use runplane::proto::runplane::v1::keys_service_server::KeysService;
use runplane::proto::runplane::v1::organisations_service_server::OrganisationsService;
use runplane::proto::runplane::v1::projects_service_server::ProjectsService;
use runplane::proto::runplane::v1::runs_service_server::RunsService;
use runplane::proto::runplane::v1::*;
use tonic::codegen::BoxStream;
use tonic::{Request, Response, Status};

use super::Outcome;
use super::server::files;

/// What is answered.
pub(super) struct Memory {
    run: Run,
    lists: [(i32, ListRunsResponse); 2],
}

impl Memory {
    /// Reads what the product answered.
    pub(super) fn load(folder: &Path) -> Outcome<Self> {
        let read = |name: &str| fs::read(folder.join(name));
        let list = |count: i32| -> Outcome<(i32, ListRunsResponse)> {
            let bytes = read(&files::list(usize::try_from(count)?))?;
            Ok((count, from_slice(&bytes).map_err(|error| error.to_string())?))
        };
        let run = from_slice(&read(files::RUN)?).map_err(|error| error.to_string())?;
        Ok(Self { run, lists: [list(20)?, list(50)?] })
    }
}

/// A service: its streams, the methods that answer, and those that are not measured.
macro_rules! service {
    (
        $service:ident { $(type $stream:ident = $item:ty;)* }
        measured { $($given:tt)* }
        other { $($name:ident($request:ty) -> $answer:ty;)* }
    ) => {
        #[tonic::async_trait]
        impl $service for Memory {
            $(type $stream = BoxStream<$item>;)*
            $($given)*
            $(async fn $name(&self, _: Request<$request>) -> Result<Response<$answer>, Status> {
                Err(Status::unimplemented("not measured"))
            })*
        }
    };
}

service! {
    RunsService {
        type StreamRunStream = RunEvent;
        type WatchRunStream = RunEvent;
        type StreamToolOutputsStream = RunEvent;
    }
    measured {
        async fn create_run(
            &self,
            request: Request<CreateRunRequest>,
        ) -> Result<Response<Run>, Status> {
            if request.get_ref().agent_id.is_empty() {
                return Err(Status::invalid_argument("agent_id is missing"));
            }
            Ok(Response::new(self.run.clone()))
        }

        async fn list_runs(
            &self,
            request: Request<ListRunsRequest>,
        ) -> Result<Response<ListRunsResponse>, Status> {
            let limit = request.get_ref().limit.unwrap_or(20);
            let found = self.lists.iter().find(|(count, _)| *count == limit);
            let found = found.map(|(_, list)| Response::new(list.clone()));
            found.ok_or_else(|| Status::not_found("no such list"))
        }

        async fn get_run(&self, request: Request<GetRunRequest>) -> Result<Response<Run>, Status> {
            if request.get_ref().id != self.run.id {
                return Err(Status::not_found("no such run"));
            }
            Ok(Response::new(self.run.clone()))
        }
    }
    other {
        stream_run(CreateRunRequest) -> Self::StreamRunStream;
        list_run_events(ListRunEventsRequest) -> ListRunEventsResponse;
        watch_run(ListRunEventsRequest) -> Self::WatchRunStream;
        cancel_run(CancelRunRequest) -> Run;
        submit_tool_outputs(SubmitToolOutputsRequest) -> Run;
        stream_tool_outputs(SubmitToolOutputsRequest) -> Self::StreamToolOutputsStream;
    }
}

service! {
    AgentsService { type StreamAgentStream = RunEvent; }
    measured {}
    other {
        create_agent(CreateAgentRequest) -> Agent;
        list_agents(ListAgentsRequest) -> ListAgentsResponse;
        get_agent(GetAgentRequest) -> Agent;
        update_agent(UpdateAgentRequest) -> Agent;
        delete_agent(DeleteAgentRequest) -> ();
        publish_agent(PublishAgentRequest) -> Agent;
        unpublish_agent(UnpublishAgentRequest) -> Agent;
        list_agent_versions(ListAgentVersionsRequest) -> ListAgentVersionsResponse;
        get_agent_version(GetAgentVersionRequest) -> AgentVersion;
        invoke_agent(InvokeAgentRequest) -> Run;
        run_agent(InvokeAgentRequest) -> Run;
        stream_agent(InvokeAgentRequest) -> Self::StreamAgentStream;
    }
}

service! {
    KeysService {}
    measured {}
    other {
        create_key(CreateKeyRequest) -> Key;
        list_keys(ListKeysRequest) -> ListKeysResponse;
        get_key(GetKeyRequest) -> Key;
        update_key(UpdateKeyRequest) -> Key;
        rotate_key(RotateKeyRequest) -> Key;
        regenerate_key(RegenerateKeyRequest) -> Key;
        revoke_key(RevokeKeyRequest) -> Key;
        delete_key(DeleteKeyRequest) -> ();
    }
}

service! {
    AuthService {}
    measured {}
    other {
        create_token(CreateTokenRequest) -> Session;
        create_session(CreateSessionRequest) -> Session;
        delete_session(DeleteSessionRequest) -> ();
        get_me(GetMeRequest) -> Me;
    }
}

service! {
    OrganisationsService {}
    measured {}
    other {
        create_organisation(CreateOrganisationRequest) -> Organisation;
        list_organisations(ListOrganisationsRequest) -> ListOrganisationsResponse;
        get_organisation(GetOrganisationRequest) -> Organisation;
        update_organisation(UpdateOrganisationRequest) -> Organisation;
        delete_organisation(DeleteOrganisationRequest) -> ();
    }
}

service! {
    ProjectsService {}
    measured {}
    other {
        create_project(CreateProjectRequest) -> Project;
        list_projects(ListProjectsRequest) -> ListProjectsResponse;
        get_project(GetProjectRequest) -> Project;
        update_project(UpdateProjectRequest) -> Project;
        delete_project(DeleteProjectRequest) -> ();
    }
}
