//! Sessions: made of the caller's key, with no more than it may do, for an hour at most. A session
//! is kept as keys are, beside them, and is found and checked in the same way.

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use tonic::Response;
use tonic::metadata::AsciiMetadataValue;

use super::{Keys, convert, create, secret};
use crate::kernel::call::Changed;
use crate::kernel::caller::Grant;
use crate::kernel::ids::{self, Kind};
use crate::kernel::reply::Reply;
use crate::kernel::session::{COOKIE, SECONDS_MAX};
use crate::kernel::{Caller, Error, Result, Timestamp};
use crate::proto::runplane::v1 as pb;
use crate::store::{self, tables::api_key};

/// Shortest life, in seconds.
const SECONDS_MIN: i32 = 60;

/// Makes a session, its token in the answer.
pub(super) async fn create(
    keys: &Keys,
    caller: &Caller,
    (scopes, expires_in): (&[String], Option<i32>),
) -> Result<pb::Session> {
    super::create::no_session(caller)?;
    let grants = grants(caller, scopes)?;
    let now = keys.clock.now();
    let expires_at = expiry(caller, now, expires_in)?;
    let scope = caller.scope;
    let fresh = secret::fresh(secret::Kind::Session, scope.environment);
    let row = api_key::Model {
        id: ids::fresh(now),
        project_id: scope.project,
        environment: scope.environment.as_str().to_owned(),
        key_id: fresh.public,
        mac: keys.pepper.mac(fresh.secret.expose_secret()).to_vec(),
        pepper_id: keys.pepper.id(),
        name: "session".to_owned(),
        scopes: convert::kept(&grants),
        metadata: "{}".to_owned(),
        created_by: Some(caller.key_id),
        created_at: now.0,
        expires_at: Some(expires_at.0),
        revoked_at: None,
        replaced_by: None,
        last_used_at: None,
        organisation_id: (!caller.organisation.is_nil()).then_some(caller.organisation),
        level: caller.level.as_str().to_owned(),
        limits: "{}".to_owned(),
        parent_id: Some(caller.key_id),
    };
    let session = message(caller, &row, &grants, now, &fresh.secret);
    let changed = keys.store.change(caller, "create_session", move |tx| {
        let (row, session) = (row.clone(), session.clone());
        Box::pin(async move {
            let (scopes, ends) = (row.scopes.clone(), row.expires_at);
            store::keys::insert(tx, scope, row).await?;
            Changed::new(session.id.clone(), session).after(&(scopes, ends))
        })
    });
    Ok(changed.await?.answer)
}

/// Ends the session that the call is made with, if it is.
pub(super) async fn end(keys: &Keys, caller: &Caller) -> Result<()> {
    let (session, scope, now) = (caller.session_id, caller.scope, keys.clock.now());
    let changed = keys.store.change(caller, "end_session", move |tx| {
        Box::pin(async move {
            let public = match session {
                Some(id) => store::keys::end_session(tx, scope, id, now).await?,
                None => None,
            };
            let target = session.map(|id| ids::format(Kind::Key, id)).unwrap_or_default();
            Ok(Changed::new(target, ()).with(public))
        })
    });
    if let Some(public) = changed.await?.more {
        keys.forget.key(public).await;
    }
    Ok(())
}

/// The answer that puts a session's token into a cookie instead of showing it. `Strict`: no page of
/// another site makes the browser send it.
pub(super) fn in_cookie(mut session: pb::Session) -> Reply<pb::Session> {
    let token = session.token.take().unwrap_or_default();
    let age = session.expires_in;
    let cookie =
        format!("{COOKIE}={token}; Path=/; Max-Age={age}; Secure; HttpOnly; SameSite=Strict");
    with_cookie(Response::new(session), cookie)
}

/// The answer that takes the cookie away.
pub(super) fn without_cookie<M>(response: Response<M>) -> Reply<M> {
    let cookie = format!("{COOKIE}=; Path=/; Max-Age=0; Secure; HttpOnly; SameSite=Strict");
    with_cookie(response, cookie)
}

fn with_cookie<M>(mut response: Response<M>, cookie: String) -> Reply<M> {
    let value = AsciiMetadataValue::try_from(cookie).map_err(Error::internal)?;
    response.metadata_mut().insert("set-cookie", value);
    Ok(response)
}

fn grants(caller: &Caller, scopes: &[String]) -> Result<Vec<Grant>> {
    if scopes.is_empty() {
        return Ok(caller.grants.to_vec());
    }
    let grants = convert::grants(scopes, caller.level)?;
    create::gives(caller, &grants)?;
    Ok(grants)
}

fn expiry(caller: &Caller, now: Timestamp, seconds: Option<i32>) -> Result<Timestamp> {
    let seconds = seconds.unwrap_or(SECONDS_MAX);
    if !(SECONDS_MIN..=SECONDS_MAX).contains(&seconds) {
        let bounds = format!("{SECONDS_MIN} to {SECONDS_MAX}");
        let message = format!("expires_in is {seconds}, must be {bounds} seconds");
        return Err(Error::field("expires_in", message).with("limit", bounds));
    }
    let at = now.plus(Duration::from_secs(seconds.unsigned_abs().into()));
    Ok(caller.expires_at.map_or(at, |ends| ends.min(at)))
}

fn message(
    caller: &Caller,
    row: &api_key::Model,
    grants: &[Grant],
    now: Timestamp,
    token: &SecretString,
) -> pb::Session {
    let expires_at = Timestamp(row.expires_at.unwrap_or_default());
    pb::Session {
        id: ids::format(Kind::Key, row.id),
        object: "session".to_owned(),
        token: Some(token.expose_secret().to_owned()),
        token_type: "Bearer".to_owned(),
        key_id: ids::format(Kind::Key, caller.key_id),
        scopes: grants.iter().map(ToString::to_string).collect(),
        expires_at: Some(expires_at.into()),
        expires_in: expires_at.ms_since(now) / 1000,
    }
}
