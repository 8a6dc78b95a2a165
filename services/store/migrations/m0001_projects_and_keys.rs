//! Projects and the keys that open them.

/// The change.
pub(super) const STATEMENTS: &[&str] = &[
    "CREATE TABLE projects (
        id {uuid} NOT NULL PRIMARY KEY,
        name TEXT NOT NULL,
        signing_secret TEXT NOT NULL,
        created_at BIGINT NOT NULL
    )",
    "CREATE TABLE api_keys (
        id {uuid} NOT NULL PRIMARY KEY,
        project_id {uuid} NOT NULL,
        environment TEXT NOT NULL,
        key_id TEXT NOT NULL,
        mac {bytes} NOT NULL,
        pepper_id TEXT NOT NULL,
        name TEXT NOT NULL,
        scopes TEXT NOT NULL,
        metadata TEXT NOT NULL,
        created_by {uuid},
        created_at BIGINT NOT NULL,
        expires_at BIGINT,
        revoked_at BIGINT,
        replaced_by {uuid},
        last_used_at BIGINT
    )",
    "CREATE UNIQUE INDEX api_keys_key_id ON api_keys (key_id)",
    "CREATE INDEX api_keys_list ON api_keys (project_id, environment, created_at, id)",
];
