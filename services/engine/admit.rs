//! Whether a run may be created: how many of its owner's and its key's may be live at once, and
//! what they may use in a month. Decided inside the transaction that creates the run, and counted
//! there; called by `create.rs`, and by `finish.rs` for the tokens. Never keeps a run from ending.
//!
//! Locks are taken in one order, so that creations never end in a deadlock: the caps of lane and
//! key, the turns of lane and key, those of the session (`session.rs`), and last the usage of
//! project and key.

use std::time::Duration;

use moka::sync::Cache;
use uuid::Uuid;

use super::session::OnSessionBusy;
use crate::kernel::plan::{Limits, Quota};
use crate::kernel::{Error, Month, Reason, Result, Scope, Timestamp};
use crate::store::moves::{self, Total};
use crate::store::usage::{self, Owner, Used};
use crate::store::{Tx, admission, lanes};

/// Seconds that a process goes by the cap that it set last. Then it looks again whether another
/// process, which knew an older plan, has set its own.
const KNOWN_S: u64 = 30;
const KNOWN_CAPS: u64 = 100_000;

/// From so many below the limit of runs that wait on, creations take turns: fewer than that are
/// under way at once on all replicas together, which do not see each other.
const EXACT_RUNS: i64 = 256;

/// What becomes of a new run when as many are live as may be driven at once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnLimit {
    /// It waits its turn.
    #[default]
    Queue,
    /// It is not created.
    Reject,
}

/// How many runs there may be, for those who create one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunLimits {
    /// Most runs of the owner that are driven at once, on all replicas.
    pub lane_runs: u32,
    /// Most runs of the key that are driven at once; `None`: as many as the owner's.
    pub key_runs: Option<u32>,
    /// Most runs of the owner that wait, on all replicas.
    pub queued_runs: u32,
    /// What the owner may use in a month.
    pub quota: Quota,
    /// What the key may use in a month.
    pub key_quota: Quota,
    /// What becomes of the run when one of the first two is reached.
    pub on_limit: OnLimit,
    /// What becomes of the run when another one of its session lives.
    pub on_session_busy: OnSessionBusy,
}

impl RunLimits {
    /// What a caller has.
    #[must_use]
    pub fn of(limits: &Limits, (on_limit, on_session_busy): (OnLimit, OnSessionBusy)) -> Self {
        Self {
            lane_runs: limits.concurrent_runs,
            key_runs: limits.key_concurrent_runs,
            queued_runs: limits.queued_runs,
            quota: limits.quota,
            key_quota: limits.key_quota,
            on_limit,
            on_session_busy,
        }
    }

    /// So many runs of an owner at once, and nothing else.
    #[must_use]
    pub fn lane(lane_runs: u32) -> Self {
        let (quota, on_limit) = (Quota::default(), OnLimit::default());
        let on_session_busy = OnSessionBusy::default();
        let (key_runs, queued_runs, key_quota) = (None, u32::MAX, quota);
        Self { lane_runs, key_runs, queued_runs, quota, key_quota, on_limit, on_session_busy }
    }
}

/// The caps that this process has set, for as long as it goes by them.
pub(super) struct Caps {
    lanes: Cache<Scope, u32>,
    keys: Cache<Uuid, u32>,
}

impl Caps {
    pub(super) fn new() -> Self {
        let ttl = Duration::from_secs(KNOWN_S);
        Self {
            lanes: Cache::builder().max_capacity(KNOWN_CAPS).time_to_live(ttl).build(),
            keys: Cache::builder().max_capacity(KNOWN_CAPS).time_to_live(ttl).build(),
        }
    }
}

/// A run that wants to be created.
#[derive(Debug, Clone, Copy)]
pub(super) struct Admission {
    scope: Scope,
    key_id: Option<Uuid>,
    limits: RunLimits,
    /// The lane's cap, when it is to be set.
    lane_cap: Option<u32>,
    /// The key's cap, when it is to be set.
    key_cap: Option<(Uuid, u32)>,
    now: Timestamp,
}

impl Admission {
    pub(super) fn new(
        caps: &Caps,
        scope: Scope,
        (key_id, limits): (Option<Uuid>, RunLimits),
        now: Timestamp,
    ) -> Self {
        let lane_cap = Some(limits.lane_runs).filter(|cap| caps.lanes.get(&scope) != Some(*cap));
        let key_cap = key_id.zip(limits.key_runs);
        let key_cap = key_cap.filter(|(key, cap)| caps.keys.get(key) != Some(*cap));
        Self { scope, key_id, limits, lane_cap, key_cap, now }
    }

    /// The key, when it has a cap of its own.
    pub(super) fn capped_key(&self) -> Option<Uuid> {
        self.key_id.filter(|_| self.limits.key_runs.is_some())
    }

    /// True when the tokens of the run count in a quota.
    pub(super) fn is_metered(&self) -> bool {
        self.quotas().next().is_some()
    }

    /// What becomes of the run when another one of its session lives.
    pub(super) fn on_busy(&self) -> OnSessionBusy {
        self.limits.on_session_busy
    }

    /// Brings the caps in step, and refuses the run when it will not wait. Before it is written.
    pub(super) async fn open(&self, tx: &Tx) -> Result<()> {
        if let Some(cap) = self.lane_cap {
            lanes::set_cap(tx, self.scope, cap).await?;
        }
        if let Some((key_id, cap)) = self.key_cap {
            lanes::set_key_cap(tx, key_id, cap).await?;
        }
        let rejects = self.limits.on_limit == OnLimit::Reject;
        if rejects {
            lanes::take_turns_creating(tx, self.scope).await?;
        }
        self.queue(tx, rejects).await?;
        if !rejects {
            return Ok(());
        }
        let cap = self.limits.lane_runs;
        if admission::live(tx, self.scope, cap.into()).await? >= cap.into() {
            return Err(too_many("project", cap));
        }
        let Some((key_id, cap)) = self.key_id.zip(self.limits.key_runs) else { return Ok(()) };
        lanes::take_turns_with_key(tx, key_id).await?;
        if admission::live_of_key(tx, key_id, cap.into()).await? >= cap.into() {
            return Err(too_many("key", cap));
        }
        Ok(())
    }

    /// Refuses the run when too many wait.
    async fn queue(&self, tx: &Tx, has_turn: bool) -> Result<()> {
        let most = i64::from(self.limits.queued_runs);
        // Nobody has as many: who sets no limit is not counted.
        if most == i64::from(u32::MAX) {
            return Ok(());
        }
        let mut queued = admission::queued(tx, self.scope, most).await?;
        if !has_turn && queued + EXACT_RUNS >= most && queued < most {
            lanes::take_turns_creating(tx, self.scope).await?;
            queued = admission::queued(tx, self.scope, most).await?;
        }
        if queued >= most { Err(queue_full(self.limits.queued_runs)) } else { Ok(()) }
    }

    /// Counts the run, and refuses it when a quota is used up. After it is written: the rows that
    /// this locks are everybody's of the project.
    pub(super) async fn close(&self, tx: &Tx) -> Result<()> {
        let month = Month::of(self.now);
        for (owner, quota) in self.quotas() {
            if !usage::count_run(tx, owner, month, quota).await? {
                let used = usage::used(tx, owner, month).await?;
                return Err(used_up(owner, quota, used, month.seconds_left(self.now)));
            }
        }
        Ok(())
    }

    /// Notes what was committed.
    pub(super) fn committed(&self, caps: &Caps) {
        if let Some(cap) = self.lane_cap {
            caps.lanes.insert(self.scope, cap);
        }
        if let Some((key_id, cap)) = self.key_cap {
            caps.keys.insert(key_id, cap);
        }
    }

    /// Who has a quota, and which; the project before the key.
    fn quotas(&self) -> impl Iterator<Item = (Owner, Quota)> {
        let key = self.key_id.map(|key_id| (Owner::Key(key_id), self.limits.key_quota));
        let all = [Some((Owner::Project(self.scope), self.limits.quota)), key];
        all.into_iter().flatten().filter(|(_, quota)| *quota != Quota::default())
    }
}

/// Adds what a metered run used to the month of its creation. The last that its end writes.
pub(super) async fn add_tokens(tx: &Tx, total: &Total) -> Result<()> {
    let moves::Used { input_tokens, output_tokens, .. } = total.used;
    let tokens = i64::from(input_tokens) + i64::from(output_tokens);
    if tokens == 0 {
        return Ok(());
    }
    let month = Month::of(total.created_at);
    usage::add_tokens(tx, Owner::Project(total.scope), month, tokens).await?;
    if let Some(key_id) = total.key_id {
        usage::add_tokens(tx, Owner::Key(key_id), month, tokens).await?;
    }
    Ok(())
}

fn too_many(of: &'static str, cap: u32) -> Error {
    let text = format!("{cap} runs of this {of} are live, the most that may be driven at once");
    Error::new(Reason::TooManyConcurrentRuns, text)
        .with("of", of)
        .with("limit", cap.to_string())
        .with("retry_after_s", "1")
}

fn queue_full(limit: u32) -> Error {
    let text = format!("{limit} runs of this project wait, the most that may");
    Error::new(Reason::QueueFull, text).with("limit", limit.to_string()).with("retry_after_s", "1")
}

fn used_up(owner: Owner, quota: Quota, used: Used, retry_after_s: i64) -> Error {
    let of = match owner {
        Owner::Project(_) => "project",
        Owner::Key(_) => "key",
    };
    let runs = quota.runs.filter(|most| *most <= used.runs);
    let (what, limit, used) = match runs {
        Some(most) => ("runs", most, used.runs),
        None => ("tokens", quota.tokens.unwrap_or_default(), used.tokens),
    };
    let text = format!("the monthly quota of {limit} {what} of this {of} is used up");
    Error::new(Reason::QuotaExceeded, text)
        .with("of", of)
        .with("quota", format!("{what}_per_month"))
        .with("limit", limit.to_string())
        .with("used", used.to_string())
        .with("retry_after_s", retry_after_s.to_string())
}
