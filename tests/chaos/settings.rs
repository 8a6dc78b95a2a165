//! What `tests/chaos/run` asks for: how long each fault goes on, how patient the cluster is, which
//! guard is taken out, and where the table is written. The environment carries it.

use std::time::Duration;

/// How patient the workers are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// As the product's defaults say: lease 10 s, heartbeat 3 s.
    Default,
    /// Lease 4 s, heartbeat 1 s, so that more happens in a short time.
    Short,
}

impl Patience {
    /// What `tests/chaos/run` asks for.
    pub fn told() -> Self {
        if told("RUNPLANE_CHAOS_SHORT").is_empty() { Self::Default } else { Self::Short }
    }

    /// What the configuration says of it.
    pub fn config(self) -> &'static str {
        match self {
            Self::Default => "[engine]\nlease_ms = 10000\nheartbeat_ms = 3000\n",
            Self::Short => "[engine]\nlease_ms = 4000\nheartbeat_ms = 1000\n",
        }
    }

    /// Length of a lease.
    pub fn lease(self) -> Duration {
        Duration::from_secs(if self == Self::Default { 10 } else { 4 })
    }

    /// Between two heartbeats.
    pub fn heartbeat(self) -> Duration {
        Duration::from_secs(if self == Self::Default { 3 } else { 1 })
    }
}

/// How long a fault goes on.
pub fn length() -> Duration {
    Duration::from_secs(told("RUNPLANE_CHAOS_SECONDS").parse().unwrap_or(60))
}

/// What every replica is told to do wrong, as `RUNPLANE_FAULTS`: it goes on without these guards.
pub fn faults() -> String {
    let guards = told("RUNPLANE_CHAOS_WITHOUT");
    let guards = guards.split(',').filter(|guard| !guard.is_empty());
    guards.map(|guard| format!("without:{guard}")).collect::<Vec<_>>().join(",")
}

/// The file that the table's rows are added to; empty: none.
pub fn table() -> String {
    told("RUNPLANE_CHAOS_TABLE")
}

#[expect(clippy::disallowed_methods, reason = "tests have no configuration of their own")]
fn told(name: &str) -> String {
    std::env::var(name).unwrap_or_default()
}
