//! Free labels: the `metadata` of agents, runs and keys, and the filters over it.

use std::collections::BTreeMap;

use super::{Error, Result};

const PAIRS_MAX: usize = 16;
const NAME_CHARS_MAX: usize = 64;
const VALUE_CHARS_MAX: usize = 512;
const FILTERS_MAX: usize = 4;

/// Labels within the limits, in the order of their names.
pub fn checked(labels: BTreeMap<String, String>) -> Result<BTreeMap<String, String>> {
    if labels.len() > PAIRS_MAX {
        let message =
            format!("metadata has {} pairs, at most {PAIRS_MAX} are allowed", labels.len());
        return Err(Error::field("metadata", message).with("limit", PAIRS_MAX.to_string()));
    }
    for (name, value) in &labels {
        if name.is_empty() || name.chars().count() > NAME_CHARS_MAX {
            let message = format!("names in metadata must have 1 to {NAME_CHARS_MAX} characters");
            return Err(Error::field("metadata", message));
        }
        if value.chars().count() > VALUE_CHARS_MAX {
            let message = format!("metadata.{name} must have at most {VALUE_CHARS_MAX} characters");
            return Err(Error::field(format!("metadata.{name}"), message));
        }
    }
    Ok(labels)
}

/// The pairs of a filter, each written `name:value`.
pub fn filter(pairs: &[String]) -> Result<Vec<(String, String)>> {
    if pairs.len() > FILTERS_MAX {
        let message =
            format!("metadata has {} pairs, at most {FILTERS_MAX} can filter", pairs.len());
        return Err(Error::field("metadata", message).with("limit", FILTERS_MAX.to_string()));
    }
    let split = |pair: &String| {
        let (name, value) = pair.split_once(':').filter(|(name, _)| !name.is_empty())?;
        Some((name.to_owned(), value.to_owned()))
    };
    let wrong = |pair: &String| Error::field("metadata", format!("{pair:?} must be name:value"));
    pairs.iter().map(|pair| split(pair).ok_or_else(|| wrong(pair))).collect()
}
