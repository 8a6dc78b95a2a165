//! `runplane migrate`: brings the schema of the database to what this version needs, before a
//! server starts, or tells what is missing.

use super::exit::{Exit, Failure, Outcome};
use super::output;
use crate::kernel::config::Config;
use crate::store;

/// Makes the changes that are missing; with `check` only tells them.
pub(super) async fn run(config: &Config, check: bool) -> Outcome<()> {
    let (all, pending) = (store::changes(), store::pending(&config.store).await?);
    let newest = all.last().map_or("none", String::as_str);
    let old = all.len().checked_sub(pending.len() + 1).and_then(|at| all.get(at));
    let old = old.map_or("none", String::as_str);
    if pending.is_empty() {
        return output::line(&format!("the schema is at {newest}; nothing is missing"));
    }
    if check {
        pending.iter().try_for_each(|name| output::line(&format!("missing: {name}")))?;
        let message = format!("the schema is at {old}, {newest} is needed: run runplane migrate");
        return Err(Failure::new(Exit::Differs, message));
    }
    for name in store::migrate(&config.store).await? {
        output::line(&format!("changed: {name}"))?;
    }
    output::line(&format!("the schema was at {old} and is at {newest}"))
}
