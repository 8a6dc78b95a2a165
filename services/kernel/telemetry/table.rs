//! Every metric: its name at a collector and on the page, its unit, its labels, its meaning. Read
//! by `meters.rs`, `gauges.rs` and `page.rs`; `docs/telemetry.md` says the same, which a test
//! compares.

/// A metric.
#[derive(Debug, PartialEq, Eq)]
pub struct Row {
    /// Name, as in OpenTelemetry.
    pub name: &'static str,
    /// Name on the page, as in Prometheus.
    pub page: &'static str,
    /// Unit, as in UCUM.
    pub unit: &'static str,
    /// Its labels, as in OpenTelemetry.
    pub labels: &'static [&'static str],
    /// What it says.
    pub about: &'static str,
}

macro_rules! rows {
    ($($id:ident $name:literal $page:literal $unit:literal $labels:tt $about:literal)*) => {
        $(
            #[doc = $about]
            pub const $id: Row = Row {
                name: $name, page: $page, unit: $unit, labels: &$labels, about: $about,
            };
        )*
        /// All of them.
        pub const ALL: &[Row] = &[$($id),*];
    };
}

rows! {
    REQUEST_DURATION "runplane.request.duration" "runplane_request_duration_seconds" "s"
        ["method", "dialect", "status"]
        "Time until the answer to a call begins; of one without a stream, until it is complete."
    REQUESTS_ACTIVE "runplane.requests.active" "runplane_requests_active" "{request}" []
        "Calls whose answer has not begun."
    LIMITS_DECISIONS "runplane.limits.decisions" "runplane_limits_decisions_total" "{decision}"
        ["limit", "outcome"]
        "Calls that a limit has allowed or refused."
    QUEUE_DEPTH "runplane.queue.depth" "runplane_queue_depth" "{run}" ["state"]
        "Runs of all processes that have not ended: ready, leased to a worker, waiting for their \
         caller, behind another run of their conversation."
    QUEUE_OLDEST "runplane.queue.oldest" "runplane_queue_oldest_seconds" "s" []
        "For how long the oldest run that is ready has been so; 0 when none is."
    RUNS_CREATED "runplane.runs.created" "runplane_runs_created_total" "{run}" []
        "Runs that this process has created."
    RUNS_ENDED "runplane.runs.ended" "runplane_runs_ended_total" "{run}" ["status"]
        "Runs that this process has ended."
    RUNS_ACTIVE "runplane.runs.active" "runplane_runs_active" "{run}" []
        "Runs that this process drives."
    RUNS_SLOTS "runplane.runs.slots" "runplane_runs_slots" "{run}" []
        "Runs that this process can drive at once."
    CLAIM_LATENCY "runplane.claim.latency" "runplane_claim_latency_seconds" "s" []
        "Time from when a run is ready to when a worker takes it."
    STEP_DURATION "runplane.step.duration" "runplane_step_duration_seconds" "s" ["kind", "outcome"]
        "Time of a model call or a tool call, with its retries."
    RUN_DURATION "runplane.run.duration" "runplane_run_duration_seconds" "s" ["status"]
        "Time from the creation of a run to its end."
    TOKEN_USAGE "gen_ai.client.token.usage" "gen_ai_client_token_usage" "{token}"
        ["gen_ai.operation.name", "gen_ai.provider.name", "gen_ai.request.model",
            "gen_ai.token.type"]
        "Tokens that a model call has read or written."
    OPERATION_DURATION "gen_ai.client.operation.duration" "gen_ai_client_operation_duration_seconds"
        "s"
        ["gen_ai.operation.name", "gen_ai.provider.name", "gen_ai.request.model", "error.type"]
        "Time of one try of a model call."
    CACHE_LOOKUPS "runplane.cache.lookups" "runplane_cache_lookups_total" "{lookup}"
        ["cache", "outcome"]
        "Looks into a cache: keys, specs (what agents' versions say), pictures (of runs)."
    POOL_WAIT "runplane.store.pool.wait" "runplane_store_pool_wait_seconds" "s" []
        "Time that a transaction on Postgres, or a question on SQLite, waits for a connection."
    TRANSACTION_DURATION "runplane.store.transaction.duration"
        "runplane_store_transaction_duration_seconds" "s" ["name"]
        "Time of a transaction, with its wait and its repeats."
    STORE_REPEATS "runplane.store.repeats" "runplane_store_repeats_total" "{transaction}" []
        "Transactions that were done again after a lost race."
    STREAM_FOLLOWERS "runplane.stream.followers" "runplane_stream_followers" "{stream}" []
        "Streams of events that are open at this process, and waits for a run."
    REDIS_UP "runplane.redis.up" "runplane_redis_up" "1" []
        "1 while Redis answers, 0 while it is away; not there without one."
    WORKERS "runplane.workers" "runplane_workers" "{process}" []
        "Processes that work on the database, as the last heartbeat found."
    BUILD "runplane.build" "runplane_build_info" "1" ["version"]
        "1, with the version."
}

/// The row of this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Row> {
    ALL.iter().find(|row| row.name == name)
}
