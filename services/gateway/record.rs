//! What is written down of callers off the path of their calls: when a key was used, and who was
//! refused. Fed by `gateway/auth.rs`; never holds a call up, and never holds more than its queue.

use http::Extensions;
use tokio::sync::mpsc;
use uuid::Uuid;

use super::peer::Peer;
use super::request_id;
use super::rest::table::Method;
use crate::kernel::{Clock, Pepper, Reason, Result, Scope};
use crate::store::audit::{self, Actor, Refused};
use crate::store::{Store, keys};

/// Notes that wait to be written; more are left out.
const QUEUE: usize = 1024;
/// Most notes of one transaction.
const BATCH: usize = 64;

/// Something to write down.
#[derive(Debug, Clone)]
enum Note {
    Used(Scope, Uuid),
    Refused(Box<Refused>),
}

/// Takes what is to be written down.
#[derive(Debug, Clone)]
pub struct Notes {
    queue: mpsc::Sender<Note>,
    clock: Clock,
}

/// Writes it down.
pub struct Recorder {
    store: Store,
    pepper: Pepper,
    clock: Clock,
    queue: mpsc::Receiver<Note>,
}

/// The two ends of a queue of notes.
pub(super) fn recorder(store: Store, pepper: Pepper, clock: Clock) -> (Notes, Recorder) {
    let (sender, queue) = mpsc::channel(QUEUE);
    let notes = Notes { queue: sender, clock: clock.clone() };
    (notes, Recorder { store, pepper, clock, queue })
}

impl Notes {
    /// A key was used. A full queue only makes `last_used_at` a little older.
    pub(super) fn used(&self, scope: Scope, key: Uuid) {
        let _full = self.queue.try_send(Note::Used(scope, key));
    }

    /// A call was refused for who made it.
    pub(super) fn refused(
        &self,
        (scope, actor): (Option<Scope>, Actor),
        extensions: &Extensions,
        method: &'static Method,
        reason: Reason,
    ) {
        let refused = Refused {
            scope,
            actor,
            action: method.action,
            needs: method.scope,
            request_id: request_id(extensions).to_owned(),
            address: extensions.get::<Peer>().map(|peer| peer.address),
            reason,
            at: self.clock.now(),
        };
        if self.queue.try_send(Note::Refused(Box::new(refused))).is_err() {
            tracing::warn!(
                reason = reason.row().code,
                "a refused call is missing in the audit log"
            );
        }
    }
}

impl Recorder {
    /// Writes until nobody takes notes any more.
    pub async fn run(mut self) {
        let mut batch = Vec::with_capacity(BATCH);
        while self.queue.recv_many(&mut batch, BATCH).await > 0 {
            if let Err(error) = self.write(std::mem::take(&mut batch)).await {
                tracing::warn!(%error, "the use of keys and refused calls were not noted");
            }
        }
    }

    async fn write(&self, batch: Vec<Note>) -> Result<()> {
        let (now, pepper) = (self.clock.now(), self.pepper.clone());
        let (mut used, mut refused) = (Vec::new(), Vec::new());
        for note in batch {
            match note {
                Note::Used(scope, key) => used.push((scope, key)),
                Note::Refused(call) => refused.push(*call),
            }
        }
        let any = !refused.is_empty();
        let job = (used, refused);
        self.store
            .tx("note_callers", move |tx| {
                let ((used, refused), pepper) = (job.clone(), pepper.clone());
                Box::pin(async move {
                    for (scope, key) in used {
                        keys::touch(tx, scope, key, now).await?;
                    }
                    audit::refused(tx, &pepper, &refused).await
                })
            })
            .await?;
        if any {
            self.store.audited();
        }
        Ok(())
    }
}
