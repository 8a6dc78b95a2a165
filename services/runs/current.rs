//! A run as it is now, for the many who ask while nothing changes: from the picture that somebody
//! has read before, or else from the store, by one reader of this process at a time. Nobody is
//! shown an older state after a newer one. Asked by `get.rs`; told by the calls that change a run.

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;
use tokio::sync::Mutex;
use uuid::Uuid;

use super::{Runs, convert};
use crate::cache::Version;
use crate::kernel::{Environment, Result, Scope, Timestamp};
use crate::proto::runplane::v1 as pb;
use crate::store;

/// Runs with the same number wait for each other's reader.
const TURNS: usize = 64;
/// Times that a run is read again because it has changed meanwhile.
const AGAIN: usize = 3;
/// Bytes before the run: whose it is.
const OWNER_BYTES: usize = 17;

/// Who reads: one after the other for each run, so that a crowd which waits for a run reads it
/// once.
pub struct Turns([Mutex<()>; TURNS]);

impl Default for Turns {
    fn default() -> Self {
        Self([const { Mutex::const_new(()) }; TURNS])
    }
}

impl Turns {
    fn of(&self, run_id: Uuid) -> &Mutex<()> {
        // The last bytes of an id are random.
        &self.0[usize::from(run_id.as_bytes()[15]) % TURNS]
    }
}

/// The run.
pub(super) async fn current(runs: &Runs, scope: Scope, run_id: Uuid) -> Result<pb::Run> {
    let bus = runs.engine.bus();
    if !bus.pictures() {
        return Ok(read(runs, scope, run_id).await?.0);
    }
    if let Some(run) = pictured(runs, scope, run_id).await {
        return Ok(run);
    }
    let _turn = runs.turns.of(run_id).lock().await;
    if let Some(run) = pictured(runs, scope, run_id).await {
        return Ok(run);
    }
    let mut tries = 0;
    loop {
        let (run, version) = read(runs, scope, run_id).await?;
        tries += 1;
        if kept(runs, scope, (run_id, version), &run).await || tries > AGAIN {
            return Ok(run);
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

async fn pictured(runs: &Runs, scope: Scope, run_id: Uuid) -> Option<pb::Run> {
    let mut picture = runs.engine.bus().picture(run_id).await?;
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
