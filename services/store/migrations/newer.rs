//! The change of a version that does not exist yet, for tests of two versions on one database: in
//! test builds only, and only when `RUNPLANE_FAULTS` has `with:newer` or `with:newest`.

use sea_orm::{DbErr, DeriveMigrationName};
use sea_orm_migration::{MigrationTrait, SchemaManager, async_trait};

use crate::kernel::faults;

/// Adds a column, as most changes do; the newest version's also takes the older ones' leave.
#[derive(Debug, DeriveMigrationName)]
pub(super) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        super::define(manager, EXPANDS).await?;
        if is_newest() {
            super::define(manager, CONTRACTS).await?;
        }
        Ok(())
    }
}

const EXPANDS: &[&str] = &[
    "ALTER TABLE runs ADD COLUMN newer TEXT NOT NULL DEFAULT 'newer'",
    "ALTER TABLE run_queue ADD COLUMN newer BIGINT",
    "CREATE INDEX runs_newer ON runs (newer)",
];

const CONTRACTS: &[&str] = &["UPDATE schema_needs SET change = 'newer'"];

/// True when this process is to be of a version to come.
pub(super) fn is_there() -> bool {
    faults::with("newer") || is_newest()
}

fn is_newest() -> bool {
    faults::with("newest")
}
