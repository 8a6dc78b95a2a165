//! How the engine works: slots, beats, patience. Read by `engine/`; data only.

use serde::{Deserialize, Serialize};

/// How the engine works.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EngineConfig {
    /// Most runs that this process drives at once. Default 256.
    pub concurrent_runs: usize,
    /// Milliseconds between two heartbeats of a worker. Default 3000.
    pub heartbeat_ms: u64,
    /// Milliseconds that a worker's runs stay its own without a heartbeat. Default 10000.
    pub lease_ms: u64,
    /// Milliseconds after which a worker looks for work without being told. Default 1500.
    pub poll_ms: u64,
    /// Claims without progress after which a run fails with `run_stalled`. Default 5.
    pub stalls_max: i32,
    /// Milliseconds after which a cancel that no worker confirms is forced. Default 10000.
    pub cancel_ms: u64,
    /// Milliseconds past its deadline after which a run is stopped from outside. Default 2000.
    pub overdue_ms: u64,
    /// Milliseconds that steps under way may take when the process stops. Default 20000.
    pub drain_ms: u64,
    /// Milliseconds of silence after which a follower looks into the journal. Default 2000.
    pub idle_ms: u64,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            concurrent_runs: 256,
            heartbeat_ms: 3000,
            lease_ms: 10_000,
            poll_ms: 1500,
            stalls_max: 5,
            cancel_ms: 10_000,
            overdue_ms: 2000,
            drain_ms: 20_000,
            idle_ms: 2000,
        }
    }
}
