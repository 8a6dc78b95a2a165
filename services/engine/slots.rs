//! The runs that this process drives, and how each is told that something has come over it. Held by
//! the engine; filled by `worker.rs`, read by `cancel.rs` and `sweep.rs`.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::kernel::{Scope, Timestamp};
use crate::store::queue::Lease;

/// Why the driving of a run is broken off from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// It is not.
    No,
    /// The run is no longer ours.
    Lost,
    /// The run's deadline is over, and its driver does not notice.
    Overdue,
    /// The process stops, and its driver does not notice.
    Shutdown,
}

/// One driven run.
pub(super) struct Slot {
    pub(super) epoch: i64,
    pub(super) deadline: Timestamp,
    pub(super) cancel: CancellationToken,
    pub(super) stop: watch::Sender<Stop>,
}

/// All of them.
#[derive(Default)]
pub(super) struct Slots {
    by_run: Mutex<HashMap<Uuid, Slot>>,
    /// Claims that were driven and could not be given back.
    owed: Mutex<HashSet<Lease>>,
    /// Lanes that may have ready runs which their caps hold back: each end makes room for one.
    held_back: Mutex<HashSet<Scope>>,
}

impl Slots {
    pub(super) fn count(&self) -> usize {
        self.lock().len()
    }

    pub(super) fn put(&self, run_id: Uuid, slot: Slot) {
        self.lock().insert(run_id, slot);
    }

    /// Removes a run, unless another claim of it has taken the slot.
    pub(super) fn remove(&self, lease: Lease) {
        let mut by_run = self.lock();
        if by_run.get(&lease.run_id).is_some_and(|slot| slot.epoch == lease.epoch) {
            by_run.remove(&lease.run_id);
        }
    }

    pub(super) fn cancel(&self, run_id: Uuid) {
        if let Some(slot) = self.lock().get(&run_id) {
            slot.cancel.cancel();
        }
    }

    pub(super) fn cancel_all(&self) {
        self.lock().values().for_each(|slot| slot.cancel.cancel());
    }

    pub(super) fn stop(&self, run_id: Uuid, why: Stop) {
        if let Some(slot) = self.lock().get(&run_id) {
            slot.stop.send_replace(why);
        }
    }

    pub(super) fn stop_all(&self, why: Stop) {
        for slot in self.lock().values() {
            slot.stop.send_replace(why);
        }
    }

    /// Stops every run whose deadline is before `at`.
    pub(super) fn stop_overdue(&self, at: Timestamp) {
        for slot in self.lock().values().filter(|slot| slot.deadline < at) {
            slot.stop.send_if_modified(|stop| {
                let first = *stop == Stop::No;
                if first {
                    *stop = Stop::Overdue;
                }
                first
            });
        }
    }

    pub(super) fn leases(&self) -> Vec<Lease> {
        let lease = |(run_id, slot): (&Uuid, &Slot)| Lease { run_id: *run_id, epoch: slot.epoch };
        self.lock().iter().map(lease).collect()
    }

    /// Notes of lanes that were looked into whether their caps held runs back.
    pub(super) fn looked_into(&self, lanes: &[(Scope, bool)]) {
        let mut all = self.held_back.lock().unwrap_or_else(PoisonError::into_inner);
        for (lane, held_back) in lanes {
            if *held_back {
                all.insert(*lane);
            } else {
                all.remove(lane);
            }
        }
    }

    pub(super) fn holds_back(&self, lane: Scope) -> bool {
        self.held_back.lock().unwrap_or_else(PoisonError::into_inner).contains(&lane)
    }

    /// Notes a claim that was driven and could not be given back.
    pub(super) fn owe(&self, lease: Lease) {
        self.owed().insert(lease);
    }

    pub(super) fn is_owed(&self, lease: Lease) -> bool {
        self.owed().contains(&lease)
    }

    /// Forgets those that the database no longer has.
    pub(super) fn owe_only(&self, held: &[(Lease, bool)]) {
        self.owed().retain(|lease| held.iter().any(|(held, _)| held == lease));
    }

    fn owed(&self) -> MutexGuard<'_, HashSet<Lease>> {
        self.owed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, Slot>> {
        self.by_run.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
