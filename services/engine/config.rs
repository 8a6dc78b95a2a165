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

    pub(super) fn idle(&self) -> Duration {
        Duration::from_millis(self.idle_ms.max(1))
    }
}
