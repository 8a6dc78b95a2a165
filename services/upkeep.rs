//! What is done now and then, beside all calls: the lines of the audit log are linked, and what has
//! expired is removed, in small pieces. Started and awaited by `serve`; costs nothing while
//! nothing happens but one question an hour.

use std::future::Future;
use std::time::Duration;

use uuid::Uuid;

use crate::kernel::call::hex;
use crate::kernel::ids::{self, Kind};
use crate::kernel::{Clock, Pepper, Result, Timestamp};
use crate::store::{Store, audit, idempotency, keys};

/// Pause between what was written and linking it: more is linked at once.
const LINK_AFTER: Duration = Duration::from_millis(200);
/// Pause after a round that failed.
const AGAIN_AFTER: Duration = Duration::from_secs(5);
/// How often what has expired is removed.
const PURGE_EVERY: Duration = Duration::from_secs(3600);

/// What upkeep works on.
#[derive(Debug, Clone)]
pub struct Upkeep {
    /// Where it is kept.
    pub store: Store,
    /// What the audit log is signed with.
    pub pepper: Pepper,
    /// Tells the time.
    pub clock: Clock,
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
            if let Err(error) = self.purge().await {
                tracing::warn!(%error, "what has expired is not removed yet");
            }
            tokio::time::sleep(PURGE_EVERY).await;
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
