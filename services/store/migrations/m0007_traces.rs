//! Traces: whoever creates a run is known to those who drive it.

use sea_orm::{DbErr, DeriveMigrationName};
use sea_orm_migration::{MigrationTrait, SchemaManager, async_trait};

/// The change.
#[derive(Debug, DeriveMigrationName)]
pub(super) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        super::define(manager, STATEMENTS).await
    }
}

const STATEMENTS: &[&str] = &[
    // The span of the call that created the run, as W3C writes it; none: nothing was traced.
    "ALTER TABLE runs ADD COLUMN traceparent TEXT",
];
