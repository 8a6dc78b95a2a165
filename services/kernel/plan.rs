//! What callers may use: plans, what changes them for one organisation or key, and what comes of
//! both. Pure data; `gateway/rate.rs` counts requests by it, `engine` runs.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// So many in a time, and so many at once. One is allowed every `per / limit`; who has waited may
/// take up to `burst` in one go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// How many in the time, 1 to 1,000,000,000.
    pub limit: u32,
    /// The time, 1 second to 31 days; written as in `1s`, `1m`, `1h`, `1d`.
    #[serde(serialize_with = "write_time", deserialize_with = "read_time")]
    pub per: Duration,
    /// How many at once, 1 to 1,000,000,000. Default: `limit`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    burst: Option<u32>,
}

/// What a plan allows; a row of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Requests of one key, run creations included.
    pub requests: Rate,
    /// Requests of all keys of a project's environment together. Default: no such cap.
    #[serde(default)]
    pub project_requests: Option<Rate>,
    /// Run creations of one key, apart from its other requests. Default: no such cap.
    #[serde(default)]
    pub run_creations: Option<Rate>,
    /// Runs of a project's environment that are driven at once, on all replicas.
    pub concurrent_runs: u32,
    /// Runs of a project's environment that wait. Default 1000.
    #[serde(default = "queued_runs")]
    pub queued_runs: u32,
    /// Runs that a project's environment may create in a month, by UTC. Default: any number.
    #[serde(default)]
    pub runs_per_month: Option<u64>,
    /// Tokens that the runs of a project's environment may use in a month. Default: any number.
    #[serde(default)]
    pub tokens_per_month: Option<u64>,
}

/// What one organisation has instead of its plan's values, or one key within them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Overrides {
    /// Requests of one key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests: Option<Rate>,
    /// Requests of all keys of a project's environment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project_requests: Option<Rate>,
    /// Run creations of one key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_creations: Option<Rate>,
    /// Runs at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrent_runs: Option<u32>,
    /// Runs that wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queued_runs: Option<u32>,
    /// Runs a month.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runs_per_month: Option<u64>,
    /// Tokens a month.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens_per_month: Option<u64>,
}

/// What may be used in a month; `None`: any number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Quota {
    /// Runs.
    pub runs: Option<u64>,
    /// Tokens of runs.
    pub tokens: Option<u64>,
}

/// What holds for one key: its project's plan, with what changes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Name of the plan.
    pub plan: Arc<str>,
    /// Requests of the key.
    pub requests: Rate,
    /// Requests of its project's environment.
    pub project_requests: Option<Rate>,
    /// Run creations of the key.
    pub run_creations: Option<Rate>,
    /// Runs at once of the project's environment.
    pub concurrent_runs: u32,
    /// Runs at once that this key has created; `None`: as many as the project.
    pub key_concurrent_runs: Option<u32>,
    /// Runs of the project's environment that may wait when this key creates one more.
    pub queued_runs: u32,
    /// The key's own part of that; `None`: as many as the project.
    pub key_queued_runs: Option<u32>,
    /// What the project's environment may use in a month.
    pub quota: Quota,
    /// What the key may use in a month.
    pub key_quota: Quota,
}

impl Rate {
    /// So many in a time, and as many at once.
    #[must_use]
    pub const fn new(limit: u32, per: Duration, burst: u32) -> Self {
        Self { limit, per, burst: Some(burst) }
    }

    /// How many at once.
    #[must_use]
    pub fn burst(&self) -> u32 {
        self.burst.unwrap_or(self.limit)
    }

    /// Microseconds after which one more is allowed, at least 1.
    #[must_use]
    pub fn emission_us(&self) -> i64 {
        let per = i64::try_from(self.per.as_micros()).unwrap_or(i64::MAX);
        (per / i64::from(self.limit.max(1))).max(1)
    }

    /// The lesser of two: the slower pace, and the smaller number at once.
    #[must_use]
    pub fn within(self, cap: Self) -> Self {
        let slower = if self.emission_us() > cap.emission_us() { self } else { cap };
        let (limit, per) = (slower.limit, slower.per);
        Self { limit, per, burst: Some(self.burst().min(cap.burst())) }
    }

    /// What is wrong with it, if anything.
    #[must_use]
    pub fn mistake(&self) -> Option<&'static str> {
        let count = 1..=1_000_000_000;
        if !count.contains(&self.limit) || !count.contains(&self.burst()) {
            return Some("limit and burst must be 1 to 1,000,000,000");
        }
        let known = Duration::from_secs(1)..=Duration::from_secs(31 * 86_400);
        (!known.contains(&self.per)).then_some("per must be 1 second to 31 days")
    }
}

impl Limits {
    /// Of who is held to none: the most that a rate can say in this time.
    #[must_use]
    pub fn none(per: Duration) -> Self {
        let most = 1_000_000_000;
        Self {
            plan: "".into(),
            requests: Rate::new(most, per, most),
            project_requests: None,
            run_creations: None,
            concurrent_runs: most,
            key_concurrent_runs: None,
            queued_runs: most,
            key_queued_runs: None,
            quota: Quota::default(),
            key_quota: Quota::default(),
        }
    }

    /// What a key has of a plan, with the changes of its organisation and its own. A key's own
    /// values only ever narrow what its plan gives to one key: tenants set them.
    #[must_use]
    pub fn of(name: &str, plan: &Plan, organisation: &Overrides, key: &Overrides) -> Self {
        let Overrides { requests, project_requests, run_creations, .. } = organisation;
        let queued = organisation.queued_runs.unwrap_or(plan.queued_runs);
        Self {
            plan: name.into(),
            requests: narrowed(Some(requests.unwrap_or(plan.requests)), key.requests)
                .unwrap_or(plan.requests),
            project_requests: project_requests.or(plan.project_requests),
            run_creations: narrowed(run_creations.or(plan.run_creations), key.run_creations),
            concurrent_runs: organisation.concurrent_runs.unwrap_or(plan.concurrent_runs),
            key_concurrent_runs: key.concurrent_runs,
            queued_runs: key.queued_runs.map_or(queued, |own| own.min(queued)),
            key_queued_runs: key.queued_runs,
            quota: Quota {
                runs: organisation.runs_per_month.or(plan.runs_per_month),
                tokens: organisation.tokens_per_month.or(plan.tokens_per_month),
            },
            key_quota: Quota { runs: key.runs_per_month, tokens: key.tokens_per_month },
        }
    }
}

/// As many as a worker with free slots drives in some minutes, and as many as a caller that went
/// mad creates in a few seconds.
fn queued_runs() -> u32 {
    1000
}

/// A rate, narrowed by another where there is one.
fn narrowed(rate: Option<Rate>, by: Option<Rate>) -> Option<Rate> {
    match (rate, by) {
        (Some(rate), Some(by)) => Some(by.within(rate)),
        (rate, by) => rate.or(by),
    }
}

const UNITS: [(&str, u64); 4] = [("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)];

fn write_time<S: Serializer>(time: &Duration, out: S) -> Result<S::Ok, S::Error> {
    let seconds = time.as_secs();
    let whole = UNITS.iter().find(|(_, unit)| seconds.is_multiple_of(*unit));
    let (name, unit) = whole.unwrap_or(&("s", 1));
    out.serialize_str(&format!("{}{name}", seconds / unit))
}

fn read_time<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(from)?;
    let read = UNITS.iter().find_map(|(name, unit)| {
        let count: u64 = text.strip_suffix(name)?.parse().ok()?;
        Some(Duration::from_secs(count.checked_mul(*unit)?))
    });
    read.ok_or_else(|| de::Error::custom(format!("{text:?} is no time; write 30s, 1m, 1h or 1d")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_read_and_written() {
        let rate: Rate = toml::from_str("limit = 100\nper = \"1h\"").unwrap();
        assert_eq!((rate.emission_us(), rate.burst()), (36_000_000, 100));
        let text = serde_json::to_string(&Rate::new(100, Duration::from_secs(60), 150)).unwrap();
        assert_eq!(text, r#"{"limit":100,"per":"1m","burst":150}"#);
        assert_eq!(serde_json::from_str::<Rate>(&text).unwrap().emission_us(), 600_000);
        for odd in ["", "1", "m", "1w", "-1s", "1.5h", "99999999999999999999s"] {
            assert!(toml::from_str::<Rate>(&format!("limit = 1\nper = {odd:?}")).is_err(), "{odd}");
        }
    }

    #[test]
    fn the_nearest_value_holds() {
        let minute = Duration::from_secs(60);
        let plan: Plan = toml::from_str(
            "concurrent_runs = 20\nruns_per_month = 7\nrequests = { limit = 100, per = \"1m\" }",
        )
        .unwrap();
        let organisation =
            Overrides { concurrent_runs: Some(30), queued_runs: Some(50), ..Overrides::default() };
        let key = Overrides {
            requests: Some(Rate::new(5, minute, 5)),
            concurrent_runs: Some(1),
            queued_runs: Some(70),
            ..Overrides::default()
        };
        let limits = Limits::of("free", &plan, &organisation, &key);
        assert_eq!((limits.requests.limit, limits.concurrent_runs), (5, 30));
        assert_eq!((limits.key_concurrent_runs, limits.quota.runs), (Some(1), Some(7)));
        assert_eq!(limits.key_quota, Quota::default());
        assert_eq!(limits.queued_runs, 50, "a key only narrows its plan");
        let none = Overrides::default();
        assert_eq!(Limits::of("free", &plan, &none, &none).queued_runs, 1000);
        let greedy = Overrides {
            requests: Some(Rate::new(1_000_000, Duration::from_secs(1), 7)),
            ..Overrides::default()
        };
        let requests = Limits::of("free", &plan, &organisation, &greedy).requests;
        assert_eq!((requests.limit, requests.burst()), (100, 7), "a key only narrows its plan");
    }
}
