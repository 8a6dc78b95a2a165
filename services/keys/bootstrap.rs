//! The first project and its first key: made once, when the store is empty, and keys made from the
//! command line. Called by
//! `serve.rs`, never by a door.

use std::collections::BTreeMap;

use secrecy::SecretString;

use super::create;
use super::secret::Pepper;
use crate::kernel::caller::Grant;
use crate::kernel::{Clock, Result, Scope, ids};
use crate::store::tables::project;
use crate::store::{self, Store};

/// Name of the project that the first start makes.
const FIRST_PROJECT: &str = "default";

/// The first project, made when there is none, and whether it was made now.
pub async fn project(store: &Store, pepper: &Pepper, clock: &Clock) -> Result<(uuid::Uuid, bool)> {
    if let Some(project) = store::projects::first(store.read()).await? {
        return Ok((project.id, false));
    }
    let now = clock.now();
    let id = ids::fresh(now);
    let signing_secret = signing_secret(pepper, id);
    let row =
        project::Model { id, name: FIRST_PROJECT.to_owned(), signing_secret, created_at: now.0 };
    store
        .tx("first_project", move |tx| {
            let row = row.clone();
            Box::pin(async move { store::projects::insert(tx, row).await })
        })
        .await?;
    Ok((id, true))
}

/// A new key of a project, for its operator.
pub async fn key(
    (store, pepper, clock): (&Store, &Pepper, &Clock),
    scope: Scope,
    name: &str,
    grants: &[Grant],
) -> Result<SecretString> {
    let new = create::New {
        name: name.to_owned(),
        grants: grants.to_vec(),
        metadata: BTreeMap::new(),
        created_by: None,
        expires_at: None,
    };
    let (row, fresh) = create::row(pepper, scope, new, clock.now());
    store
        .tx("operator_key", move |tx| {
            let row = row.clone();
            Box::pin(async move { store::keys::insert(tx, scope, row).await })
        })
        .await?;
    Ok(fresh.secret)
}

fn signing_secret(pepper: &Pepper, project: uuid::Uuid) -> String {
    use base64::Engine as _;
    let mut random = [0u8; 16];
    rand::fill(&mut random);
    let salted = format!("{project}{random:?}");
    let bytes = pepper.derive("tool signing", &salted);
    format!("whsec_{}", base64::engine::general_purpose::STANDARD.encode(bytes))
}
