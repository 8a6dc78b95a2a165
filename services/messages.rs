//! What the messages of more than one service have in common: order and figures of pages, ids,
//! names, plans, masks, limits, levels. Used by the services beside their own `convert.rs`; asks no
//! store.

use std::time::Duration;

use uuid::Uuid;

use crate::kernel::caller::Level;
use crate::kernel::config::Plans;
use crate::kernel::ids::{self, Kind};
use crate::kernel::page::{Order, Page, Paged};
use crate::kernel::plan::{Limits, Overrides, Rate};
use crate::kernel::{Environment, Error, Reason, Result, text};
use crate::proto::runplane::v1 as pb;

/// Most characters of a name.
const NAME_CHARS_MAX: usize = 120;
/// Largest whole number that JSON's numbers hold exactly, 2^53.
const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;
/// Most runs that a limit of them allows.
const RUNS_MAX: u32 = 1_000_000;

/// The order of a list.
///
/// # Errors
/// `invalid_field` for a number that is none.
pub fn order(order: i32) -> Result<Order> {
    match pb::Order::try_from(order) {
        Ok(pb::Order::Asc) => Ok(Order::Asc),
        Ok(pb::Order::Desc | pb::Order::Unspecified) => Ok(Order::Desc),
        Err(_) => Err(Error::field("order", "order must be asc or desc")),
    }
}

/// The figures of a page that was asked for by its number.
#[must_use]
pub fn pagination<T>(page: &Page, paged: &Paged<T>) -> Option<pb::Pagination> {
    let [page, limit, total, pages] = paged.figures(page)?;
    Some(pb::Pagination { page, limit, total, pages })
}

/// A name within the limits.
///
/// # Errors
/// `missing_field` for an empty one; `invalid_field`.
pub fn name(name: &str) -> Result<()> {
    match name.chars().count() {
        0 => Err(Error::missing("name")),
        1..=NAME_CHARS_MAX => text::storable("name", name),
        count => {
            let message =
                format!("name has {count} characters, at most {NAME_CHARS_MAX} are allowed");
            Err(Error::field("name", message).with("limit", NAME_CHARS_MAX.to_string()))
        }
    }
}

/// The name of a plan of the configuration, or none.
///
/// # Errors
/// `invalid_field` for a name that no plan has.
pub fn plan(plans: &Plans, plan: &str) -> Result<()> {
    if plan.is_empty() || plans.has(plan) {
        return Ok(());
    }
    let shown: String = plan.chars().take(64).collect();
    let allowed = plans.names().join(", ");
    let message = format!("plan is {shown:?}, must be one of: {allowed}");
    Err(Error::field("plan", message).with("allowed", allowed))
}

/// The UUID of an id of this kind; a malformed one names nothing, and is told as `word`.
///
/// # Errors
/// `reason`, which says that there is none.
pub fn id(kind: Kind, text: &str, (reason, word): (Reason, &str)) -> Result<Uuid> {
    ids::parse(kind, text).ok_or_else(|| {
        let shown: String = text.chars().take(64).collect();
        Error::new(reason, format!("{word} {shown} not found"))
    })
}

/// The fields that a mask names, of those that may be changed, or one of the limits, as in
/// `limits.requests`; without a mask those that are `set`. Fields that only the server sets may be
/// named, and nothing happens.
///
/// # Errors
/// `invalid_field` for a field that is none.
pub fn masked(
    mask: Option<prost_types::FieldMask>,
    fields: &[(&'static str, bool)],
    output_only: &[&str],
) -> Result<Vec<&'static str>> {
    let paths = mask.map(|mask| mask.paths).unwrap_or_default();
    if paths.is_empty() {
        return Ok(fields.iter().filter(|(_, set)| *set).map(|(name, _)| *name).collect());
    }
    let mut named = Vec::with_capacity(paths.len());
    for path in &paths {
        match fields.iter().find(|(name, _)| name == path) {
            Some((name, _)) => named.push(*name),
            None if limit(path).is_some() && fields.iter().any(|(name, _)| *name == "limits") => {
                named.extend(limit(path));
            }
            None if path == "*" => named.extend(fields.iter().map(|(name, _)| *name)),
            None if output_only.contains(&path.as_str()) => {}
            None => {
                let shown: String = path.chars().take(64).collect();
                let known: Vec<_> = fields.iter().map(|(name, _)| *name).collect();
                let allowed = known.join(", ");
                let message = format!("update_mask names {shown}, must name {allowed} or *");
                return Err(Error::field("update_mask", message).with("allowed", allowed));
            }
        }
    }
    Ok(named)
}

/// The limit that a path of a mask names, whole: `limits.requests` for `limits.requests.burst`.
fn limit(path: &str) -> Option<&'static str> {
    let one = |limit: &&&str| {
        path.strip_prefix(**limit).is_some_and(|r| r.is_empty() || r.starts_with('.'))
    };
    LIMITS.iter().find(one).copied()
}

/// The limits, as a mask names them.
const LIMITS: [&str; 7] = [
    "limits.requests",
    "limits.project_requests",
    "limits.run_creations",
    "limits.concurrent_runs",
    "limits.queued_runs",
    "limits.runs_per_month",
    "limits.tokens_per_month",
];

/// The limits as they are kept after a change.
///
/// # Errors
/// `internal_error` for what is kept and cannot be read.
pub fn merged_limits(kept: &str, new: &Overrides, named: &[&'static str]) -> Result<String> {
    let old = serde_json::from_str(kept).map_err(Error::internal)?;
    serde_json::to_string(&changed_limits(&old, new, named)).map_err(Error::internal)
}

/// What a change of limits leaves: those that `named` names are taken from the new ones.
fn changed_limits(old: &Overrides, new: &Overrides, named: &[&'static str]) -> Overrides {
    let takes = |limit: &str| named.contains(&"limits") || named.contains(&limit);
    macro_rules! merged {
        ($($field:ident)*) => {
            Overrides {$(
                $field: match takes(concat!("limits.", stringify!($field))) {
                    true => new.$field,
                    false => old.$field,
                },
            )*}
        };
    }
    merged! {
        requests project_requests run_creations concurrent_runs queued_runs runs_per_month
        tokens_per_month
    }
}

/// The level of a key.
#[must_use]
pub fn level(level: Level) -> pb::KeyLevel {
    match level {
        Level::Project => pb::KeyLevel::Project,
        Level::Organisation => pb::KeyLevel::Organisation,
        Level::Operator => pb::KeyLevel::Operator,
    }
}

/// The environment of a caller.
#[must_use]
pub fn environment(environment: Environment) -> pb::Environment {
    match environment {
        Environment::Test => pb::Environment::Test,
        Environment::Live => pb::Environment::Live,
    }
}

/// What changes a plan, out of a message.
///
/// # Errors
/// `invalid_field` for a value out of its bounds.
pub fn overrides(limits: Option<pb::Limits>) -> Result<Overrides> {
    let limits = limits.unwrap_or_default();
    Ok(Overrides {
        requests: rate("requests", limits.requests)?,
        project_requests: rate("project_requests", limits.project_requests)?,
        run_creations: rate("run_creations", limits.run_creations)?,
        concurrent_runs: runs("concurrent_runs", limits.concurrent_runs)?,
        queued_runs: runs("queued_runs", limits.queued_runs)?,
        runs_per_month: whole("runs_per_month", limits.runs_per_month)?,
        tokens_per_month: whole("tokens_per_month", limits.tokens_per_month)?,
    })
}

/// The message of what changes a plan; none when nothing does.
#[must_use]
pub fn limits(overrides: &Overrides) -> Option<pb::Limits> {
    (*overrides != Overrides::default()).then(|| pb::Limits {
        requests: overrides.requests.map(of_rate),
        project_requests: overrides.project_requests.map(of_rate),
        run_creations: overrides.run_creations.map(of_rate),
        concurrent_runs: overrides.concurrent_runs.map(clamped),
        queued_runs: overrides.queued_runs.map(clamped),
        runs_per_month: overrides.runs_per_month.map(number),
        tokens_per_month: overrides.tokens_per_month.map(number),
    })
}

/// The message of what holds for a key.
#[must_use]
pub fn effective(limits: &Limits) -> pb::Limits {
    let quota = limits.quota;
    pb::Limits {
        requests: Some(of_rate(limits.requests)),
        project_requests: limits.project_requests.map(of_rate),
        run_creations: limits.run_creations.map(of_rate),
        concurrent_runs: Some(clamped(
            limits.key_concurrent_runs.unwrap_or(limits.concurrent_runs),
        )),
        queued_runs: Some(clamped(limits.queued_runs)),
        runs_per_month: limits.key_quota.runs.or(quota.runs).map(number),
        tokens_per_month: limits.key_quota.tokens.or(quota.tokens).map(number),
    }
}

/// A count as a number of JSON.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "counts stay below 2^53, or are shown rounded")]
pub fn number(count: u64) -> f64 {
    count as f64
}

fn clamped(count: u32) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

fn of_rate(rate: Rate) -> pb::Rate {
    let seconds = u32::try_from(rate.per.as_secs()).unwrap_or(u32::MAX);
    pb::Rate {
        limit: clamped(rate.limit),
        per_seconds: clamped(seconds),
        burst: Some(clamped(rate.burst())),
    }
}

fn rate(field: &str, rate: Option<pb::Rate>) -> Result<Option<Rate>> {
    let Some(pb::Rate { limit, per_seconds, burst }) = rate else { return Ok(None) };
    let count = |n: i32| u32::try_from(n).unwrap_or(0);
    let per = Duration::from_secs(u64::from(count(per_seconds)));
    let rate = Rate::new(count(limit), per, count(burst.unwrap_or(limit)));
    match rate.mistake() {
        None => Ok(Some(rate)),
        Some(mistake) => {
            Err(Error::field(format!("limits.{field}"), format!("limits.{field}: {mistake}")))
        }
    }
}

fn runs(field: &str, count: Option<i32>) -> Result<Option<u32>> {
    let Some(count) = count else { return Ok(None) };
    let known = u32::try_from(count).ok().filter(|n| (1..=RUNS_MAX).contains(n));
    known.map(Some).ok_or_else(|| out_of(field, format!("1 to {RUNS_MAX}")))
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked before")]
fn whole(field: &str, count: Option<f64>) -> Result<Option<u64>> {
    let Some(count) = count else { return Ok(None) };
    match count.fract() == 0.0 && (0.0..=WHOLE_MAX).contains(&count) {
        true => Ok(Some(count as u64)),
        false => Err(out_of(field, "a whole number, 0 to 2^53".to_owned())),
    }
}

fn out_of(field: &str, bounds: String) -> Error {
    let field = format!("limits.{field}");
    Error::field(&field, format!("{field} must be {bounds}")).with("limit", bounds)
}
