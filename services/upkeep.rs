//! What is done now and then, beside all calls: the lines of the audit log are linked, what has
//! expired or ended long ago is removed in small pieces, the runs of deleted projects end, and
//! those that wait for none go on. Started and awaited by `serve`; costs nothing while nothing
//! happens but two questions a minute.

use std::future::Future;
use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

use crate::engine::Engine;
use crate::kernel::call::hex;
use crate::kernel::config::RetentionConfig;
use crate::kernel::ids::{self, Kind};
use crate::kernel::{Clock, Environment, Pepper, Reason, Result, Timestamp};
use crate::store::{self, Store, audit, idempotency, keys, retention};

/// Pause between what was written and linking it: more is linked at once.
const LINK_AFTER: Duration = Duration::from_millis(200);
/// Pause after a round that failed.
const AGAIN_AFTER: Duration = Duration::from_secs(5);
/// How often it is asked whether runs lie where nobody looks.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// How often what has expired is removed.
const PURGE_EVERY: Duration = Duration::from_secs(3600);

/// Runs that the first transaction of a round removes, and the most that one does. Their events may
/// be many.
const REMOVED_FIRST: u64 = 10;
const REMOVED_MAX: u64 = 100;
/// How long such a transaction may take before the next one removes fewer.
const REMOVED_WITHIN: Duration = Duration::from_millis(50);

/// What upkeep works on.
#[derive(Clone)]
pub struct Upkeep {
    /// Where it is kept.
    pub store: Store,
    /// What the audit log is signed with.
    pub pepper: Pepper,
    /// Tells the time.
    pub clock: Clock,
    /// Ends runs.
    pub engine: Engine,
    /// How long runs are kept.
    pub retention: RetentionConfig,
}

/// What a check of the audit log has found.
#[derive(Debug, Clone)]
pub struct Checked {
    /// Lines that were checked.
    pub lines: u64,
    /// Head of the chain, as in `12:5f…`.
    pub head: String,
    /// What is wrong, a line each; at most a hundred.
    pub faults: Vec<String>,
}

/// Most faults that are told.
const FAULTS_MAX: usize = 100;

impl Upkeep {
    /// Checks every line of the audit log: its signature, its place, and what the chain says.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn verify(&self) -> Result<Checked> {
        let (mut seq, mut chain) = (0, Vec::new());
        let mut checked = Checked { lines: 0, head: String::new(), faults: Vec::new() };
        loop {
            let lines = audit::linked(self.store.read(), seq).await?;
            for line in &lines {
                let place = line.seq.unwrap_or_default();
                if place != seq + 1 {
                    checked.fault(format!("{} lines are gone before {place}", place - seq - 1));
                }
                let expected = audit::chained(&self.pepper, place, &chain, &line.mac);
                if line.chain.as_ref() != Some(&expected) {
                    checked.fault(format!("{place}: the chain is broken"));
                }
                self.signed(line, &mut checked);
                (seq, chain) = (place, line.chain.clone().unwrap_or_default());
            }
            if lines.is_empty() {
                break;
            }
        }
        let mut last = (Timestamp(i64::MIN), Uuid::nil());
        loop {
            let lines = audit::loose(self.store.read(), last).await?;
            for (_, line) in &lines {
                self.signed(line, &mut checked);
            }
            let Some((at, line)) = lines.last() else { break };
            last = (*at, line.id);
        }
        checked.head = format!("{seq}:{}", hex(&chain));
        Ok(checked)
    }

    fn signed(&self, line: &audit::Line, checked: &mut Checked) {
        checked.lines += 1;
        if line.mac != self.pepper.derive("audit", &line.entry) || !line.is_its_own() {
            let id = ids::format(Kind::Audit, line.id);
            checked.fault(format!("{id}: what it says is not what was written"));
        }
    }

    /// True when a head that an earlier check told is still part of the log.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn has(&self, head: &str) -> Result<bool> {
        let Some((seq, chain)) = head.split_once(':') else { return Ok(false) };
        let Ok(seq) = seq.parse::<i64>() else { return Ok(false) };
        let lines = audit::linked(self.store.read(), seq.saturating_sub(1)).await?;
        let line = lines.first().filter(|line| line.seq == Some(seq));
        let found = line.and_then(|line| line.chain.as_deref()).map(hex);
        Ok(found.as_deref() == Some(chain) || (seq == 0 && chain.is_empty()))
    }

    /// Works until `stop` is done, and links what is loose by then.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        tokio::select! {
            () = self.linking() => {}
            () = self.purging() => {}
            () = self.ending() => {}
            () = self.freeing() => {}
            () = stop => {}
        }
        if let Err(error) = self.link().await {
            tracing::warn!(%error, "lines of the audit log are linked after the next start");
        }
    }

    async fn linking(&self) {
        loop {
            if let Err(error) = self.link().await {
                tracing::warn!(%error, "lines of the audit log are not linked yet");
                tokio::time::sleep(AGAIN_AFTER).await;
                continue;
            }
            self.store.audit_lines().await;
            tokio::time::sleep(LINK_AFTER).await;
        }
    }

    /// Links all lines that are loose.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn link(&self) -> Result<()> {
        loop {
            let pepper = self.pepper.clone();
            let linked = self.store.tx("link_audit_log", move |tx| {
                let pepper = pepper.clone();
                Box::pin(async move { audit::link(tx, &pepper).await })
            });
            if linked.await? == 0 {
                return Ok(());
            }
        }
    }

    async fn purging(&self) {
        loop {
            let (purged, retained) = (self.purge().await, self.retain().await.map(drop));
            let failed = purged.is_err() || retained.is_err();
            for error in [purged, retained].into_iter().filter_map(Result::err) {
                tracing::warn!(%error, "what is to be removed is there yet");
            }
            tokio::time::sleep(if failed { AGAIN_AFTER } else { PURGE_EVERY }).await;
        }
    }

    /// Removes the runs that ended longer ago than they are kept; how many.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn retain(&self) -> Result<u64> {
        let mut removed = 0;
        for environment in [Environment::Test, Environment::Live] {
            let Some(keep) = self.retention.keep(environment) else { continue };
            removed += self.remove(environment, self.clock.now().before(keep)).await?;
        }
        if removed > 0 {
            tracing::info!(runs = removed, "runs that ended long ago were removed");
        }
        Ok(removed)
    }

    /// Removes runs, a few more at a time while that is quick: on SQLite everybody who writes waits
    /// for it.
    async fn remove(&self, environment: Environment, before: Timestamp) -> Result<u64> {
        let (mut most, mut all) = (REMOVED_FIRST, 0);
        loop {
            let begun = Instant::now();
            let removed = self.store.tx("remove_runs", move |tx| {
                Box::pin(retention::remove(tx, environment, before, most))
            });
            let Some(removed) = removed.await? else {
                // Another replica is at it: what it leaves is removed here.
                tokio::time::sleep(AGAIN_AFTER).await;
                continue;
            };
            all += removed;
            if removed < most {
                return Ok(all);
            }
            let quick = begun.elapsed() < REMOVED_WITHIN;
            most = if quick { (most * 2).min(REMOVED_MAX) } else { (most / 2).max(1) };
            tokio::time::sleep(LINK_AFTER).await;
        }
    }

    async fn ending(&self) {
        loop {
            if let Err(error) = self.end_orphans().await {
                tracing::warn!(%error, "runs of deleted projects have not ended yet");
                tokio::time::sleep(AGAIN_AFTER).await;
                continue;
            }
            tokio::select! {
                () = self.store.orphans() => {}
                // One whose creation had begun before is there after it was told.
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }

    async fn freeing(&self) {
        loop {
            if let Err(error) = self.engine.free_stranded().await {
                tracing::warn!(%error, "runs that wait behind none are not ready yet");
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Asks all runs of deleted projects to end.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn end_orphans(&self) -> Result<()> {
        loop {
            let runs = store::runs::orphans(self.store.read()).await?;
            let mut asked = 0;
            for (scope, run_id) in runs {
                match self.engine.cancel(scope, run_id).await {
                    Ok(_) => asked += 1,
                    // It has ended meanwhile.
                    Err(error) if error.reason == Reason::RunNotCancellable => {}
                    Err(error) => return Err(error),
                }
            }
            if asked == 0 {
                return Ok(());
            }
        }
    }

    /// Removes all that has expired: answers that were kept, and sessions.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn purge(&self) -> Result<()> {
        let now = self.clock.now();
        loop {
            let removed = self.store.tx("purge", move |tx| {
                Box::pin(async move {
                    Ok(idempotency::purge(tx, now).await? + keys::purge_sessions(tx, now).await?)
                })
            });
            if removed.await? == 0 {
                return Ok(());
            }
            tokio::time::sleep(LINK_AFTER).await;
        }
    }
}

impl Checked {
    fn fault(&mut self, fault: String) {
        if self.faults.len() < FAULTS_MAX {
            self.faults.push(fault);
        }
    }
}
