//! How the engine reads its section of the configuration: as lengths of time.

use std::time::Duration;

pub use crate::kernel::config::EngineConfig;

impl EngineConfig {
    pub(super) fn lease(&self) -> Duration {
        Duration::from_millis(self.lease_ms)
    }

    pub(super) fn heartbeat(&self) -> Duration {
        Duration::from_millis(self.heartbeat_ms.max(1))
    }

    /// Time between two looks at what is followed; with [`Self::grace`] it makes `idle_ms`.
    pub(super) fn look(&self) -> Duration {
        self.idle().saturating_sub(self.grace())
    }

    /// How long a follower that is behind the journal waits for the bus to bring what it lacks.
    pub(super) fn grace(&self) -> Duration {
        self.idle() / 4
    }

    pub(super) fn idle(&self) -> Duration {
        Duration::from_millis(self.idle_ms.max(1))
    }
}
