//! How much the store has to do, and what it still takes: above a limit no new runs, so that those
//! under way get on; far above it nothing. Fed by `store/mod.rs` and `postgres.rs`, asked by the
//! gateway. Never waits, never asks the database.

use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::kernel::config::StoreConfig;
use crate::kernel::{Error, Reason, Result};

/// How far above the limit everything is refused.
const ALL: f64 = 4.0;
/// Share of a limit below which what was refused is taken again: else it would go on and off.
const AGAIN: f64 = 0.5;
/// How much a new figure counts; how long it holds when none follows, and in which time it then
/// comes to half.
const WEIGHT: f64 = 0.2;
const HALF_LIFE_S: f64 = 1.0;

/// What is measured.
#[derive(Debug, Clone, Copy)]
enum Limit {
    /// Jobs under way and waiting.
    Jobs(f64),
    /// Milliseconds until a job gets a connection.
    WaitMs(f64),
}

/// How busy the store is.
#[derive(Debug)]
pub struct Load {
    limit: Limit,
    jobs: AtomicUsize,
    figure: Mutex<Figure>,
    /// 0: takes all; 1: no new runs; 2: nothing.
    level: AtomicU8,
}

#[derive(Debug)]
struct Figure {
    wait_ms: f64,
    measured: Instant,
    /// When a job last stopped waiting, or the first one began to.
    moved: Instant,
}

/// A job that waits or is done; it is over when this is dropped.
#[derive(Debug)]
pub(super) struct Waiting<'a> {
    load: &'a Load,
    begun: Instant,
}

impl Load {
    /// Of a store with one writer, whose queue fills.
    pub(super) fn of_queue(config: &StoreConfig) -> Self {
        let jobs = config.queue_jobs * config.shed_queue_percent / 100;
        Self::new(Limit::Jobs(number(jobs.max(1))))
    }

    /// Of a store with a pool, whose connections are waited for.
    pub(super) fn of_pool(config: &StoreConfig) -> Self {
        Self::new(Limit::WaitMs(f64::from(config.shed_wait_ms.max(1))))
    }

    fn new(limit: Limit) -> Self {
        let now = Instant::now();
        let figure = Mutex::new(Figure { wait_ms: 0.0, measured: now, moved: now });
        Self { limit, jobs: AtomicUsize::new(0), figure, level: AtomicU8::new(0) }
    }

    /// Notes that a job waits.
    pub(super) fn enter(&self) -> Waiting<'_> {
        let begun = Instant::now();
        if self.jobs.fetch_add(1, Ordering::Relaxed) == 0 {
            self.lock().moved = begun;
        }
        Waiting { load: self, begun }
    }

    /// Lets a call pass, or not, by what it does.
    ///
    /// # Errors
    /// `unavailable`.
    pub fn admit(&self, creates_run: bool) -> Result<()> {
        let level = next(self.level.load(Ordering::Relaxed), self.pressure());
        self.level.store(level, Ordering::Relaxed);
        if level == 2 || (level == 1 && creates_run) {
            let message = "the server has more to do than it can; it takes this again in a moment";
            return Err(Error::new(Reason::Unavailable, message).with("retry_after_s", "1"));
        }
        Ok(())
    }

    /// 1.0: at the limit.
    fn pressure(&self) -> f64 {
        let jobs = self.jobs.load(Ordering::Relaxed);
        match self.limit {
            Limit::Jobs(limit) => number(jobs) / limit,
            Limit::WaitMs(limit) => {
                let (figure, now) = (self.lock(), Instant::now());
                // While nobody gets a connection there is no figure but the wait itself.
                let still = if jobs > 0 { ms(now - figure.moved) } else { 0.0 };
                figure.at(now).max(still) / limit
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Figure> {
        self.figure.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let now = Instant::now();
        let mut figure = self.load.lock();
        let before = figure.at(now);
        figure.wait_ms = before + (ms(now - self.begun) - before) * WEIGHT;
        (figure.measured, figure.moved) = (now, now);
        self.load.jobs.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Figure {
    fn at(&self, now: Instant) -> f64 {
        let age_s = (now - self.measured).as_secs_f64() - HALF_LIFE_S;
        self.wait_ms * 0.5_f64.powf(age_s.max(0.0) / HALF_LIFE_S)
    }
}

fn next(level: u8, pressure: f64) -> u8 {
    let above = |limit: f64, held: bool| pressure >= limit || (held && pressure >= limit * AGAIN);
    if above(ALL, level == 2) {
        return 2;
    }
    u8::from(above(1.0, level >= 1))
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

#[expect(clippy::cast_precision_loss, reason = "a count of jobs")]
fn number(jobs: usize) -> f64 {
    jobs as f64
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Whether runs are created, and whether anything is done.
    fn takes(load: &Load) -> (bool, bool) {
        (load.admit(true).is_ok(), load.admit(false).is_ok())
    }

    #[test]
    fn a_queue_that_fills_takes_no_runs_first_and_nothing_last() {
        let load = Load::new(Limit::Jobs(4.0));
        let mut jobs: Vec<_> = (0..3).map(|_| load.enter()).collect();
        assert_eq!(takes(&load), (true, true));
        jobs.push(load.enter());
        assert_eq!(takes(&load), (false, true));
        jobs.truncate(2);
        assert_eq!(takes(&load), (false, true), "not yet");
        jobs.truncate(1);
        assert_eq!(takes(&load), (true, true));
        jobs.extend((0..15).map(|_| load.enter()));
        assert_eq!(takes(&load), (false, false));
        jobs.truncate(7);
        assert_eq!(takes(&load), (false, true));
    }

    #[tokio::test(start_paused = true)]
    async fn connections_that_are_waited_for_long_take_no_runs_for_a_while() {
        let load = Load::new(Limit::WaitMs(250.0));
        for _ in 0..20 {
            let waiting = load.enter();
            advance(100 * MS).await;
            drop(waiting);
        }
        assert_eq!(takes(&load), (true, true), "a tenth of a second is no harm");
        for _ in 0..20 {
            let waiting = load.enter();
            advance(400 * MS).await;
            drop(waiting);
        }
        assert_eq!(takes(&load), (false, true));
        advance(3000 * MS).await;
        assert_eq!(takes(&load), (true, true), "what was is forgotten");
    }

    #[tokio::test(start_paused = true)]
    async fn one_who_gets_no_connection_shows_it_while_it_waits() {
        let load = Load::new(Limit::WaitMs(250.0));
        let waiting = load.enter();
        advance(200 * MS).await;
        assert_eq!(takes(&load), (true, true));
        advance(100 * MS).await;
        assert_eq!(takes(&load), (false, true));
        advance(1000 * MS).await;
        assert_eq!(takes(&load), (false, false));
        drop(waiting);
        advance(5000 * MS).await;
        assert_eq!(takes(&load), (true, true));
    }
}
