//! The runs service: starts runs, follows them, feeds them and stops them. One line per call; one
//! file per call.

mod cancel;
mod convert;
mod create;
mod current;
mod events;
mod get;
mod list;
mod submit;
mod wait;

use std::pin::Pin;

use futures::Stream;
use tonic::{Request, Status};

use crate::engine::Engine;
use crate::kernel::Clock;
use crate::kernel::config::Plans;
use crate::kernel::page::Cursors;
use crate::kernel::reply::{Reply, caller, reply};
use crate::proto::runplane::v1 as pb;
use crate::proto::runplane::v1::runs_service_server::RunsService;
use crate::store::Store;

pub use current::Turns;
pub use events::last_seen;

/// The runs service.
pub struct Runs {
    /// Where runs are kept.
    pub store: Store,
    /// What moves them.
    pub engine: Engine,
    /// Tells the time.
    pub clock: Clock,
    /// Makes and reads cursors.
    pub cursors: Cursors,
    /// The plans that there are.
    pub plans: Plans,
    /// Who reads a run for all that ask for it.
    pub turns: Turns,
}

/// A stream of events.
pub type Events = Pin<Box<dyn Stream<Item = Result<pb::RunEvent, Status>> + Send>>;

#[tonic::async_trait]
impl RunsService for Runs {
    type StreamRunStream = Events;
    type WatchRunStream = Events;
    type StreamToolOutputsStream = Events;

    async fn create_run(&self, r: Request<pb::CreateRunRequest>) -> Reply<pb::Run> {
        let (caller, prefer) = (caller(&r)?, wait::preferred(r.metadata())?);
        reply(create::create(self, &caller, r.into_inner(), prefer).await)
    }

    async fn stream_run(&self, r: Request<pb::CreateRunRequest>) -> Reply<Events> {
        reply(create::stream(self, &caller(&r)?, r.into_inner()).await)
    }

    async fn list_runs(&self, r: Request<pb::ListRunsRequest>) -> Reply<pb::ListRunsResponse> {
        reply(list::list(self, &caller(&r)?, r.into_inner()).await)
    }

    async fn get_run(&self, r: Request<pb::GetRunRequest>) -> Reply<pb::Run> {
        let (caller, prefer) = (caller(&r)?, wait::preferred(r.metadata())?);
        reply(get::get(self, &caller, &r.into_inner(), prefer).await)
    }

    async fn list_run_events(
        &self,
        r: Request<pb::ListRunEventsRequest>,
    ) -> Reply<pb::ListRunEventsResponse> {
        let (caller, last) = (caller(&r)?, events::last_seen(r.metadata())?);
        reply(events::list(self, &caller, r.into_inner(), last).await)
    }

    async fn watch_run(&self, r: Request<pb::ListRunEventsRequest>) -> Reply<Events> {
        let (caller, last) = (caller(&r)?, events::last_seen(r.metadata())?);
        reply(events::watch(self, &caller, r.into_inner(), last).await)
    }

    async fn cancel_run(&self, r: Request<pb::CancelRunRequest>) -> Reply<pb::Run> {
        reply(cancel::cancel(self, &caller(&r)?, &r.into_inner().id).await)
    }

    async fn submit_tool_outputs(
        &self,
        r: Request<pb::SubmitToolOutputsRequest>,
    ) -> Reply<pb::Run> {
        let (caller, prefer) = (caller(&r)?, wait::preferred(r.metadata())?);
        reply(submit::submit(self, &caller, r.into_inner(), prefer).await)
    }

    async fn stream_tool_outputs(&self, r: Request<pb::SubmitToolOutputsRequest>) -> Reply<Events> {
        reply(submit::stream(self, &caller(&r)?, r.into_inner()).await)
    }
}
