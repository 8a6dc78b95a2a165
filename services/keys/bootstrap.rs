//! The first organisation with its first project, made once, when the store is empty, and keys made
//! from the command line. Called by `serve.rs`, never by a door.

use std::collections::BTreeMap;

use secrecy::SecretString;
use uuid::Uuid;

use super::create;
pub use super::create::Space;
use crate::kernel::caller::{Grant, Level};
use crate::kernel::{Clock, Environment, Error, Pepper, Result, Scope, ids};
use crate::store::tables::{organisation, project};
use crate::store::{self, Store};

/// Name of the organisation and the project that the first start makes.
const FIRST: &str = "default";

/// The space of the first project's environment, made when there is none, and whether it was made
/// now.
///
/// # Errors
/// Those of the store.
pub async fn first(
    (store, pepper, clock): (&Store, &Pepper, &Clock),
    environment: Environment,
) -> Result<(Space, bool)> {
    let known = store::projects::first(store.read()).await?;
    let made = known.is_none();
    let project = match known {
        Some(project) => project,
        None => make(store, pepper, clock).await?,
    };
    let none = || Error::internal("a project without an organisation");
    let organisation = project.organisation_id.ok_or_else(none)?;
    let scope = Scope { project: project.id, environment };
    Ok((Space { scope, level: Level::Project, organisation }, made))
}

/// The space of the server's operator.
#[must_use]
pub fn operator() -> Space {
    let scope = Scope { project: Uuid::nil(), environment: Environment::Live };
    Space { scope, level: Level::Operator, organisation: Uuid::nil() }
}

async fn make(store: &Store, pepper: &Pepper, clock: &Clock) -> Result<project::Model> {
    let now = clock.now();
    let organisation = organisation::Model {
        id: ids::fresh(now),
        name: FIRST.to_owned(),
        plan: String::new(),
        limits: "{}".to_owned(),
        metadata: "{}".to_owned(),
        created_at: now.0,
        updated_at: now.0,
        deleted_at: None,
    };
    let id = ids::fresh(now);
    let row = project::Model {
        id,
        name: FIRST.to_owned(),
        signing_secret: pepper.signing_secret(id),
        created_at: now.0,
        organisation_id: Some(organisation.id),
        plan: String::new(),
        metadata: "{}".to_owned(),
        updated_at: now.0,
        deleted_at: None,
    };
    store
        .tx("first_project", move |tx| {
            let (organisation, row) = (organisation.clone(), row.clone());
            Box::pin(async move {
                store::organisations::insert(tx, organisation).await?;
                store::projects::insert(tx, row.clone()).await?;
                Ok(row)
            })
        })
        .await
}

/// A new key, for its operator.
///
/// # Errors
/// Those of the store.
pub async fn key(
    (store, pepper, clock): (&Store, &Pepper, &Clock),
    space: Space,
    name: &str,
    grants: &[Grant],
) -> Result<SecretString> {
    let new = create::New {
        name: name.to_owned(),
        grants: grants.to_vec(),
        metadata: BTreeMap::new(),
        created_by: None,
        expires_at: None,
        limits: "{}".to_owned(),
    };
    let (row, fresh) = create::row(pepper, space, new, clock.now());
    store
        .tx("operator_key", move |tx| {
            let row = row.clone();
            Box::pin(async move { store::keys::insert(tx, space.scope, row).await })
        })
        .await?;
    Ok(fresh.secret)
}
