//! Creates a key. The secret is in the answer and nowhere else.

use std::collections::BTreeMap;

use secrecy::ExposeSecret;
use uuid::Uuid;

use super::secret;
use super::{Keys, convert};
use crate::kernel::caller::{Grant, Level};
use crate::kernel::{Caller, Clock, Environment, Error, Pepper, Reason, Result, Scope};
use crate::kernel::{Timestamp, ids, labels};
use crate::messages;
use crate::proto::runplane::v1 as pb;
use crate::store::{self, tables::api_key};

/// What a key opens.
#[derive(Debug, Clone, Copy)]
pub struct Space {
    /// Owner of the key.
    pub scope: Scope,
    /// How far it opens.
    pub level: Level,
    /// Organisation; nil for an operator's.
    pub organisation: Uuid,
}

/// A key to make.
pub(super) struct New {
    pub(super) name: String,
    pub(super) grants: Vec<Grant>,
    pub(super) metadata: BTreeMap<String, String>,
    pub(super) created_by: Option<Uuid>,
    pub(super) expires_at: Option<Timestamp>,
    /// JSON.
    pub(super) limits: String,
}

pub(super) async fn create(
    keys: &Keys,
    caller: &Caller,
    request: pb::CreateKeyRequest,
) -> Result<pb::Key> {
    messages::name(&request.name)?;
    no_session(caller)?;
    let space = space(keys, caller, &request).await?;
    let limits = messages::overrides(request.limits)?;
    let new = New {
        grants: allowed(caller, space.level, &request.scopes)?,
        limits: serde_json::to_string(&limits).map_err(Error::internal)?,
        metadata: labels::checked(request.metadata)?,
        expires_at: ends(caller, expiry(&keys.clock, request.expires_at)?),
        created_by: Some(caller.key_id),
        name: request.name,
    };
    let (row, fresh) = row(&keys.pepper, space, new, keys.clock.now());
    let secret = fresh.secret;
    let changed = keys.store.change(caller, "create_key", move |tx| {
        let (row, secret) = (row.clone(), secret.clone());
        Box::pin(async move {
            let row = store::keys::insert(tx, space.scope, row).await?;
            convert::changed(row, Some(&secret))
        })
    });
    Ok(changed.await?.answer)
}

/// The row of a new key, and its secret.
pub(super) fn row(
    pepper: &Pepper,
    Space { scope, level, organisation }: Space,
    new: New,
    now: Timestamp,
) -> (api_key::Model, secret::Fresh) {
    let fresh = secret::fresh(secret::Kind::of(level, &new.grants), scope.environment);
    let row = api_key::Model {
        id: ids::fresh(now),
        project_id: scope.project,
        environment: scope.environment.as_str().to_owned(),
        key_id: fresh.public.clone(),
        mac: pepper.mac(fresh.secret.expose_secret()).to_vec(),
        pepper_id: pepper.id(),
        name: new.name,
        scopes: convert::kept(&new.grants),
        metadata: serde_json::json!(new.metadata).to_string(),
        created_by: new.created_by,
        created_at: now.0,
        expires_at: new.expires_at.map(|at| at.0),
        revoked_at: None,
        replaced_by: None,
        last_used_at: None,
        organisation_id: (level != Level::Operator).then_some(organisation),
        level: level.as_str().to_owned(),
        limits: new.limits,
        parent_id: None,
    };
    (row, fresh)
}

/// The scopes of the new key: none that the caller's key lacks.
fn allowed(caller: &Caller, level: Level, scopes: &[String]) -> Result<Vec<Grant>> {
    let mut grants = convert::grants(scopes, level)?;
    if grants.is_empty() {
        grants.push(if level == Level::Operator { Grant::OPERATOR } else { Grant::RUN });
    }
    if caller.level != level {
        // An operator gives keys to those whose space it has made; one with narrow scopes does not.
        return match caller.grants.contains(&Grant::OPERATOR) {
            true => Ok(grants),
            false => gives(caller, &[Grant::OPERATOR]).map(|()| grants),
        };
    }
    gives(caller, &grants)?;
    Ok(grants)
}

/// Refuses to change a key that may do what the caller's lacks; every key may change itself.
pub(super) fn rules(caller: &Caller, row: &api_key::Model) -> Result<()> {
    if row.id == caller.key_id {
        return Ok(());
    }
    gives(caller, &convert::kept_grants(row)?)
}

/// Refuses to give what the caller's key lacks.
pub(super) fn gives(caller: &Caller, grants: &[Grant]) -> Result<()> {
    let lacking = grants.iter().find(|grant| !caller.may_give(**grant));
    let Some(lacking) = lacking else { return Ok(()) };
    let message = format!("a key without the scope {lacking} cannot give, change or end it");
    Err(Error::new(Reason::InsufficientScope, message).with("scope", lacking.to_string()))
}

/// What the new key opens: the caller's own space, or for an operator one that the request names.
async fn space(keys: &Keys, caller: &Caller, request: &pb::CreateKeyRequest) -> Result<Space> {
    let Caller { scope, level, organisation, .. } = *caller;
    let (project, of) = (request.project_id.as_deref(), request.organisation_id.as_deref());
    let asked = environment(request.environment)?;
    if project.is_none() && of.is_none() {
        own(scope.environment, asked)?;
        return Ok(Space { scope, level, organisation });
    }
    let field = if project.is_some() { "project_id" } else { "organisation_id" };
    if level != Level::Operator {
        let message = format!("{field} is for an operator's key; other keys make their own kind");
        return Err(Error::field(field, message));
    }
    let environment = asked.unwrap_or(Environment::Live);
    let read = keys.store.read();
    match (project, of) {
        (Some(_), Some(_)) => {
            let message = "organisation_id and project_id cannot be given together";
            Err(Error::field("organisation_id", message))
        }
        (Some(project), None) => {
            let project = store::projects::live(read, convert::project(project)?).await?;
            let organisation = project.organisation_id.unwrap_or_default();
            let scope = Scope { project: project.id, environment };
            Ok(Space { scope, level: Level::Project, organisation })
        }
        (None, of) => {
            let id = convert::organisation(of.unwrap_or_default())?;
            let organisation = store::organisations::live(read, id).await?.id;
            let scope = Scope { project: organisation, environment };
            Ok(Space { scope, level: Level::Organisation, organisation })
        }
    }
}

fn environment(asked: i32) -> Result<Option<Environment>> {
    let unknown = |_| Error::field("environment", "environment must be test or live");
    Ok(match pb::Environment::try_from(asked).map_err(unknown)? {
        pb::Environment::Unspecified => None,
        pb::Environment::Test => Some(Environment::Test),
        pb::Environment::Live => Some(Environment::Live),
    })
}

/// A key is made for the caller's own environment only: a test key must not open live data.
fn own(have: Environment, asked: Option<Environment>) -> Result<()> {
    if asked.is_none_or(|asked| asked == have) {
        return Ok(());
    }
    let message = format!("a {} key cannot make a key of another environment", have.as_str());
    Err(Error::new(Reason::EnvironmentMismatch, message).with("field", "environment"))
}

/// What was made by who ends does not outlive it.
fn ends(caller: &Caller, asked: Option<Timestamp>) -> Option<Timestamp> {
    asked.into_iter().chain(caller.expires_at).min()
}

/// A session ends within the hour; a key that it made would not.
pub(super) fn no_session(caller: &Caller) -> Result<()> {
    if caller.session_id.is_none() {
        return Ok(());
    }
    let message = "a session makes no keys and no sessions; call with the key itself";
    Err(Error::new(Reason::InsufficientScope, message))
}

fn expiry(clock: &Clock, at: Option<prost_types::Timestamp>) -> Result<Option<Timestamp>> {
    let Some(at) = at else { return Ok(None) };
    let at = Timestamp::from(at);
    if at > clock.now() {
        return Ok(Some(at));
    }
    Err(Error::field("expires_at", "expires_at must be in the future"))
}
