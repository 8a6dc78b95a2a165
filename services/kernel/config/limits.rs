//! The plans, and the limits beside them. Read by `gateway/`; data only.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::kernel::Reread;
use crate::kernel::plan::{Limits, Overrides, Plan, Rate};

/// Limits beside the plans.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitsConfig {
    /// Plan of organisations that name none.
    pub plan: String,
    /// Hours for which the answer of a call with an idempotency key is kept.
    pub idempotency_hours: u64,
    /// Calls without a key, of one address.
    pub unauthenticated: Rate,
    /// Calls with a wrong key, of one address.
    pub failed_logins: Rate,
}

/// The plans of the configuration, which may be read again. Clones share them.
#[derive(Debug, Clone)]
pub struct Plans(Reread<Table>);

#[derive(Debug)]
struct Table {
    default: (String, Plan),
    plans: BTreeMap<String, Plan>,
}

impl LimitsConfig {
    /// Hands on what is right or wrong, with what to say of it.
    pub(super) fn check(
        &self,
        plans: &BTreeMap<String, Plan>,
        check: &mut impl FnMut(bool, String),
    ) {
        let known = || plans.keys().cloned().collect::<Vec<_>>().join(", ");
        let message = format!("limits.plan is {}, must be one of: {}", self.plan, known());
        check(plans.contains_key(&self.plan), message);
        let hours = self.idempotency_hours;
        let message = format!("limits.idempotency_hours is {hours}, must be 1 to 8760");
        check((1..=8760).contains(&hours), message);
        let own =
            [("unauthenticated", self.unauthenticated), ("failed_logins", self.failed_logins)];
        for (field, rate) in own {
            let mistake = rate.mistake();
            let message = format!("limits.{field}: {}", mistake.unwrap_or_default());
            check(mistake.is_none(), message);
        }
        for (name, plan) in plans {
            let rates = [
                ("requests", Some(plan.requests)),
                ("project_requests", plan.project_requests),
                ("run_creations", plan.run_creations),
            ];
            for (field, rate) in rates {
                let mistake = rate.and_then(|rate| rate.mistake());
                let message = format!("plans.{name}.{field}: {}", mistake.unwrap_or_default());
                check(mistake.is_none(), message);
            }
            let counts =
                [("concurrent_runs", plan.concurrent_runs), ("queued_runs", plan.queued_runs)];
            for (field, count) in counts {
                let message = format!("plans.{name}.{field} must be 1 to 1,000,000");
                check((1..=1_000_000).contains(&count), message);
            }
        }
    }
}

impl Plans {
    /// The plans, and the name of the one that holds where none is named; `None` when there is
    /// no such plan.
    #[must_use]
    pub fn new(default: &str, plans: BTreeMap<String, Plan>) -> Option<Self> {
        let plan = plans.get(default)?.clone();
        Some(Self(Table { default: (default.to_owned(), plan), plans }.into()))
    }

    /// Takes the place of these plans, for all who share them.
    pub fn replace(&self, by: &Self) {
        self.0.set(by.0.get());
    }

    /// What a key has, by the name of its plan and what changes it. A plan that is no more is the
    /// default.
    #[must_use]
    pub fn limits(&self, plan: &str, organisation: &Overrides, key: &Overrides) -> Limits {
        let table = self.0.get();
        match table.plans.get_key_value(plan) {
            Some((name, plan)) => Limits::of(name, plan, organisation, key),
            None => Limits::of(&table.default.0, &table.default.1, organisation, key),
        }
    }

    /// True for the name of a plan.
    #[must_use]
    pub fn has(&self, plan: &str) -> bool {
        self.0.get().plans.contains_key(plan)
    }

    /// The names of the plans.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.0.get().plans.keys().cloned().collect()
    }
}
