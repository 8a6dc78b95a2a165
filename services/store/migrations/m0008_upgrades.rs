//! Two versions of the program on one database: which of them may go on.

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
    // One row: the newest change that a program must know to work with this schema. A change that
    // takes something away, which older programs use, writes its own name here.
    "CREATE TABLE schema_needs (change TEXT NOT NULL)",
    "INSERT INTO schema_needs (change) VALUES ('m0008_upgrades')",
];
