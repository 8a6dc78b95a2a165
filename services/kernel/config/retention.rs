//! How long runs are kept. Read by `upkeep.rs`; data only.

use std::time::Duration;

use serde::Deserialize;

use crate::kernel::Environment;

/// How long runs are kept that have ended.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetentionConfig {
    /// Days that runs of live data are kept; 0: for ever.
    pub live_days: u64,
    /// Days that runs of test data are kept; 0: for ever.
    pub test_days: u64,
}

impl RetentionConfig {
    /// How long runs are kept of this data; `None`: for ever.
    #[must_use]
    pub fn keep(&self, environment: Environment) -> Option<Duration> {
        let days = match environment {
            Environment::Live => self.live_days,
            Environment::Test => self.test_days,
        };
        (days > 0).then(|| Duration::from_secs(days * 86_400))
    }

    /// Hands on what is right or wrong, with what to say of it.
    pub(super) fn check(&self, check: &mut impl FnMut(bool, String)) {
        for (name, days) in [("live_days", self.live_days), ("test_days", self.test_days)] {
            let message = format!("retention.{name} is {days}, must be 0 to 36500");
            check(days <= 36_500, message);
        }
    }
}
