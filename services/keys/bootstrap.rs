//! The first organisation with its first project, made once, when the store is empty, and keys made
//! from the command line. Called by `serve`, never by a door.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use uuid::Uuid;

use super::create;
pub use super::create::Space;
use crate::kernel::call::{Call, Changed};
use crate::kernel::caller::{Caller, Grant, Level};
use crate::kernel::plan::Limits;
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

/// What a key from the command line opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opens {
    /// The first project, which is made when there is none.
    First(Environment),
    /// A project.
    Project(Uuid, Environment),
    /// An organisation.
    Organisation(Uuid, Environment),
    /// The server itself.
    Operator,
}

/// The space that a key is to open.
///
/// # Errors
/// `project_not_found`; `organisation_not_found`; those of the store.
pub async fn space(parts: (&Store, &Pepper, &Clock), opens: Opens) -> Result<Space> {
    let read = parts.0.read();
    let space = |owner, environment, level, organisation| Space {
        scope: Scope { project: owner, environment },
        level,
        organisation,
    };
    Ok(match opens {
        Opens::First(environment) => first(parts, environment).await?.0,
        Opens::Project(id, environment) => {
            let organisation = store::projects::live(read, id).await?.organisation_id;
            space(id, environment, Level::Project, organisation.unwrap_or_default())
        }
        Opens::Organisation(id, environment) => {
            let id = store::organisations::live(read, id).await?.id;
            space(id, environment, Level::Organisation, id)
        }
        Opens::Operator => space(Uuid::nil(), Environment::Live, Level::Operator, Uuid::nil()),
    })
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
    let commander = commander(pepper, space);
    let changed = store.change(&commander, "operator_key", move |tx| {
        let row = row.clone();
        Box::pin(async move {
            let row = store::keys::insert(tx, space.scope, row).await?;
            let scopes = (row.name, row.scopes);
            Changed::new(ids::format(ids::Kind::Key, row.id), ()).after(&scopes)
        })
    });
    changed.await?;
    Ok(fresh.secret)
}

/// Who sits at the command line: known by no key, and written down as that.
fn commander(pepper: &Pepper, space: Space) -> Caller {
    let call = Call { action: "runplane/keys create", ..Call::silent(pepper) };
    let minute = Duration::from_secs(60);
    Caller {
        key_id: Uuid::nil(),
        session_id: None,
        organisation: space.organisation,
        scope: space.scope,
        expires_at: None,
        level: space.level,
        grants: Arc::new([Grant::OPERATOR]),
        limits: Arc::new(Limits::none(minute)),
        call: Arc::new(call),
        alive: None,
    }
}
