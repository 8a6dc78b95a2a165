//! Runs that outlive the process: claimed with an epoch, journaled step by step, resumed from the
//! last journaled step. Called by the services (`create`, `cancel`, `submit`, `follow`, `wait`,
//! reads) and by `serve` (`run`). Never does a step itself: the function that drives a run is
//! handed in.

mod admit;
pub mod attempt;
#[cfg(feature = "faults")]
mod by_hand;
mod cancel;
mod claim;
pub mod config;
pub mod create;
mod drive;
pub mod events;
mod finish;
mod follow;
mod journal;
mod live;
mod read;
mod reap;
mod session;
mod slots;
pub mod state;
pub mod submit;
mod sweep;
mod traced;
mod wait;
mod watch;
mod worker;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use moka::future::Cache;
use tokio::sync::Notify;
use tokio::sync::watch::Sender;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub use admit::{OnLimit, RunLimits};
#[cfg(feature = "faults")]
pub use by_hand::{Hand, Held};
pub use cancel::{AskedCancel, ask_cancel};
pub use config::EngineConfig;
pub use create::{Created, NewRun, Prepared};
pub use events::Event;
pub use read::EventPage;
pub use session::{Interrupted, OnSessionBusy};
pub use state::Status;
pub use submit::{Handover, Output};
pub use wait::{Told, Until, Waiter};

use self::admit::Caps;
use self::finish::Concluded;
use self::slots::Slots;
use crate::cache::{Bus, Durable};
use crate::kernel::ids::{self, Kind};
use crate::kernel::spec::AgentSpec;
use crate::kernel::telemetry::Meters;
use crate::kernel::{Clock, Error, Timestamp};
use crate::store::Store;

const SPECS_MAX: u64 = 1024;

/// The engine. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    bus: Bus,
    clock: Clock,
    config: EngineConfig,
    /// Versions of agents never change.
    specs: Cache<(Uuid, i32), Arc<AgentSpec>>,
    /// What is known of the caps of lanes and keys.
    caps: Caps,
    /// There may be work.
    work: Notify,
    /// This process takes runs.
    takes: AtomicBool,
    /// The runs that this process drives.
    slots: Slots,
    /// When the last heartbeat was sent that the database confirmed.
    beaten: Sender<Instant>,
    /// How many processes it found, with this one; 0: there was none yet.
    processes: AtomicU32,
    /// The last attempt of runs that were driven here.
    attempts: traced::Attempts,
    /// This process drives no run any more: who waits for one here waits in vain.
    closing: CancellationToken,
}

impl Engine {
    /// An engine on a store, telling its followers over a bus.
    #[must_use]
    pub fn new(store: Store, bus: Bus, clock: Clock, config: EngineConfig) -> Self {
        let inner = Inner {
            store,
            bus,
            clock,
            config,
            specs: Cache::new(SPECS_MAX),
            caps: Caps::new(),
            work: Notify::new(),
            takes: AtomicBool::new(true),
            slots: Slots::default(),
            beaten: Sender::new(Instant::now()),
            processes: AtomicU32::new(0),
            attempts: traced::attempts(),
            closing: CancellationToken::new(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Lets nobody wait any longer: this process drives no run any more. Waits answer with the run
    /// as it is, and streams of events end.
    pub fn close(&self) {
        self.inner.closing.cancel();
    }

    /// Where live frames travel to those who follow runs in this process.
    #[must_use]
    pub fn bus(&self) -> &Bus {
        &self.inner.bus
    }

    /// How many processes work on the database, as the last heartbeat found; `None` before the
    /// first.
    #[must_use]
    pub fn processes(&self) -> Option<u32> {
        Some(self.inner.processes.load(Ordering::Relaxed)).filter(|count| *count > 0)
    }

    /// How many runs this process drives, and how many it can.
    #[must_use]
    pub fn driven(&self) -> (usize, usize) {
        (self.slots().count(), self.config().concurrent_runs)
    }

    fn store(&self) -> &Store {
        &self.inner.store
    }

    fn meters(&self) -> &Meters {
        self.store().meters()
    }

    fn now(&self) -> Timestamp {
        self.inner.clock.now()
    }

    fn config(&self) -> &EngineConfig {
        &self.inner.config
    }

    fn slots(&self) -> &Slots {
        &self.inner.slots
    }

    /// Wakes a worker, if there is something for it.
    fn woken(&self, follows: bool) {
        if follows {
            self.ready();
        }
    }

    /// Tells followers of a run's end that no claim has committed, and a worker of the next run.
    fn concluded(&self, run_id: Uuid, done: Concluded) {
        self.measure(&done);
        self.publish(run_id, done.events);
        self.woken(done.follows);
    }

    /// Counts a run that has ended.
    fn measure(&self, done: &Concluded) {
        if let Some((status, took)) = done.ended {
            self.meters().ended(status.as_str(), took);
        }
    }

    /// Tells followers what was committed by nobody's claim.
    fn publish(&self, run_id: Uuid, events: Vec<Durable>) {
        for event in events {
            self.inner.bus.publish(run_id, crate::cache::Frame::Durable(event));
        }
    }
}

/// Notes a failure that no caller hears of.
fn complain(what: &'static str, run_id: Option<Uuid>, error: &Error) {
    let source = error.source.as_deref().map(|source| source as &dyn std::error::Error);
    let run_id = run_id.map(|id| ids::format(Kind::Run, id));
    tracing::error!(what, run_id, %error, source, "the engine goes on");
}
