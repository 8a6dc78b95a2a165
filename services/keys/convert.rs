//! Rows to messages, and the words for scopes: the only file here that knows both.

use std::collections::BTreeMap;

use secrecy::{ExposeSecret, SecretString};
use uuid::Uuid;

use super::secret;
use crate::kernel::call::Changed;
use crate::kernel::caller::{Grant, Level};
use crate::kernel::grants;
use crate::kernel::ids::{self, Kind};
use crate::kernel::{Environment, Error, Reason, Result, Timestamp};
use crate::messages;
use crate::proto::runplane::v1 as pb;
use crate::store::tables::api_key;

/// Most scopes of one key.
const SCOPES_MAX: usize = 32;

/// The message of a key; with its secret only in the answer that made it.
pub(super) fn key(row: api_key::Model, secret: Option<&SecretString>) -> Result<pb::Key> {
    let environment = Environment::parse(&row.environment)
        .ok_or_else(|| Error::internal("stored key of an unknown environment"))?;
    let scopes: Vec<String> = serde_json::from_str(&row.scopes).map_err(Error::internal)?;
    let grants = kept_grants(&row)?;
    let level = Level::parse(&row.level)
        .ok_or_else(|| Error::internal("stored key of an unknown level"))?;
    let kind = secret::Kind::of(level, &grants);
    let own = serde_json::from_str(&row.limits).map_err(Error::internal)?;
    let at = |at: Option<i64>| at.map(|at| Timestamp(at).into());
    Ok(pb::Key {
        id: ids::format(Kind::Key, row.id),
        object: "key".to_owned(),
        name: row.name,
        scopes,
        environment: messages::environment(environment).into(),
        prefix: secret::prefix(kind, environment, &row.key_id),
        secret: secret.map(|secret| secret.expose_secret().to_owned()),
        metadata: labels(&row.metadata)?,
        created_at: at(Some(row.created_at)),
        expires_at: at(row.expires_at),
        revoked_at: at(row.revoked_at),
        last_used_at: at(row.last_used_at),
        replaced_by: row.replaced_by.map(|id| ids::format(Kind::Key, id)),
        level: messages::level(level).into(),
        organisation_id: row.organisation_id.map(|id| ids::format(Kind::Organisation, id)),
        project_id: (level == Level::Project).then(|| ids::format(Kind::Project, row.project_id)),
        limits: messages::limits(&own),
    })
}

/// What a change of a key has come to.
pub(super) fn changed(
    row: api_key::Model,
    secret: Option<&SecretString>,
) -> Result<Changed<pb::Key>> {
    let (target, state) = (ids::format(Kind::Key, row.id), state(&row));
    Changed::new(target, key(row, secret)?).after(&state)
}

/// What is written down of a key: what anybody may read of it.
pub(super) fn state(row: &api_key::Model) -> serde_json::Value {
    let ends = (row.expires_at, row.revoked_at, row.replaced_by);
    serde_json::json!([row.name, row.scopes, row.metadata, row.limits, ends])
}

/// The grants of a request, each once; `invalid_field` for what is none at this level.
pub(super) fn grants(scopes: &[String], level: Level) -> Result<Vec<Grant>> {
    if scopes.len() > SCOPES_MAX {
        let have = scopes.len();
        let message = format!("scopes has {have} items, at most {SCOPES_MAX} are allowed");
        return Err(Error::field("scopes", message).with("limit", SCOPES_MAX.to_string()));
    }
    let mut grants = Vec::with_capacity(scopes.len());
    for (i, scope) in scopes.iter().enumerate() {
        let grant = Grant::parse(scope).filter(|grant| grant.fits(level));
        let grant = grant.ok_or_else(|| no_scope(i, scope, level))?;
        if !grants.contains(&grant) {
            grants.push(grant);
        }
    }
    Ok(grants)
}

fn no_scope(i: usize, scope: &str, level: Level) -> Error {
    let (field, allowed) = (format!("scopes[{i}]"), grants::choices(level));
    let shown: String = scope.chars().take(64).collect();
    let message = format!("{field} is {shown:?}, must be one of: {allowed}");
    Error::field(field, message).with("allowed", allowed)
}

/// The grants that are kept of a key.
pub(super) fn kept_grants(row: &api_key::Model) -> Result<Vec<Grant>> {
    let words: Vec<String> = serde_json::from_str(&row.scopes).map_err(Error::internal)?;
    Ok(words.iter().filter_map(|word| Grant::parse(word)).collect())
}

/// The grants as they are kept.
pub(super) fn kept(grants: &[Grant]) -> String {
    let words: Vec<_> = grants.iter().map(ToString::to_string).collect();
    serde_json::Value::from(words).to_string()
}

/// The labels as they are kept.
pub(super) fn labels(text: &str) -> Result<BTreeMap<String, String>> {
    serde_json::from_str(text).map_err(Error::internal)
}

/// The UUID of a key's id; a malformed one names no key.
pub(super) fn id(text: &str) -> Result<Uuid> {
    messages::id(Kind::Key, text, (Reason::KeyNotFound, "key"))
}

/// The UUID of a project's id; a malformed one names none.
pub(super) fn project(text: &str) -> Result<Uuid> {
    messages::id(Kind::Project, text, (Reason::ProjectNotFound, "project"))
}

/// The UUID of an organisation's id; a malformed one names none.
pub(super) fn organisation(text: &str) -> Result<Uuid> {
    messages::id(Kind::Organisation, text, (Reason::OrganisationNotFound, "organisation"))
}
