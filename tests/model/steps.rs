//! Steps in any order, on the model and on the store.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::history::History;
use super::system::System;

/// Steps of one history.
const LENGTH: usize = 80;
/// Histories at once: a lost answer is waited for.
const AT_ONCE: u32 = 4;

/// One step. A number chooses among those that there are; `true` loses the answer of its first
/// transaction.
#[derive(Debug, Clone, Copy)]
pub enum Op {
    Create {
        capped: bool,
    },
    Claim {
        worker: usize,
        most: usize,
        lost: bool,
    },
    Beat {
        worker: usize,
    },
    Reap {
        worker: usize,
        late: bool,
    },
    /// A worker forgets what it holds, and another begins.
    Crash {
        worker: usize,
    },
    Begin {
        held: usize,
        lost: bool,
    },
    End {
        held: usize,
        lost: bool,
    },
    /// Ends a step that has ended.
    EndAgain {
        held: usize,
    },
    Complete {
        held: usize,
        lost: bool,
    },
    ConfirmCancel {
        held: usize,
        lost: bool,
    },
    Park {
        held: usize,
        lost: bool,
    },
    Release {
        held: usize,
        stalled: bool,
        lost: bool,
    },
    Submit {
        run: usize,
        lost: bool,
    },
    Cancel {
        run: usize,
        lost: bool,
    },
    Sweep {
        lost: bool,
    },
    Pass {
        seconds: u64,
    },
}

fn op() -> impl Strategy<Value = Op> {
    let some = 0..1000_usize;
    let lost = || prop::bool::weighted(0.1);
    prop_oneof![
        3 => any::<bool>().prop_map(|capped| Op::Create { capped }),
        6 => (some.clone(), 1..4_usize, lost())
            .prop_map(|(worker, most, lost)| Op::Claim { worker, most, lost }),
        3 => some.clone().prop_map(|worker| Op::Beat { worker }),
        1 => (some.clone(), any::<bool>()).prop_map(|(worker, late)| Op::Reap { worker, late }),
        1 => some.clone().prop_map(|worker| Op::Crash { worker }),
        6 => (some.clone(), lost()).prop_map(|(held, lost)| Op::Begin { held, lost }),
        6 => (some.clone(), lost()).prop_map(|(held, lost)| Op::End { held, lost }),
        2 => some.clone().prop_map(|held| Op::EndAgain { held }),
        1 => (some.clone(), lost()).prop_map(|(held, lost)| Op::Complete { held, lost }),
        1 => (some.clone(), lost()).prop_map(|(held, lost)| Op::ConfirmCancel { held, lost }),
        2 => (some.clone(), lost()).prop_map(|(held, lost)| Op::Park { held, lost }),
        2 => (some.clone(), any::<bool>(), lost())
            .prop_map(|(held, stalled, lost)| Op::Release { held, stalled, lost }),
        3 => (some.clone(), lost()).prop_map(|(run, lost)| Op::Submit { run, lost }),
        1 => (some, lost()).prop_map(|(run, lost)| Op::Cancel { run, lost }),
        2 => lost().prop_map(|lost| Op::Sweep { lost }),
        2 => prop_oneof![0..3_u64, 9..12_u64, 59..62_u64].prop_map(|seconds| Op::Pass { seconds }),
    ]
}

/// Histories from one thread.
fn histories(cases: u32, done: &AtomicUsize) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    let system = runtime.block_on(System::open());
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let ops = prop::collection::vec(op(), LENGTH);
    let tried = TestRunner::new(config).run(&ops, |ops| {
        runtime.block_on(async {
            let mut history = History::begin(&system).await;
            for op in ops {
                history.step(op).await;
                done.fetch_add(1, Ordering::Relaxed);
            }
        });
        Ok(())
    });
    runtime.block_on(system.store.close());
    if let Err(error) = tried {
        panic!("{error}");
    }
}

/// So many steps as `PROPTEST_CASES` histories have: 256 unless it says otherwise.
#[test]
fn the_store_does_what_the_model_does() {
    let (cases, done) = (Config::default().cases.div_ceil(AT_ONCE), AtomicUsize::new(0));
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| histories(cases, &done));
        }
    });
    println!("{} steps in {:?}: store and model agree", done.into_inner(), begun.elapsed());
}
