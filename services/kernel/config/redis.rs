//! Where Redis is and how long it may take. Read by `cache/`; data only.

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use url::Url;

/// Where Redis is.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RedisConfig {
    /// `redis://` or `rediss://`, with user and password; empty: there is none.
    pub url: SecretString,
    /// What every key begins with.
    pub prefix: String,
    /// Milliseconds that a call waits for an answer.
    pub timeout_ms: u64,
    /// Milliseconds to connect.
    pub connect_timeout_ms: u64,
}

impl RedisConfig {
    /// True when there is a Redis.
    #[must_use]
    pub fn is_set(&self) -> bool {
        !self.url.expose_secret().is_empty()
    }

    /// Hands on what is right or wrong, with what to say of it.
    pub(super) fn check(&self, check: &mut impl FnMut(bool, String)) {
        let url = Url::parse(self.url.expose_secret());
        let right = url.is_ok_and(|url| matches!(url.scheme(), "redis" | "rediss"));
        // Not shown: there may be a password in it.
        let message = "redis.url must be a URL that begins with redis:// or rediss://";
        check(right || !self.is_set(), message.into());
        check(
            !self.prefix.contains(['{', '}']),
            "redis.prefix must have no { and no }: they choose the slot in a cluster".into(),
        );
        check(
            (1..=10_000).contains(&self.timeout_ms),
            format!("redis.timeout_ms is {}, must be 1 to 10000", self.timeout_ms),
        );
        check(
            (1..=60_000).contains(&self.connect_timeout_ms),
            format!("redis.connect_timeout_ms is {}, must be 1 to 60000", self.connect_timeout_ms),
        );
    }
}

#[cfg(test)]
mod tests {
    use crate::kernel::config::Config;

    #[test]
    fn a_url_is_checked_and_never_printed() {
        let with = |url: &str| Config::with(&format!("[redis]\nurl = {url:?}"));
        let config = with("rediss://user:hunter2@cache:6380/1").unwrap();
        assert!(config.redis.is_set() && !format!("{config:?}").contains("hunter2"));
        assert!(!with("").unwrap().redis.is_set());
        for odd in ["cache:6379", "http://:hunter2@cache", "hunter2"] {
            let mistakes = with(odd).unwrap_err();
            assert!(mistakes.contains("redis.url") && !mistakes.contains("hunter2"), "{mistakes}");
        }
    }
}
