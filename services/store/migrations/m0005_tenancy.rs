//! Organisations above projects, keys of three levels, sessions, what may be used in a month, the
//! answers of repeated calls, and the audit log.

use sea_orm::{ConnectionTrait, DbErr, DeriveMigrationName, Statement, Value};
use sea_orm_migration::{MigrationTrait, SchemaManager, async_trait};
use uuid::Uuid;

use crate::kernel::{Timestamp, ids};

/// The change.
#[derive(Debug, DeriveMigrationName)]
pub(super) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        super::define(manager, STATEMENTS).await?;
        adopt(manager.get_connection()).await
    }
}

/// Projects that were there before organisations get one each, and their keys and agents with them.
async fn adopt(conn: &impl ConnectionTrait) -> Result<(), DbErr> {
    let backend = conn.get_database_backend();
    let all = "SELECT id, name, created_at FROM projects";
    for row in conn.query_all_raw(Statement::from_string(backend, all)).await? {
        let (project, name) =
            (row.try_get_by_index::<Uuid>(0)?, row.try_get_by_index::<String>(1)?);
        let at = row.try_get_by_index::<i64>(2)?;
        let organisation = ids::fresh(Timestamp(at));
        let values: [Value; 3] = [organisation.into(), name.into(), at.into()];
        let insert = "INSERT INTO organisations (id, name, plan, created_at, updated_at)
            VALUES ($1, $2, '', $3, $3)";
        conn.execute_raw(Statement::from_sql_and_values(backend, insert, values)).await?;
        for update in ADOPTING {
            let values: [Value; 2] = [organisation.into(), project.into()];
            conn.execute_raw(Statement::from_sql_and_values(backend, update, values)).await?;
        }
    }
    Ok(())
}

const ADOPTING: [&str; 3] = [
    "UPDATE projects SET organisation_id = $1, updated_at = created_at WHERE id = $2",
    "UPDATE agents SET organisation_id = $1 WHERE project_id = $2",
    "UPDATE api_keys SET organisation_id = $1 WHERE project_id = $2",
];

const STATEMENTS: &[&str] = &[
    "CREATE TABLE organisations (
        id {uuid} NOT NULL PRIMARY KEY,
        name TEXT NOT NULL,
        plan TEXT NOT NULL,
        limits TEXT NOT NULL DEFAULT '{}',
        metadata TEXT NOT NULL DEFAULT '{}',
        created_at BIGINT NOT NULL,
        updated_at BIGINT NOT NULL,
        deleted_at BIGINT
    )",
    "CREATE INDEX organisations_list ON organisations (created_at, id) WHERE deleted_at IS NULL",
    "ALTER TABLE projects ADD COLUMN organisation_id {uuid}",
    "ALTER TABLE projects ADD COLUMN plan TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE projects ADD COLUMN metadata TEXT NOT NULL DEFAULT '{}'",
    "ALTER TABLE projects ADD COLUMN updated_at BIGINT NOT NULL DEFAULT 0",
    "ALTER TABLE projects ADD COLUMN deleted_at BIGINT",
    "CREATE INDEX projects_list ON projects (created_at, id) WHERE deleted_at IS NULL",
    "CREATE INDEX projects_organisation ON projects (organisation_id, created_at, id)
        WHERE deleted_at IS NULL",
    // The published agents of an organisation, whatever project they are in. Set when published.
    "ALTER TABLE agents ADD COLUMN organisation_id {uuid}",
    "CREATE INDEX agents_organisation
        ON agents (organisation_id, environment, created_at, id)
        WHERE deleted_at IS NULL AND published",
    // project_id is the owner: a project, an organisation, or nil for the server.
    "ALTER TABLE api_keys ADD COLUMN organisation_id {uuid}",
    "ALTER TABLE api_keys ADD COLUMN level TEXT NOT NULL DEFAULT 'project'",
    "ALTER TABLE api_keys ADD COLUMN limits TEXT NOT NULL DEFAULT '{}'",
    "ALTER TABLE api_keys ADD COLUMN parent_id {uuid}",
    "DROP INDEX api_keys_list",
    "CREATE INDEX api_keys_list ON api_keys (project_id, environment, created_at, id)
        WHERE parent_id IS NULL",
    "CREATE INDEX api_keys_sessions ON api_keys (expires_at) WHERE parent_id IS NOT NULL",
    // What owners with a quota have used: a project's environment, or a key (environment '').
    "CREATE TABLE usage_months (
        owner_id {uuid} NOT NULL,
        environment TEXT NOT NULL,
        month INTEGER NOT NULL,
        runs BIGINT NOT NULL DEFAULT 0,
        tokens BIGINT NOT NULL DEFAULT 0,
        PRIMARY KEY (owner_id, environment, month)
    ) {clustered}{hot}",
    // key_id is set for runs of keys with a cap of their own, which is in lanes: kind 'key',
    // project_id the key, environment ''. metered: somebody has a quota that its tokens count in.
    "ALTER TABLE run_queue ADD COLUMN key_id {uuid}",
    "ALTER TABLE run_queue ADD COLUMN metered BOOLEAN NOT NULL DEFAULT FALSE",
    // Apart, so that a thousand runs that wait for their key stand in nobody's way.
    "DROP INDEX run_queue_ready",
    "CREATE INDEX run_queue_ready
        ON run_queue (project_id, environment, priority, available_at, run_id)
        WHERE state = 0 AND key_id IS NULL",
    "CREATE INDEX run_queue_capped
        ON run_queue (project_id, environment, key_id, priority, available_at, run_id)
        WHERE state = 0 AND key_id IS NOT NULL",
    "CREATE INDEX run_queue_key ON run_queue (key_id, state) WHERE key_id IS NOT NULL",
    // Keys of callers are kept as digests, answers sealed.
    "CREATE TABLE idempotency_keys (
        project_id {uuid} NOT NULL,
        environment TEXT NOT NULL,
        digest {bytes} NOT NULL,
        route TEXT NOT NULL,
        fingerprint {bytes} NOT NULL,
        answer {bytes} NOT NULL,
        resource_id {uuid},
        created_at BIGINT NOT NULL,
        expires_at BIGINT NOT NULL,
        PRIMARY KEY (project_id, environment, digest, route)
    ) {clustered}",
    "CREATE INDEX idempotency_keys_end ON idempotency_keys (expires_at)",
    // seq and chain are set once, in order, by the linker; until then they are null.
    "CREATE TABLE audit_log (
        id {uuid} NOT NULL PRIMARY KEY,
        seq BIGINT,
        project_id {uuid} NOT NULL,
        environment TEXT NOT NULL,
        at BIGINT NOT NULL,
        entry TEXT NOT NULL,
        mac {bytes} NOT NULL,
        chain {bytes}
    )",
    "CREATE UNIQUE INDEX audit_log_seq ON audit_log (seq) WHERE seq IS NOT NULL",
    "CREATE INDEX audit_log_loose ON audit_log (at, id) WHERE seq IS NULL",
    "CREATE INDEX audit_log_list ON audit_log (project_id, environment, at, id)",
];
