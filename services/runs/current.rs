//! A run as it is now, for the many who ask while nothing changes: from the picture that somebody
//! has read before, or else from the store, by one reader of this process at a time. Nobody is
//! shown an older state after a newer one, or than they were told of. Asked by `get.rs`; told by
//! the calls that change a run.

use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use moka::sync::Cache;
use prost::Message;
use tokio::sync::Mutex;
use tokio::time::Instant;
use uuid::Uuid;

use super::{Runs, convert};
use crate::cache::Version;
use crate::engine::Told;
use crate::kernel::{Environment, Result, Scope, Timestamp};
use crate::proto::runplane::v1 as pb;
use crate::store;

/// Times that a run is read again because it has changed meanwhile.
const AGAIN: usize = 3;
/// Bytes before the run: whose it is.
const OWNER_BYTES: usize = 17;

/// Runs of which is known who reads them.
const TURNS_MAX: u64 = 16_384;
/// How long that is known after the last reader.
const TURN: Duration = Duration::from_secs(60);

/// Who reads: one after the other for each run, so that a crowd which waits for a run reads it
/// once. Nobody waits for who reads another run.
pub struct Turns(Cache<Uuid, Arc<Mutex<Option<Reading>>>>);

/// The last reading of a run here.
struct Reading {
    began: Instant,
    /// Number of the last event that it saw.
    seq: i64,
}

/// What there is of a run beside the store.
enum Pictured {
    /// Nothing, or not for this owner.
    None,
    /// All of it.
    Run(Box<pb::Run>),
    /// It is too large to be kept: who asks reads.
    Large,
}

impl Default for Turns {
    fn default() -> Self {
        Self(Cache::builder().max_capacity(TURNS_MAX).time_to_idle(TURN).build())
    }
}

impl Turns {
    fn of(&self, run_id: Uuid) -> Arc<Mutex<Option<Reading>>> {
        self.0.get_with(run_id, Arc::default)
    }
}

impl Reading {
    /// True for a picture that may be shown to whom this was told: it was read after that.
    fn covers(&self, told: Told, run: &pb::Run) -> bool {
        told.at.is_none_or(|at| at < self.began) && i64::from(run.last_seq) >= self.seq
    }
}

/// The run, not older than what was told of it.
pub(super) async fn current(
    runs: &Runs,
    scope: Scope,
    run_id: Uuid,
    told: Told,
) -> Result<pb::Run> {
    if !runs.engine.bus().pictures() {
        return Ok(read(runs, scope, run_id).await?.0);
    }
    // After the end nothing changes any more.
    let is_new = |run: &pb::Run| run.completed_at.is_some() || i64::from(run.last_seq) >= told.seq;
    match pictured(runs, scope, run_id).await {
        Pictured::Run(run) if is_new(&run) => return Ok(*run),
        Pictured::Large => return Ok(fresh(runs, scope, run_id).await?.0),
        Pictured::Run(_) | Pictured::None => {}
    }
    let turn = runs.turns.of(run_id);
    let mut last = turn.lock().await;
    let covers = |run: &pb::Run| last.as_ref().is_some_and(|last| last.covers(told, run));
    match pictured(runs, scope, run_id).await {
        Pictured::Run(run) if is_new(&run) || covers(&run) => return Ok(*run),
        Pictured::Large => {
            drop(last);
            return Ok(fresh(runs, scope, run_id).await?.0);
        }
        Pictured::Run(_) | Pictured::None => {}
    }
    let began = Instant::now();
    let (run, version) = fresh(runs, scope, run_id).await?;
    *last = Some(Reading { began, seq: version.seq });
    Ok(run)
}

/// The run as the store has it, kept for others.
async fn fresh(runs: &Runs, scope: Scope, run_id: Uuid) -> Result<(pb::Run, Version)> {
    let mut tries = 0;
    loop {
        let (run, version) = read(runs, scope, run_id).await?;
        tries += 1;
        if kept(runs, scope, (run_id, version), &run).await || tries > AGAIN {
            return Ok((run, version));
        }
    }
}

/// Keeps what a call has made of a run, before anybody is shown it.
pub(super) async fn changed(
    runs: &Runs,
    scope: Scope,
    (run_id, version): (Uuid, Version),
    run: &pb::Run,
) {
    if runs.engine.bus().pictures() {
        kept(runs, scope, (run_id, version), run).await;
    }
}

async fn read(runs: &Runs, scope: Scope, run_id: Uuid) -> Result<(pb::Run, Version)> {
    read_by(runs.store.read(), scope, run_id, runs.clock.now()).await
}

/// The run as a connection sees it, and which state that is.
pub(super) async fn read_by(
    conn: &impl sea_orm::ConnectionTrait,
    scope: Scope,
    run_id: Uuid,
    now: Timestamp,
) -> Result<(pb::Run, Version)> {
    let (row, thread) = store::runs::get_with_thread(conn, scope, run_id).await?;
    let version = Version { seq: row.last_seq, revision: row.revision };
    Ok((convert::run(row, convert::thread(thread.as_bytes())?, now)?, version))
}

async fn pictured(runs: &Runs, scope: Scope, run_id: Uuid) -> Pictured {
    let picture = runs.engine.bus().picture(run_id).await;
    runs.store.meters().looked_up("pictures", picture.is_some());
    match picture {
        None => Pictured::None,
        Some(picture) if picture.is_empty() => Pictured::Large,
        Some(picture) => match shown(runs, scope, picture) {
            Some(run) => Pictured::Run(Box::new(run)),
            None => Pictured::None,
        },
    }
}

fn shown(runs: &Runs, scope: Scope, mut picture: Bytes) -> Option<pb::Run> {
    if picture.len() < OWNER_BYTES || picture.split_to(OWNER_BYTES)[..] != owner(scope) {
        return None;
    }
    let mut run = pb::Run::decode(picture).ok()?;
    if run.completed_at.is_none() {
        let created = run.created_at.map(Timestamp::from)?;
        run.latency_ms = runs.clock.now().ms_since(created);
    }
    Some(run)
}

/// False when a newer state is known.
async fn kept(
    runs: &Runs,
    scope: Scope,
    (run_id, version): (Uuid, Version),
    run: &pb::Run,
) -> bool {
    let mut picture = BytesMut::with_capacity(OWNER_BYTES + run.encoded_len());
    picture.put_slice(&owner(scope));
    picture.put(Bytes::from(run.encode_to_vec()));
    let has_ended = run.completed_at.is_some();
    runs.engine.bus().keep_picture(run_id, version, has_ended, picture.freeze()).await
}

/// Whose a picture is: another owner of the same id has not asked for it.
fn owner(scope: Scope) -> [u8; OWNER_BYTES] {
    let mut owner = [0; OWNER_BYTES];
    owner[..16].copy_from_slice(scope.project.as_bytes());
    owner[16] = u8::from(scope.environment == Environment::Live);
    owner
}
