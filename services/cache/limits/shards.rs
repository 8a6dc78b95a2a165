//! A map that many threads share and that cannot grow without end: what has no meaning any more
//! is dropped now and then, and at most so much is kept. Called by `local.rs` and `held.rs`;
//! knows nothing of limits.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Parts that are locked apart from each other.
const SHARDS: usize = 32;

/// Entries of a part before it is first looked through.
const PURGE_FROM: usize = 256;

/// Microseconds between two looks through a part that is full.
const PURGE_PAUSE_US: i64 = 1_000_000;

/// The map.
#[derive(Debug)]
pub(super) struct Shards<K, V> {
    shards: Box<[Mutex<Shard<K, V>>]>,
    hasher: RandomState,
}

/// A part, locked.
#[derive(Debug)]
pub(super) struct Shard<K, V> {
    entries: HashMap<K, V>,
    entries_max: usize,
    /// Number of entries at which it is next looked through.
    purge_at: usize,
    purged_us: i64,
}

impl<K: Hash + Eq + Copy, V> Shards<K, V> {
    /// An empty map of at most so many entries.
    pub(super) fn new(entries_max: usize) -> Self {
        let entries_max = (entries_max / SHARDS).max(1);
        let shard = || {
            let purge_at = PURGE_FROM.min(entries_max);
            Mutex::new(Shard { entries: HashMap::new(), entries_max, purge_at, purged_us: 0 })
        };
        Self { shards: (0..SHARDS).map(|_| shard()).collect(), hasher: RandomState::new() }
    }

    /// The part where everything of `space` is. Hold it for no longer than some sums take.
    pub(super) fn lock(&self, space: u128) -> MutexGuard<'_, Shard<K, V>> {
        let at = self.hasher.hash_one(space) % SHARDS as u64;
        let shard = &self.shards[usize::try_from(at).unwrap_or_default()];
        // Nothing in here is ever half done.
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many entries there are.
    pub(super) fn len(&self) -> usize {
        let len = |shard: &Mutex<Shard<K, V>>| {
            shard.lock().unwrap_or_else(PoisonError::into_inner).entries.len()
        };
        self.shards.iter().map(len).sum()
    }
}

impl<K: Hash + Eq + Copy, V> Shard<K, V> {
    /// The value of a key.
    pub(super) fn get(&self, key: &K) -> Option<&V> {
        self.entries.get(key)
    }

    /// The value of a key, to be changed.
    pub(super) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.entries.get_mut(key)
    }

    /// Keeps a value, and drops what is `over` when there are many. When there is no room even so,
    /// some other value goes.
    pub(super) fn put(&mut self, key: K, value: V, now_us: i64, over: impl Fn(&V) -> bool) {
        if let Some(kept) = self.entries.get_mut(&key) {
            *kept = value;
            return;
        }
        let due = now_us.abs_diff(self.purged_us) >= PURGE_PAUSE_US.unsigned_abs();
        if self.entries.len() >= self.purge_at && due {
            self.entries.retain(|_, value| !over(value));
            // Twice what is left: each entry pays for looking at two.
            self.purge_at = (2 * self.entries.len()).max(PURGE_FROM).min(self.entries_max);
            self.purged_us = now_us;
        }
        if self.entries.len() >= self.entries_max {
            let some = self.entries.keys().next().copied();
            some.and_then(|some| self.entries.remove(&some));
        }
        self.entries.insert(key, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_over_goes_and_there_is_an_end_to_the_rest() {
        let shards = Shards::<u32, i64>::new(32 * 1000);
        let keep = |from: u32, to: u32, until: i64, now: i64| {
            for key in from..to {
                shards.lock(7).put(key, until, now, |until| *until <= now);
            }
        };
        keep(0, 10_000, 10, 5);
        assert_eq!(shards.len(), 1000, "one part holds its share of the most");
        keep(10_000, 10_001, 3_000_000, 2_000_000);
        assert_eq!(shards.len(), 1, "what is over is gone");
        assert_eq!(shards.lock(7).get(&10_000), Some(&3_000_000));
    }
}
