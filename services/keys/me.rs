//! Who a caller is, and what the key may use.

use super::Keys;
use crate::kernel::caller::Level;
use crate::kernel::ids::{self, Kind};
use crate::kernel::plan::Quota;
use crate::kernel::{Caller, Month, Result};
use crate::messages;
use crate::proto::runplane::v1 as pb;
use crate::store::usage::{self, Owner};

pub(super) async fn get(keys: &Keys, caller: &Caller) -> Result<pb::Me> {
    let (level, scope) = (caller.level, caller.scope);
    let usage = match (level, caller.limits.quota, caller.limits.key_quota) {
        (_, quota, own) if quota == Quota::default() && own == Quota::default() => None,
        (Level::Project, _, own) if own == Quota::default() => Some(Owner::Project(scope)),
        _ => Some(Owner::Key(caller.key_id)),
    };
    let month = Month::of(keys.clock.now());
    let usage = match usage {
        Some(owner) => Some(usage::used(keys.store.read(), owner, month).await?),
        None => None,
    };
    let organisation = (level != Level::Operator).then_some(caller.organisation);
    Ok(pb::Me {
        object: "me".to_owned(),
        key_id: ids::format(Kind::Key, caller.key_id),
        session_id: caller.session_id.map(|id| ids::format(Kind::Key, id)),
        level: messages::level(level).into(),
        organisation_id: organisation.map(|id| ids::format(Kind::Organisation, id)),
        project_id: (level == Level::Project).then(|| ids::format(Kind::Project, scope.project)),
        environment: messages::environment(scope.environment).into(),
        scopes: caller.grants.iter().map(ToString::to_string).collect(),
        plan: caller.limits.plan.to_string(),
        limits: Some(messages::effective(&caller.limits)),
        usage: usage.map(|used| pb::MonthlyUsage {
            month: month.to_string(),
            runs: messages::number(used.runs),
            tokens: messages::number(used.tokens),
        }),
    })
}
