//! What was given, kept beside what was made of it, so that two readings can be compared.

use std::collections::BTreeMap;
use std::fmt;

use figment::value::{Dict, Value};

/// Every value as it was given, defaults included. Holds secrets, and prints none.
#[derive(Clone, Default)]
pub(super) struct Given(pub(super) Dict);

impl Given {
    /// The keys whose values differ, with dots between their parts.
    pub(super) fn changed(&self, other: &Self) -> Vec<String> {
        let (mut mine, mut theirs) = (BTreeMap::new(), BTreeMap::new());
        flatten("", &self.0, &mut mine);
        flatten("", &other.0, &mut theirs);
        let gone = mine.keys().filter(|key| !theirs.contains_key(*key)).cloned();
        let other = theirs.iter().filter(|(key, value)| mine.get(*key) != Some(*value));
        gone.chain(other.map(|(key, _)| key.clone())).collect()
    }
}

fn flatten<'a>(path: &str, values: &'a Dict, into: &mut BTreeMap<String, &'a Value>) {
    for (name, value) in values {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        match value {
            Value::Dict(_, inner) => flatten(&path, inner, into),
            value => {
                into.insert(path, value);
            }
        }
    }
}

impl fmt::Debug for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

#[cfg(test)]
mod tests {
    use super::super::Config;

    #[test]
    fn what_differs_is_named() {
        let before =
            Config::with("[plans.x]\nrequests = { limit = 1, per = \"1m\" }\nconcurrent_runs = 1")
                .unwrap();
        let after = "[log]\nfilter = \"debug\"\n[providers.openai]\napi_key = \"sk\"\n";
        let changed = before.changed(&Config::with(after).unwrap());
        let changed: Vec<&str> = changed.iter().map(String::as_str).collect();
        let plan = ["concurrent_runs", "requests.limit", "requests.per"];
        let plan = plan.map(|key| format!("plans.x.{key}"));
        let plan: Vec<&str> = plan.iter().map(String::as_str).collect();
        assert_eq!(changed, [&plan[..], &["log.filter", "providers.openai.api_key"]].concat());
        assert!(before.changed(&before.clone()).is_empty());
    }
}
