//! What the engine stands on: workers, lanes, the queue, the journal, the event log, the inbox.

/// The change.
pub(super) const STATEMENTS: &[&str] = &[
    "CREATE TABLE workers (
        id {uuid} NOT NULL PRIMARY KEY,
        beat BIGINT NOT NULL DEFAULT 0,
        lease_until BIGINT NOT NULL,
        started_at BIGINT NOT NULL,
        version INTEGER NOT NULL DEFAULT 0,
        addr TEXT
    ) {clustered}{hot}",
    "CREATE TABLE lanes (
        project_id {uuid} NOT NULL,
        environment TEXT NOT NULL,
        kind TEXT NOT NULL,
        cap INTEGER NOT NULL,
        last_served_at BIGINT NOT NULL DEFAULT 0,
        paused BOOLEAN NOT NULL DEFAULT FALSE,
        PRIMARY KEY (project_id, environment, kind)
    ) {clustered}{hot}",
    // A row exists only while its run is not terminal. state: 0 ready, 1 leased, 2 waiting.
    "CREATE TABLE run_queue (
        run_id {uuid} NOT NULL PRIMARY KEY,
        project_id {uuid} NOT NULL,
        environment TEXT NOT NULL,
        state SMALLINT NOT NULL DEFAULT 0,
        priority SMALLINT NOT NULL DEFAULT 100,
        available_at BIGINT NOT NULL,
        worker_id {uuid},
        epoch BIGINT NOT NULL DEFAULT 0,
        stalls INTEGER NOT NULL DEFAULT 0,
        next_seq BIGINT NOT NULL DEFAULT 1,
        cancel_requested_at BIGINT,
        cancel_mode TEXT,
        min_version INTEGER NOT NULL DEFAULT 0
    ) {clustered}{hot}",
    "CREATE INDEX run_queue_ready
        ON run_queue (project_id, environment, priority, available_at, run_id) WHERE state = 0",
    "CREATE INDEX run_queue_leased ON run_queue (project_id, environment) WHERE state = 1",
    "CREATE INDEX run_queue_worker ON run_queue (worker_id) WHERE state = 1",
    "CREATE INDEX run_queue_timer ON run_queue (available_at) WHERE state = 2",
    "CREATE INDEX run_queue_cancel
        ON run_queue (cancel_requested_at) WHERE cancel_requested_at IS NOT NULL",
    // The journal. status: 0 started, 1 ok, 2 error, 3 unknown.
    "CREATE TABLE run_steps (
        run_id {uuid} NOT NULL,
        step INTEGER NOT NULL,
        call INTEGER NOT NULL,
        kind TEXT NOT NULL,
        idem_key TEXT NOT NULL,
        status SMALLINT NOT NULL DEFAULT 0,
        attempt INTEGER NOT NULL DEFAULT 1,
        epoch BIGINT NOT NULL,
        request TEXT,
        result TEXT,
        usage TEXT,
        started_at BIGINT NOT NULL,
        finished_at BIGINT,
        PRIMARY KEY (run_id, step, call)
    ) {clustered}",
    "CREATE TABLE run_events (
        run_id {uuid} NOT NULL,
        seq BIGINT NOT NULL,
        type TEXT NOT NULL,
        data TEXT NOT NULL,
        at BIGINT NOT NULL,
        PRIMARY KEY (run_id, seq)
    ) {clustered}",
    "CREATE TABLE run_inbox (
        run_id {uuid} NOT NULL,
        key TEXT NOT NULL,
        payload TEXT NOT NULL,
        received_at BIGINT NOT NULL,
        api_key_id {uuid},
        PRIMARY KEY (run_id, key)
    ) {clustered}",
];
