//! The organisations service, for the server's operator. One line per call; one file per call.

mod convert;
mod create;
mod delete;
mod list;
mod update;

use tonic::Request;

use crate::kernel::Clock;
use crate::kernel::caller::Forget;
use crate::kernel::config::Plans;
use crate::kernel::page::Cursors;
use crate::kernel::reply::{Reply, caller, reply};
use crate::proto::runplane::v1 as pb;
use crate::proto::runplane::v1::organisations_service_server::OrganisationsService;
use crate::store::Store;

/// The organisations service.
pub struct Organisations {
    /// Where organisations are kept.
    pub store: Store,
    /// The plans that there are.
    pub plans: Plans,
    /// Tells the time.
    pub clock: Clock,
    /// Makes and reads cursors.
    pub cursors: Cursors,
    /// Makes the gateway forget keys.
    pub forget: Forget,
}

#[tonic::async_trait]
impl OrganisationsService for Organisations {
    async fn create_organisation(
        &self,
        r: Request<pb::CreateOrganisationRequest>,
    ) -> Reply<pb::Organisation> {
        reply(create::create(self, &caller(&r)?, r.into_inner()).await)
    }

    async fn list_organisations(
        &self,
        r: Request<pb::ListOrganisationsRequest>,
    ) -> Reply<pb::ListOrganisationsResponse> {
        reply(list::list(self, &caller(&r)?, r.into_inner()).await)
    }

    async fn get_organisation(
        &self,
        r: Request<pb::GetOrganisationRequest>,
    ) -> Reply<pb::Organisation> {
        reply(list::get(self, &r.into_inner().id).await)
    }

    async fn update_organisation(
        &self,
        r: Request<pb::UpdateOrganisationRequest>,
    ) -> Reply<pb::Organisation> {
        reply(update::update(self, &caller(&r)?, r.into_inner()).await)
    }

    async fn delete_organisation(&self, r: Request<pb::DeleteOrganisationRequest>) -> Reply<()> {
        reply(delete::delete(self, &caller(&r)?, &r.into_inner().id).await)
    }
}
