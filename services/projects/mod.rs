//! The projects service, for the server's operator. One line per call; one file per call.

mod convert;
mod create;
mod delete;
mod list;
mod update;

use tonic::Request;

use crate::kernel::caller::Forget;
use crate::kernel::config::Plans;
use crate::kernel::page::Cursors;
use crate::kernel::reply::{Reply, caller, reply};
use crate::kernel::{Clock, Pepper};
use crate::proto::runplane::v1 as pb;
use crate::proto::runplane::v1::projects_service_server::ProjectsService;
use crate::store::Store;

/// The projects service.
pub struct Projects {
    /// Where projects are kept.
    pub store: Store,
    /// The plans that there are.
    pub plans: Plans,
    /// Makes the secrets that sign calls of tools.
    pub pepper: Pepper,
    /// Tells the time.
    pub clock: Clock,
    /// Makes and reads cursors.
    pub cursors: Cursors,
    /// Makes the gateway forget keys.
    pub forget: Forget,
}

#[tonic::async_trait]
impl ProjectsService for Projects {
    async fn create_project(&self, r: Request<pb::CreateProjectRequest>) -> Reply<pb::Project> {
        reply(create::create(self, &caller(&r)?, r.into_inner()).await)
    }

    async fn list_projects(
        &self,
        r: Request<pb::ListProjectsRequest>,
    ) -> Reply<pb::ListProjectsResponse> {
        reply(list::list(self, &caller(&r)?, r.into_inner()).await)
    }

    async fn get_project(&self, r: Request<pb::GetProjectRequest>) -> Reply<pb::Project> {
        reply(list::get(self, &r.into_inner().id).await)
    }

    async fn update_project(&self, r: Request<pb::UpdateProjectRequest>) -> Reply<pb::Project> {
        reply(update::update(self, &caller(&r)?, r.into_inner()).await)
    }

    async fn delete_project(&self, r: Request<pb::DeleteProjectRequest>) -> Reply<()> {
        reply(delete::delete(self, &caller(&r)?, &r.into_inner().id).await)
    }
}
