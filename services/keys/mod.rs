//! The keys service: who may call. One line per call; one file per call. `secret.rs` knows how a
//! key looks, `bootstrap.rs` makes the first one.

mod auth;
pub mod bootstrap;
mod change;
mod convert;
mod create;
mod list;
mod me;
pub mod pepper;
mod rotate;
pub mod secret;
mod session;

use tonic::Request;

use crate::kernel::caller::Forget;
use crate::kernel::page::Cursors;
use crate::kernel::reply::{Reply, caller, reply};
use crate::kernel::{Clock, Pepper};
use crate::proto::runplane::v1 as pb;
use crate::proto::runplane::v1::keys_service_server::KeysService;
use crate::store::Store;

/// The keys service.
pub struct Keys {
    /// Where keys are kept.
    pub store: Store,
    /// What they are hashed with.
    pub pepper: Pepper,
    /// Tells the time.
    pub clock: Clock,
    /// Makes and reads cursors.
    pub cursors: Cursors,
    /// Makes the gateway forget a key.
    pub forget: Forget,
}

/// Overlap of a rotation that names none, in seconds.
const OVERLAP_S: i32 = 86_400;

#[tonic::async_trait]
impl KeysService for Keys {
    async fn create_key(&self, r: Request<pb::CreateKeyRequest>) -> Reply<pb::Key> {
        reply(create::create(self, &caller(&r)?, r.into_inner()).await)
    }

    async fn list_keys(&self, r: Request<pb::ListKeysRequest>) -> Reply<pb::ListKeysResponse> {
        reply(list::list(self, &caller(&r)?, r.into_inner()).await)
    }

    async fn get_key(&self, r: Request<pb::GetKeyRequest>) -> Reply<pb::Key> {
        reply(list::get(self, &caller(&r)?, &r.into_inner().id).await)
    }

    async fn update_key(&self, r: Request<pb::UpdateKeyRequest>) -> Reply<pb::Key> {
        reply(change::update(self, &caller(&r)?, r.into_inner()).await)
    }

    async fn rotate_key(&self, r: Request<pb::RotateKeyRequest>) -> Reply<pb::Key> {
        let (caller, r) = (caller(&r)?, r.into_inner());
        let overlap = r.overlap_seconds.unwrap_or(OVERLAP_S);
        reply(rotate::rotate(self, &caller, &r.id, overlap).await)
    }

    async fn regenerate_key(&self, r: Request<pb::RegenerateKeyRequest>) -> Reply<pb::Key> {
        reply(rotate::rotate(self, &caller(&r)?, &r.into_inner().id, 0).await)
    }

    async fn revoke_key(&self, r: Request<pb::RevokeKeyRequest>) -> Reply<pb::Key> {
        reply(change::revoke(self, &caller(&r)?, &r.into_inner().id, |key| key).await)
    }

    async fn delete_key(&self, r: Request<pb::DeleteKeyRequest>) -> Reply<()> {
        reply(change::revoke(self, &caller(&r)?, &r.into_inner().id, |_| ()).await)
    }
}
