//! The auth service: sessions of keys, and who a caller is. One line per call.

use tonic::{Request, Response};

use super::{Keys, me, session};
use crate::kernel::reply::{Reply, caller, reply};
use crate::proto::runplane::v1 as pb;
use crate::proto::runplane::v1::auth_service_server::AuthService;

#[tonic::async_trait]
impl AuthService for Keys {
    async fn create_token(&self, r: Request<pb::CreateTokenRequest>) -> Reply<pb::Session> {
        let (caller, r) = (caller(&r)?, r.into_inner());
        reply(session::create(self, &caller, (&r.scopes, r.expires_in)).await)
    }

    async fn create_session(&self, r: Request<pb::CreateSessionRequest>) -> Reply<pb::Session> {
        let (caller, r) = (caller(&r)?, r.into_inner());
        let session = match caller.call.remembered()? {
            Some(session) => session,
            None => session::create(self, &caller, (&r.scopes, r.expires_in)).await?,
        };
        session::in_cookie(session)
    }

    async fn delete_session(&self, r: Request<pb::DeleteSessionRequest>) -> Reply<()> {
        session::end(self, &caller(&r)?).await?;
        session::without_cookie(Response::new(()))
    }

    async fn get_me(&self, r: Request<pb::GetMeRequest>) -> Reply<pb::Me> {
        reply(me::get(self, &caller(&r)?).await)
    }
}
