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
    /// Claims without progress that a run may have after the first; the next one fails it with
    /// `run_stalled`. Default 5.
    pub stalls_max: i32,
    /// Milliseconds after which a cancel that no worker confirms is forced. Default 10000.
    pub cancel_ms: u64,
    /// Milliseconds past its deadline after which a run is stopped from outside. Default 2000.
    pub overdue_ms: u64,
    /// Milliseconds that steps under way may take when the process stops. Default 20000.
    pub drain_ms: u64,
    /// Milliseconds between two looks for all who follow runs at a process. Default 2000.
    pub idle_ms: u64,
    /// Most earlier runs of a conversation that a run is told of. Default 100.
    pub history_runs_max: usize,
    /// Most bytes of their messages. Default 262144.
    pub history_bytes_max: usize,
    /// Most bytes of the messages and tool results of one run. Default 8388608.
    pub run_bytes_max: usize,
}

impl EngineConfig {
    /// Hands on what is right or wrong, with what to say of it.
    pub(super) fn check(&self, check: &mut impl FnMut(bool, String)) {
        check(self.concurrent_runs > 0, "engine.concurrent_runs must be 1 or more".into());
        check(
            self.heartbeat_ms > 0 && self.lease_ms >= 2 * self.heartbeat_ms,
            "engine.lease_ms must be at least twice engine.heartbeat_ms".into(),
        );
        check(self.poll_ms > 0, "engine.poll_ms must be 1 or more".into());
        let ranges = [
            ("history_runs_max", self.history_runs_max, 0..=10_000),
            ("history_bytes_max", self.history_bytes_max, 0..=16 << 20),
            ("run_bytes_max", self.run_bytes_max, 1 << 16..=1 << 30),
        ];
        for (name, value, range) in ranges {
            let (least, most) = (range.start(), range.end());
            let message = format!("engine.{name} is {value}, must be {least} to {most}");
            check(range.contains(&value), message);
        }
    }
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
            history_runs_max: 100,
            history_bytes_max: 256 << 10,
            run_bytes_max: 8 << 20,
        }
    }
}
