//! The model: what the queue, the journal and the state of each run are, in plain data. Small
//! enough to be seen to be right.

use std::collections::BTreeMap;

use runplane::engine::Status;
use uuid::Uuid;

/// Most runs of the owner, and of its capped key, that are leased at once.
pub const LANE_CAP: usize = 3;
pub const KEY_CAP: usize = 1;
/// Microseconds after which a cancel is forced, and that a waiting run waits.
pub const CANCEL: i64 = 10_000_000;
pub const PATIENCE: i64 = 60_000_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Ready { priority: i16, at: i64 },
    Leased(Uuid),
    Waiting(i64),
    Over,
}

/// A step of the journal: its state, result, attempts, and who wrote it last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    pub status: i16,
    pub result: Option<String>,
    pub attempt: i32,
    pub epoch: i64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    pub id: Uuid,
    pub capped: bool,
    pub place: Place,
    pub epoch: i64,
    pub stalls: i32,
    /// Number of its last event.
    pub seq: i64,
    pub attempt: i32,
    pub status: Status,
    pub cancel: Option<i64>,
    pub steps: BTreeMap<i32, Step>,
}

impl Run {
    pub fn new(id: Uuid, capped: bool, now: i64) -> Self {
        let (place, status) = (Place::Ready { priority: 100, at: now }, Status::Queued);
        let steps = BTreeMap::new();
        Self {
            id,
            capped,
            place,
            epoch: 0,
            stalls: 0,
            seq: 1,
            attempt: 0,
            status,
            cancel: None,
            steps,
        }
    }

    /// True for the claim that holds the run.
    pub fn is_held(&self, epoch: i64) -> bool {
        matches!(self.place, Place::Leased(_)) && self.epoch == epoch
    }

    pub fn open_step(&self) -> Option<i32> {
        self.steps.iter().find(|(_, step)| step.status == 0).map(|(number, _)| *number)
    }

    pub fn claim(&mut self, worker: Uuid) {
        self.place = Place::Leased(worker);
        (self.epoch, self.stalls, self.attempt) =
            (self.epoch + 1, self.stalls + 1, self.attempt + 1);
        (self.seq, self.status) = (self.seq + 1, Status::InProgress);
    }

    pub fn begin(&mut self, number: i32) {
        let fresh = Step { status: 0, result: None, attempt: 0, epoch: -1 };
        let step = self.steps.entry(number).or_insert(fresh);
        step.attempt += i32::from(step.epoch != self.epoch);
        step.epoch = self.epoch;
    }

    pub fn end_step(&mut self, number: i32, result: String) {
        let (epoch, step) = (self.epoch, self.steps.get_mut(&number).expect("a begun step"));
        (step.status, step.result, step.epoch) = (1, Some(result), epoch);
        (self.seq, self.stalls) = (self.seq + 1, 0);
    }

    /// Ends the run; once a cancel was asked for there is no other end.
    pub fn end(&mut self, status: Status) {
        self.status = if self.cancel.is_some() { Status::Cancelled } else { status };
        (self.seq, self.place) = (self.seq + 1, Place::Over);
    }

    pub fn park(&mut self, now: i64) {
        (self.seq, self.stalls) = (self.seq + 1, 0);
        (self.place, self.status) = (Place::Waiting(now + PATIENCE), Status::RequiresAction);
    }

    pub fn feed(&mut self, now: i64) {
        self.place = Place::Ready { priority: 50, at: now };
        (self.stalls, self.status) = (0, Status::InProgress);
    }

    pub fn give_back(&mut self, stalled: bool, now: i64) {
        let at = if stalled { now + backoff(self.stalls) } else { now };
        self.stalls = if stalled { self.stalls } else { (self.stalls - 1).max(0) };
        self.place = Place::Ready { priority: 0, at };
    }

    pub fn ask_cancel(&mut self, now: i64) {
        (self.cancel, self.seq, self.status) = (Some(now), self.seq + 1, Status::Cancelling);
        if !matches!(self.place, Place::Leased(_)) {
            self.end(Status::Cancelled);
        }
    }

    /// What a sweep makes of it.
    pub fn sweep(&mut self, now: i64) {
        match (self.place, self.cancel) {
            (Place::Over, _) => {}
            (Place::Waiting(until), _) if until <= now => self.end(Status::Expired),
            (Place::Leased(_), Some(asked)) if asked > now - CANCEL => {}
            (_, Some(_)) => self.end(Status::Cancelled),
            (_, None) => {}
        }
    }
}

fn backoff(stalls: i32) -> i64 {
    match stalls {
        ..=1 => 0,
        8.. => 60_000_000,
        some => (1 << (some - 2)) * 1_000_000,
    }
}

/// The runs that a claim of at most so many takes.
pub fn claimable(runs: &[Run], most: usize, now: i64) -> Vec<Uuid> {
    let leased = |run: &&Run| matches!(run.place, Place::Leased(_));
    let room = LANE_CAP - runs.iter().filter(leased).count();
    let key_room = KEY_CAP.saturating_sub(runs.iter().filter(leased).filter(|r| r.capped).count());
    let mut due: Vec<_> = runs
        .iter()
        .filter_map(|run| match run.place {
            Place::Ready { priority, at } if at <= now && run.cancel.is_none() => {
                Some((priority, at, run.id, run.capped))
            }
            _ => None,
        })
        .collect();
    due.sort_unstable();
    let mut capped = 0;
    due.retain(|(.., of_key)| {
        capped += usize::from(*of_key);
        !of_key || capped <= key_room
    });
    due.into_iter().take(most.min(room)).map(|(_, _, id, _)| id).collect()
}
