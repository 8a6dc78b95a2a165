//! Where the database is and how it is used. Filled in by `kernel/config.rs`; data only.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How the database is reached.
#[derive(Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StoreConfig {
    /// `sqlite:PATH` or `postgres://USER:PASSWORD@HOST/DATABASE`. Default `sqlite:runplane.db`.
    pub url: String,
    /// True brings the schema to the newest change at the start. Default true.
    pub migrate: bool,
    /// SQLite: connections that read. Default 4.
    pub read_connections: u32,
    /// Postgres: connections in all. Default 16.
    pub max_connections: u32,
    /// SQLite: what a commit survives. Default `full`.
    pub synchronous: Synchronous,
    /// SQLite: jobs that may wait for the writer; one more waits at the door. Default 1024.
    pub queue_jobs: usize,
    /// SQLite: most jobs that share a commit. Default 256.
    pub batch_jobs: usize,
    /// Milliseconds that a question waits for a connection. Default 5000.
    pub acquire_timeout_ms: u64,
    /// SQLite: percent of `queue_jobs` from which on no runs are created. Default 75.
    pub shed_queue_percent: usize,
    /// Postgres: milliseconds of waiting for a connection from which on no runs are created.
    /// Default 250.
    pub shed_wait_ms: u32,
}

/// What a commit of SQLite survives.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Synchronous {
    /// A crash of the process, of the machine, and loss of power.
    #[default]
    Full,
    /// A crash of the process; loss of power may undo the last commits.
    Normal,
}

impl StoreConfig {
    /// Hands on what is right or wrong, with what to say of it.
    pub(super) fn check(&self, check: &mut impl FnMut(bool, String)) {
        let known = self.url.starts_with("sqlite:") || self.url.starts_with("postgres");
        check(known, "store.url must begin with sqlite:// or postgres://".into());
        check(self.read_connections > 0, "store.read_connections must be 1 or more".into());
        check(self.max_connections > 1, "store.max_connections must be 2 or more".into());
        let (percent, wait_ms) = (self.shed_queue_percent, self.shed_wait_ms);
        let message = format!("store.shed_queue_percent is {percent}, must be 1 to 1000");
        check((1..=1000).contains(&percent), message);
        let message = format!("store.shed_wait_ms is {wait_ms}, must be 1 to 60000");
        check((1..=60_000).contains(&wait_ms), message);
    }
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            url: "sqlite:runplane.db".to_owned(),
            migrate: true,
            read_connections: 4,
            max_connections: 16,
            synchronous: Synchronous::Full,
            queue_jobs: 1024,
            batch_jobs: 256,
            acquire_timeout_ms: 5000,
            shed_queue_percent: 75,
            shed_wait_ms: 250,
        }
    }
}

impl fmt::Debug for StoreConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreConfig")
            .field("url", &without_password(&self.url))
            .field("migrate", &self.migrate)
            .field("read_connections", &self.read_connections)
            .field("max_connections", &self.max_connections)
            .field("synchronous", &self.synchronous)
            .field("queue_jobs", &self.queue_jobs)
            .field("batch_jobs", &self.batch_jobs)
            .field("acquire_timeout_ms", &self.acquire_timeout_ms)
            .field("shed_queue_percent", &self.shed_queue_percent)
            .field("shed_wait_ms", &self.shed_wait_ms)
            .finish()
    }
}

/// The URL, fit for a log.
fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let Some((login, place)) = rest.rsplit_once('@') else { return url.to_owned() };
    let user = login.split(':').next().unwrap_or_default();
    format!("{scheme}://{user}:***@{place}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_printed() {
        let url = "postgres://runplane:s3cr:et@db/runplane".to_owned();
        let printed = format!("{:?}", StoreConfig { url, ..StoreConfig::default() });
        assert!(printed.contains("postgres://runplane:***@db/runplane"), "{printed}");
        assert!(!printed.contains("et@"));
    }
}
