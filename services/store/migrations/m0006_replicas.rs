//! Many replicas: runs in conversations, versions of what is shown of a run, and their end.

/// The change.
pub(super) const STATEMENTS: &[&str] = &[
    // Grows with every change of the row, so that of two pictures of a run the newer one is known.
    "ALTER TABLE runs ADD COLUMN revision BIGINT NOT NULL DEFAULT 0",
    // Runs of one conversation go one after the other. state 3: behind another run of its session.
    // A run's turn is its place in its session, from 1; given under the session's lock, since ids
    // and times of several replicas say nothing of who came first.
    "ALTER TABLE run_queue ADD COLUMN session_id TEXT",
    "ALTER TABLE run_queue ADD COLUMN session_turn BIGINT NOT NULL DEFAULT 0",
    "CREATE INDEX run_queue_session
        ON run_queue (project_id, environment, session_id, session_turn)
        WHERE session_id IS NOT NULL",
    "CREATE INDEX run_queue_behind ON run_queue (project_id, environment) WHERE state = 3",
    // Who waits for a caller, or behind another run, ends in time.
    "DROP INDEX run_queue_timer",
    "CREATE INDEX run_queue_timer ON run_queue (available_at) WHERE state >= 2",
    "ALTER TABLE runs ADD COLUMN session_turn BIGINT NOT NULL DEFAULT 0",
    "CREATE INDEX runs_turns ON runs (project_id, environment, session_id, session_turn, id)
        WHERE session_id IS NOT NULL",
    // Lanes of deleted projects, whose runs end.
    "CREATE INDEX lanes_paused ON lanes (project_id, environment) WHERE paused",
    // What has ended and is to be removed, oldest first.
    "CREATE INDEX runs_ended ON runs (environment, completed_at) WHERE completed_at IS NOT NULL",
];
