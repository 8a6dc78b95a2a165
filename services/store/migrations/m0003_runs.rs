//! Runs and the labels that lists filter by.

/// The change.
pub(super) const STATEMENTS: &[&str] = &[
    "CREATE TABLE runs (
        id {uuid} NOT NULL PRIMARY KEY,
        project_id {uuid} NOT NULL,
        environment TEXT NOT NULL,
        agent_id {uuid} NOT NULL,
        agent_version INTEGER NOT NULL,
        session_id TEXT,
        key_id {uuid},
        status TEXT NOT NULL,
        input TEXT,
        parameters TEXT NOT NULL,
        output TEXT,
        error_code TEXT,
        error_message TEXT,
        required_action TEXT,
        input_tokens INTEGER NOT NULL DEFAULT 0,
        output_tokens INTEGER NOT NULL DEFAULT 0,
        model_calls INTEGER NOT NULL DEFAULT 0,
        tool_calls INTEGER NOT NULL DEFAULT 0,
        metadata TEXT NOT NULL,
        incomplete_reason TEXT,
        attempt INTEGER NOT NULL DEFAULT 0,
        created_at BIGINT NOT NULL,
        started_at BIGINT,
        completed_at BIGINT,
        expires_at BIGINT,
        last_seq BIGINT NOT NULL DEFAULT 0
    ) {hot}",
    "CREATE INDEX runs_list ON runs (project_id, environment, created_at, id)",
    "CREATE INDEX runs_agent ON runs (agent_id, created_at, id)",
    "CREATE INDEX runs_status ON runs (project_id, environment, status, created_at, id)",
    "CREATE INDEX runs_key ON runs (key_id, created_at, id) WHERE key_id IS NOT NULL",
    "CREATE INDEX runs_session ON runs (project_id, environment, session_id, created_at, id)
        WHERE session_id IS NOT NULL",
    "CREATE TABLE run_labels (
        label {uuid} NOT NULL,
        created_at BIGINT NOT NULL,
        run_id {uuid} NOT NULL,
        PRIMARY KEY (label, created_at, run_id)
    ) {clustered}",
];
