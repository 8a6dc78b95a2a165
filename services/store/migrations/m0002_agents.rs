//! Agents, their immutable versions, and the labels that lists filter by.

/// The change.
pub(super) const STATEMENTS: &[&str] = &[
    "CREATE TABLE agents (
        id {uuid} NOT NULL PRIMARY KEY,
        project_id {uuid} NOT NULL,
        environment TEXT NOT NULL,
        name TEXT NOT NULL,
        version INTEGER NOT NULL,
        published BOOLEAN NOT NULL,
        metadata TEXT NOT NULL,
        spec TEXT NOT NULL,
        created_at BIGINT NOT NULL,
        updated_at BIGINT NOT NULL,
        deleted_at BIGINT
    )",
    "CREATE INDEX agents_list ON agents (project_id, environment, created_at, id)
        WHERE deleted_at IS NULL",
    "CREATE INDEX agents_published ON agents (project_id, environment, published, created_at, id)
        WHERE deleted_at IS NULL",
    "CREATE TABLE agent_versions (
        agent_id {uuid} NOT NULL,
        version INTEGER NOT NULL,
        project_id {uuid} NOT NULL,
        environment TEXT NOT NULL,
        spec TEXT NOT NULL,
        created_at BIGINT NOT NULL,
        PRIMARY KEY (agent_id, version)
    ) {clustered}",
    // A label is a digest of owner, key and value: 16 bytes however long the pair is.
    "CREATE TABLE agent_labels (
        label {uuid} NOT NULL,
        created_at BIGINT NOT NULL,
        agent_id {uuid} NOT NULL,
        PRIMARY KEY (label, created_at, agent_id)
    ) {clustered}",
];
