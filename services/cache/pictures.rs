//! Pictures of runs, for the many who ask how a run is while nothing changes: what one has read of
//! the store, all are shown. Each has the version of the run that it shows, and none takes the
//! place of a newer one; a committed event makes all pictures before it void. Kept in Redis between
//! processes, or in the one process that has the store for itself; where there is neither, not at
//! all. Called by `mod.rs` and, through it, by the runs service. Never asks the store.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use moka::ops::compute::Op;
use moka::sync::Cache;
use redis::Script;
use uuid::Uuid;

use super::link::Link;

/// The script that keeps one.
pub(super) const KEEP: &str = include_str!("picture.lua");

/// Most bytes of a picture; larger ones are not kept.
const BYTES_MAX: usize = 256 * 1024;
/// Bytes of all pictures in this process.
const ALL_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// How long one is kept in this process, where nothing changes unseen.
const OWN: Duration = Duration::from_secs(300);
/// How long none is kept in this process of a run that somebody may still be changing: longer than
/// a commit takes.
const DOUBT: Duration = Duration::from_secs(60);
/// Runs of which that is known.
const DOUBTS_MAX: u64 = 100_000;
/// Milliseconds that one is kept in Redis: what voids it may get lost on the way.
const LIVE_MS: u64 = 2_000;
/// The same of a run that has ended, of which nothing changes any more.
const ENDED_MS: u64 = 300_000;
/// Milliseconds that it is known at least how far a run has come: longer than reading it takes.
pub(super) const KNOWN_MS: u64 = 10_000;

/// Which state of a run a picture shows. Later states are greater.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// Number of its last event.
    pub seq: i64,
    /// Revision of its row.
    pub revision: i64,
}

/// The pictures.
#[derive(Clone)]
pub(super) enum Pictures {
    /// Nowhere.
    None,
    /// In this process, which alone changes runs.
    Own(Alone),
    /// In Redis.
    Shared(Shared),
}

/// Those in this process.
#[derive(Clone)]
pub(super) struct Alone {
    known: Cache<Uuid, Own>,
    /// Runs of which none is kept for now.
    doubted: Cache<Uuid, ()>,
}

/// What is known of a run here.
#[derive(Clone)]
pub(super) struct Own {
    version: Version,
    has_ended: bool,
    picture: Option<Bytes>,
}

/// Runs that a call is about to change. A call that is given up meanwhile leaves behind that nobody
/// knows what is committed: then no picture of them is kept for a while.
#[derive(Clone)]
pub struct Doubt(Arc<Open>);

struct Open {
    pictures: Pictures,
    runs: Mutex<Vec<Uuid>>,
}

impl Doubt {
    pub(super) fn new(pictures: Pictures) -> Self {
        Self(Arc::new(Open { pictures, runs: Mutex::default() }))
    }

    /// The call is about to change this run too.
    pub fn about(&self, run_id: Uuid) {
        let mut runs = self.0.runs.lock().unwrap_or_else(PoisonError::into_inner);
        if !runs.contains(&run_id) {
            runs.push(run_id);
        }
    }

    /// It is known what has become of the call, and told.
    pub fn resolve(&self) {
        self.0.runs.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let runs = self.runs.get_mut().unwrap_or_else(PoisonError::into_inner);
        runs.drain(..).for_each(|run_id| self.pictures.doubt(run_id));
    }
}

/// The way to those in Redis.
#[derive(Clone)]
pub(super) struct Shared {
    link: Link,
    keep: Script,
}

/// The names of what is known of a run, and of its picture. The picture goes first: what is known
/// keeps away those that come late.
pub(super) fn names(run_id: Uuid) -> [String; 2] {
    [format!("st:{run_id}"), format!("pic:{run_id}")]
}

impl Pictures {
    /// In Redis, or in this process when nobody else changes runs.
    pub(super) fn new(link: Option<Link>, is_alone: bool) -> Self {
        let weight = |_: &Uuid, own: &Own| {
            let bytes = own.picture.as_ref().map_or(0, Bytes::len);
            u32::try_from(bytes + 128).unwrap_or(u32::MAX)
        };
        match link {
            // Alone, there is nobody to share with.
            _ if is_alone => {
                let cache = Cache::builder().weigher(weight).max_capacity(ALL_BYTES_MAX);
                let known = cache.time_to_live(OWN).build();
                let doubted = Cache::builder().max_capacity(DOUBTS_MAX).time_to_live(DOUBT);
                Self::Own(Alone { known, doubted: doubted.build() })
            }
            Some(link) => Self::Shared(Shared { link, keep: Script::new(KEEP) }),
            None => Self::None,
        }
    }

    /// True when pictures are kept anywhere.
    pub(super) fn are_kept(&self) -> bool {
        match self {
            Self::None => false,
            Self::Own(_) => true,
            Self::Shared(shared) => shared.link.is_up(),
        }
    }

    /// The picture of a run; an empty one stands for one that is too large.
    pub(super) async fn get(&self, run_id: Uuid) -> Option<Bytes> {
        match self {
            Self::None => None,
            Self::Own(own) => own.known.get(&run_id)?.picture,
            Self::Shared(Shared { link, .. }) => {
                let asking = |mut way| async move {
                    let [_, picture] = names(run_id);
                    let mut get = redis::cmd("GET");
                    get.arg(link.name(&picture));
                    get.query_async::<Option<Vec<u8>>>(&mut way).await
                };
                link.ask("picture", link.patience(), asking).await.flatten().map(Bytes::from)
            }
        }
    }

    /// Keeps a picture; false when a newer state is known, so that this one is not to be shown.
    pub(super) async fn keep(
        &self,
        run_id: Uuid,
        version: Version,
        has_ended: bool,
        picture: Bytes,
    ) -> bool {
        // Of a large one the version counts.
        let picture = if picture.len() > BYTES_MAX { Bytes::new() } else { picture };
        match self {
            Self::None => true,
            Self::Own(own) if own.doubted.contains_key(&run_id) => true,
            Self::Own(own) => own.take(run_id, Own { version, has_ended, picture: Some(picture) }),
            Self::Shared(Shared { link, keep }) => {
                let asking = |mut way| async move {
                    let [known, shown] = names(run_id);
                    let mut call = keep.key(link.name(&known));
                    call.key(link.name(&shown)).arg(version.seq).arg(version.revision);
                    call.arg(if has_ended { ENDED_MS } else { LIVE_MS }).arg(&picture[..]);
                    call.arg(KNOWN_MS);
                    call.invoke_async::<i64>(&mut way).await
                };
                link.ask("keep", link.patience(), asking).await != Some(0)
            }
        }
    }

    /// An event was committed, with this number: pictures before it are void. In Redis the script
    /// that tells of the event does this.
    pub(super) fn outdate(&self, run_id: Uuid, seq: i64) {
        if let Self::Own(own) = self {
            let version = Version { seq, revision: 0 };
            own.take(run_id, Own { version, has_ended: false, picture: None });
        }
    }

    /// The store has events of the run up to this number, or with `i64::MAX` its end: pictures in
    /// this process that do not show them are void, as nobody has told of them.
    pub(super) fn reached(&self, run_id: Uuid, seq: i64) {
        match self {
            Self::Own(own) if seq == i64::MAX => {
                if own.known.get(&run_id).is_some_and(|known| !known.has_ended) {
                    own.known.invalidate(&run_id);
                }
            }
            _ => self.outdate(run_id, seq),
        }
    }

    /// Something may have been committed that nobody tells of.
    pub(super) fn forget(&self, run_id: Uuid) {
        if let Self::Own(own) = self {
            own.known.invalidate(&run_id);
        }
    }

    /// Something may be committed yet that nobody tells of.
    fn doubt(&self, run_id: Uuid) {
        if let Self::Own(own) = self {
            own.doubted.insert(run_id, ());
            own.known.invalidate(&run_id);
        }
    }
}

impl Alone {
    /// Takes what is not older than what is known; true when it did.
    fn take(&self, run_id: Uuid, new: Own) -> bool {
        let mut taken = true;
        self.known.entry(run_id).and_compute_with(|known| {
            taken = known.is_none_or(|known| known.value().version <= new.version);
            if taken { Op::Put(new) } else { Op::Nop }
        });
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUN: Uuid = Uuid::max();

    fn own() -> Pictures {
        Pictures::new(None, true)
    }

    async fn kept(pictures: &Pictures, seq: i64, revision: i64, text: &'static str) -> bool {
        let version = Version { seq, revision };
        pictures.keep(RUN, version, false, Bytes::from_static(text.as_bytes())).await
    }

    #[tokio::test]
    async fn no_picture_takes_the_place_of_a_newer_one() {
        let pictures = own();
        assert!(kept(&pictures, 2, 2, "b").await);
        assert!(!kept(&pictures, 1, 9, "a").await, "an older event");
        assert!(!kept(&pictures, 2, 1, "a").await, "an older revision");
        assert_eq!(pictures.get(RUN).await.as_deref(), Some(&b"b"[..]));
        assert!(kept(&pictures, 2, 3, "c").await);
        assert_eq!(pictures.get(RUN).await.as_deref(), Some(&b"c"[..]));
    }

    #[tokio::test]
    async fn an_event_voids_the_pictures_before_it_also_those_that_come_late() {
        let pictures = own();
        assert!(kept(&pictures, 2, 2, "b").await);
        pictures.outdate(RUN, 3);
        assert_eq!(pictures.get(RUN).await, None);
        assert!(!kept(&pictures, 2, 2, "b").await, "it was read before the event");
        assert!(kept(&pictures, 3, 3, "c").await);
        pictures.outdate(RUN, 3);
        assert_eq!(pictures.get(RUN).await.as_deref(), Some(&b"c"[..]), "the event is in it");
    }

    #[tokio::test]
    async fn a_large_picture_is_not_kept_but_voids_older_ones() {
        let pictures = own();
        assert!(kept(&pictures, 1, 1, "a").await);
        let large = Bytes::from(vec![0; BYTES_MAX + 1]);
        assert!(pictures.keep(RUN, Version { seq: 2, revision: 2 }, true, large).await);
        assert_eq!(pictures.get(RUN).await, Some(Bytes::new()), "it is known to be large");
    }

    #[tokio::test]
    async fn what_the_store_has_voids_older_pictures() {
        let pictures = own();
        assert!(kept(&pictures, 2, 2, "b").await);
        pictures.reached(RUN, 2);
        assert!(pictures.get(RUN).await.is_some(), "it shows the event");
        pictures.reached(RUN, 3);
        assert_eq!(pictures.get(RUN).await, None);
        assert!(kept(&pictures, 3, 3, "c").await);
        pictures.reached(RUN, i64::MAX);
        assert_eq!(pictures.get(RUN).await, None, "the run has ended");
        let last = Version { seq: 4, revision: 4 };
        assert!(pictures.keep(RUN, last, true, Bytes::from_static(b"d")).await);
        pictures.reached(RUN, i64::MAX);
        assert_eq!(pictures.get(RUN).await.as_deref(), Some(&b"d"[..]));
    }

    #[tokio::test]
    async fn a_call_that_is_given_up_leaves_no_picture_behind() {
        let pictures = own();
        assert!(kept(&pictures, 2, 2, "b").await);
        let doubt = Doubt::new(pictures.clone());
        doubt.about(RUN);
        doubt.resolve();
        drop(doubt);
        assert!(pictures.get(RUN).await.is_some(), "what became of it was told");
        let doubt = Doubt::new(pictures.clone());
        doubt.about(RUN);
        drop(doubt);
        assert_eq!(pictures.get(RUN).await, None);
        assert!(kept(&pictures, 2, 2, "b").await, "it may be shown to who has read it");
        assert_eq!(pictures.get(RUN).await, None, "but the commit may come after it");
    }
}
