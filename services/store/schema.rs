//! The schema of a database that no server of this process has opened: which changes it lacks, and
//! how it gets them. Called by `runplane migrate`.

use super::{StoreConfig, migrations, postgres, sqlite};
use crate::kernel::{Error, Result};

/// The names of all changes of the schema that this version knows, oldest first.
#[must_use]
pub fn changes() -> Vec<String> {
    migrations::names()
}

/// Brings the schema to the newest change; the names of the changes that were made, oldest first.
///
/// # Errors
/// As `Store::open`.
pub async fn migrate(config: &StoreConfig) -> Result<Vec<String>> {
    match scheme(config)? {
        Scheme::Sqlite => sqlite::migrate(config).await,
        Scheme::Postgres => postgres::migrate_alone(config).await,
    }
}

/// The names of the changes that [`migrate`] would make. Changes nothing, and may be asked while
/// servers have the database.
///
/// # Errors
/// As `Store::open`, but for a file that another process has.
pub async fn pending(config: &StoreConfig) -> Result<Vec<String>> {
    match scheme(config)? {
        Scheme::Sqlite => sqlite::pending(config).await,
        Scheme::Postgres => postgres::pending(config).await,
    }
}

/// Which database a URL names.
pub(super) enum Scheme {
    Sqlite,
    Postgres,
}

pub(super) fn scheme(config: &StoreConfig) -> Result<Scheme> {
    match config.url.split(':').next() {
        Some("sqlite") => Ok(Scheme::Sqlite),
        Some("postgres" | "postgresql") => Ok(Scheme::Postgres),
        _ => {
            let message = "store.url must begin with sqlite: or postgres:";
            Err(Error::field("store.url", message))
        }
    }
}
