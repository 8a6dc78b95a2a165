//! Creates a key. The secret is in the answer and nowhere else.

use std::collections::BTreeMap;

use secrecy::ExposeSecret;
use uuid::Uuid;

use super::secret;
use super::{Keys, convert};
use crate::kernel::caller::{Grant, Level};
use crate::kernel::{Caller, Clock, Environment, Error, Pepper, Reason, Result, Scope};
use crate::kernel::{Timestamp, ids, labels, text};
use crate::proto::runplane::v1 as pb;
use crate::store::{self, tables::api_key};

/// Most characters of a name.
pub(super) const NAME_CHARS_MAX: usize = 120;

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
}

pub(super) async fn create(
    keys: &Keys,
    caller: &Caller,
    request: pb::CreateKeyRequest,
) -> Result<pb::Key> {
    name(&request.name)?;
    environment(caller, request.environment)?;
    let new = New {
        grants: allowed(caller, &request.scopes)?,
        metadata: labels::checked(request.metadata)?,
        expires_at: expiry(&keys.clock, request.expires_at)?,
        created_by: Some(caller.key_id),
        name: request.name,
    };
    let space =
        Space { scope: caller.scope, level: caller.level, organisation: caller.organisation };
    let (row, fresh) = row(&keys.pepper, space, new, keys.clock.now());
    let scope = caller.scope;
    let secret = fresh.secret;
    let changed = keys.store.change(caller, "create_key", move |tx| {
        let (row, secret) = (row.clone(), secret.clone());
        Box::pin(async move {
            let row = store::keys::insert(tx, scope, row).await?;
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
    let fresh = secret::fresh(scope.environment);
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
        limits: "{}".to_owned(),
        parent_id: None,
    };
    (row, fresh)
}

/// A name within the limits.
pub(super) fn name(name: &str) -> Result<()> {
    match name.chars().count() {
        0 => Err(Error::missing("name")),
        1..=NAME_CHARS_MAX => text::storable("name", name),
        count => {
            let message =
                format!("name has {count} characters, at most {NAME_CHARS_MAX} are allowed");
            Err(Error::field("name", message).with("limit", NAME_CHARS_MAX.to_string()))
        }
    }
}

/// The scopes of the new key: none that the caller's key lacks.
fn allowed(caller: &Caller, scopes: &[String]) -> Result<Vec<Grant>> {
    let mut grants = convert::grants(scopes, caller.level)?;
    if grants.is_empty() {
        grants.push(if caller.level == Level::Operator { Grant::OPERATOR } else { Grant::RUN });
    }
    let lacking = grants.iter().find(|grant| !caller.may_give(**grant));
    let Some(lacking) = lacking else { return Ok(grants) };
    let message = format!("a key without the scope {lacking} cannot give it");
    Err(Error::new(Reason::InsufficientScope, message).with("scope", lacking.to_string()))
}

/// A key is made for the caller's own environment only: a test key must not open live data.
fn environment(caller: &Caller, asked: i32) -> Result<()> {
    let have = caller.scope.environment;
    let unknown = |_| Error::field("environment", "environment must be test or live");
    let same = match pb::Environment::try_from(asked).map_err(unknown)? {
        pb::Environment::Unspecified => true,
        pb::Environment::Test => have == Environment::Test,
        pb::Environment::Live => have == Environment::Live,
    };
    if same {
        return Ok(());
    }
    let message = format!("a {} key cannot make a key of another environment", have.as_str());
    Err(Error::new(Reason::EnvironmentMismatch, message).with("field", "environment"))
}

fn expiry(clock: &Clock, at: Option<prost_types::Timestamp>) -> Result<Option<Timestamp>> {
    let Some(at) = at else { return Ok(None) };
    let at = Timestamp::from(at);
    if at > clock.now() {
        return Ok(Some(at));
    }
    Err(Error::field("expires_at", "expires_at must be in the future"))
}
