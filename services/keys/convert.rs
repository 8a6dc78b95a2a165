//! Rows to messages, and the words for scopes: the only file here that knows both.

use std::collections::BTreeMap;

use secrecy::{ExposeSecret, SecretString};
use uuid::Uuid;

use super::secret;
use crate::kernel::caller::Grant;
use crate::kernel::ids::{self, Kind};
use crate::kernel::{Environment, Error, Reason, Result, Timestamp};
use crate::proto::runplane::v1 as pb;
use crate::store::tables::api_key;

/// The message of a key; with its secret only in the answer that made it.
pub(super) fn key(row: api_key::Model, secret: Option<&SecretString>) -> Result<pb::Key> {
    let environment = Environment::parse(&row.environment)
        .ok_or_else(|| Error::internal("stored key of an unknown environment"))?;
    let scopes: Vec<String> = serde_json::from_str(&row.scopes).map_err(Error::internal)?;
    let scopes = scopes.iter().filter_map(|word| Grant::parse(word)).map(|g| scope(g).into());
    let at = |at: Option<i64>| at.map(|at| Timestamp(at).into());
    Ok(pb::Key {
        id: ids::format(Kind::Key, row.id),
        object: "key".to_owned(),
        name: row.name,
        scopes: scopes.collect(),
        environment: match environment {
            Environment::Test => pb::Environment::Test.into(),
            Environment::Live => pb::Environment::Live.into(),
        },
        prefix: secret::prefix(environment, &row.key_id),
        secret: secret.map(|secret| secret.expose_secret().to_owned()),
        metadata: labels(&row.metadata)?,
        created_at: at(Some(row.created_at)),
        expires_at: at(row.expires_at),
        revoked_at: at(row.revoked_at),
        last_used_at: at(row.last_used_at),
        replaced_by: row.replaced_by.map(|id| ids::format(Kind::Key, id)),
    })
}

/// The grants of a request, each once; `invalid_field` for one that is not set.
pub(super) fn grants(scopes: &[i32]) -> Result<Vec<Grant>> {
    let mut grants = Vec::with_capacity(scopes.len());
    for (i, scope) in scopes.iter().enumerate() {
        let grant = match pb::KeyScope::try_from(*scope) {
            Ok(pb::KeyScope::Read) => Grant::Read,
            Ok(pb::KeyScope::Run) => Grant::Run,
            Ok(pb::KeyScope::Admin) => Grant::Admin,
            _ => {
                let field = format!("scopes[{i}]");
                let message = format!("{field} must be read, run or admin");
                return Err(Error::field(field, message).with("allowed", "read, run, admin"));
            }
        };
        if !grants.contains(&grant) {
            grants.push(grant);
        }
    }
    Ok(grants)
}

/// The grants as they are kept.
pub(super) fn kept(grants: &[Grant]) -> String {
    let words: Vec<_> = grants.iter().map(|grant| grant.as_str()).collect();
    serde_json::Value::from(words).to_string()
}

/// The labels as they are kept.
pub(super) fn labels(text: &str) -> Result<BTreeMap<String, String>> {
    serde_json::from_str(text).map_err(Error::internal)
}

/// The UUID of a key's id; a malformed one names no key.
pub(super) fn id(text: &str) -> Result<Uuid> {
    ids::parse(Kind::Key, text).ok_or_else(|| {
        let shown: String = text.chars().take(64).collect();
        Error::new(Reason::KeyNotFound, format!("key {shown} not found"))
    })
}

fn scope(grant: Grant) -> pb::KeyScope {
    match grant {
        Grant::Read => pb::KeyScope::Read,
        Grant::Run => pb::KeyScope::Run,
        Grant::Admin => pb::KeyScope::Admin,
    }
}
