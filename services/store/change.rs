//! How everything that a caller changes is changed: in one transaction with the line in the audit
//! log that tells of it and, when the call may come again, with its answer. The one way in for the
//! services; what the engine does by itself goes through [`Store::tx`].

use std::sync::Arc;

use prost::Message;

use super::{Store, Tx, Work, audit, idempotency};
use crate::kernel::call::{Call, Changed};
use crate::kernel::{Caller, Result};

impl Store {
    /// Does a job for a caller, as [`Store::tx`] does; what it has come to is written down with it.
    ///
    /// # Errors
    /// The job's own; `idempotency_key_in_use` when the same call has been made meanwhile, and
    /// then nothing is changed: its answer is kept; those of [`Store::tx`].
    pub async fn change<M, X, F>(
        &self,
        caller: &Caller,
        name: &'static str,
        job: F,
    ) -> Result<Changed<M, X>>
    where
        M: Message + 'static,
        X: Send + Sync + 'static,
        F: for<'t> Fn(&'t Tx) -> Work<'t, Changed<M, X>> + Send + Sync + 'static,
    {
        let (caller, now) = (Arc::new(caller.clone()), self.clock().now());
        let job = Arc::new(job);
        let changed = self.tx(name, move |tx| {
            let (caller, job) = (Arc::clone(&caller), Arc::clone(&job));
            Box::pin(async move {
                let changed = job(tx).await?;
                audit::change(tx, &caller, &changed, now).await?;
                keep(tx, &caller, &changed).await?;
                Ok(changed)
            })
        });
        let changed = changed.await?;
        self.audited();
        Ok(changed)
    }
}

async fn keep<M: Message, X>(tx: &Tx, caller: &Caller, changed: &Changed<M, X>) -> Result<()> {
    let Call { pepper, ticket, .. } = &*caller.call;
    let Some(ticket) = ticket else { return Ok(()) };
    let answer = pepper.seal(&ticket.seal, &changed.answer.encode_to_vec())?;
    // By its key a run is found that the call has created, not one that it has fed or cancelled.
    let made = if caller.call.scope == "runs:create" { changed.target.as_str() } else { "" };
    if idempotency::keep(tx, caller.scope, ticket, (&answer, made)).await? {
        return Ok(());
    }
    Err(idempotency::in_use())
}
