//! Many replicas: runs in conversations, versions of what is shown of a run, and their end.

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
    // Grows with every change of the row, so that of two pictures of a run the newer one is known.
    "ALTER TABLE runs ADD COLUMN revision BIGINT NOT NULL DEFAULT 0",
    // Runs of one conversation go one after the other. state 3: behind another run of its session.
    "ALTER TABLE run_queue ADD COLUMN session_id TEXT",
    "CREATE INDEX run_queue_session ON run_queue (project_id, environment, session_id, run_id)
        WHERE session_id IS NOT NULL",
    // What has ended and is to be removed, oldest first.
    "CREATE INDEX runs_ended ON runs (environment, completed_at) WHERE completed_at IS NOT NULL",
];
