//! What is done now and then, beside all calls: the lines of the audit log are linked, and what has
//! expired is removed, in small pieces. Started and awaited by `serve.rs`; costs nothing while
//! nothing happens but one question an hour.

use std::future::Future;
use std::time::Duration;

use crate::kernel::{Clock, Pepper, Result};
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

impl Upkeep {
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
        }
    }
}
