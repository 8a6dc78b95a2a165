//! Pictures of runs, for the many who ask how a run is while nothing changes: what one has read of
//! the store, all are shown. Each has the version of the run that it shows, and none takes the
//! place of a newer one; a committed event makes all pictures before it void. Kept in Redis between
//! processes, or in the one process that has the store for itself; where there is neither, not at
//! all. Called by `mod.rs` and, through it, by the runs service. Never asks the store.

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
/// Milliseconds that one is kept in Redis: what voids it may get lost on the way.
const LIVE_MS: u64 = 2_000;
/// The same of a run that has ended, of which nothing changes any more.
const ENDED_MS: u64 = 300_000;

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
    Own(Cache<Uuid, Own>),
    /// In Redis.
    Shared(Shared),
}

/// What is known of a run here.
#[derive(Clone)]
pub(super) struct Own {
    version: Version,
    picture: Option<Bytes>,
}

/// The way to those in Redis.
#[derive(Clone)]
pub(super) struct Shared {
    link: Link,
    keep: Script,
}

/// The name of a run's picture.
pub(super) fn name(run_id: Uuid) -> String {
    format!("st:{run_id}")
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
                Self::Own(cache.time_to_live(OWN).build())
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

    /// The picture of a run.
    pub(super) async fn get(&self, run_id: Uuid) -> Option<Bytes> {
        match self {
            Self::None => None,
            Self::Own(own) => own.get(&run_id)?.picture,
            Self::Shared(Shared { link, .. }) => {
                let asking = |mut way| async move {
                    let mut get = redis::cmd("HGET");
                    get.arg(link.name(&name(run_id))).arg("b");
                    get.query_async::<Option<Vec<u8>>>(&mut way).await
                };
                link.ask(link.patience(), asking).await.flatten().map(Bytes::from)
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
        match self {
            Self::None => true,
            Self::Own(own) => {
                let picture = Some(picture).filter(|picture| picture.len() <= BYTES_MAX);
                take(own, run_id, Own { version, picture })
            }
            Self::Shared(Shared { link, keep }) => {
                // Of a large one the version counts.
                let picture = if picture.len() > BYTES_MAX { Bytes::new() } else { picture };
                let asking = |mut way| async move {
                    let mut call = keep.key(link.name(&name(run_id)));
                    call.arg(version.seq).arg(version.revision);
                    call.arg(if has_ended { ENDED_MS } else { LIVE_MS }).arg(&picture[..]);
                    call.invoke_async::<i64>(&mut way).await
                };
                link.ask(link.patience(), asking).await != Some(0)
            }
        }
    }

    /// An event was committed, with this number: pictures before it are void. In Redis the script
    /// that tells of the event does this.
    pub(super) fn outdate(&self, run_id: Uuid, seq: i64) {
        if let Self::Own(own) = self {
            take(own, run_id, Own { version: Version { seq, revision: 0 }, picture: None });
        }
    }

    /// Something may have been committed that nobody tells of.
    pub(super) fn forget(&self, run_id: Uuid) {
        if let Self::Own(own) = self {
            own.invalidate(&run_id);
        }
    }
}

/// Takes what is not older than what is known; true when it did.
fn take(own: &Cache<Uuid, Own>, run_id: Uuid, new: Own) -> bool {
    let mut taken = true;
    own.entry(run_id).and_compute_with(|known| {
        taken = known.is_none_or(|known| known.value().version <= new.version);
        if taken { Op::Put(new) } else { Op::Nop }
    });
    taken
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
        assert_eq!(pictures.get(RUN).await, None);
    }
}
