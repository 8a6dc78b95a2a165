//! The program ends by itself, as `kill -9` would end it, when it comes to a point of the code for
//! the first to the sixth time; then it starts again on the same data. 16 points, 96 ends.

use std::os::unix::process::ExitStatusExt;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::future::join_all;
use runplane::kernel::{Clock, ids};
use runplane::store::{Store, StoreConfig, workers};
use tokio::sync::watch;

use super::check::{self, Count};
use super::load::{Load, Told, World};
use crate::harness::databases;
use crate::harness::process::Program;

/// How many times the program comes to a point before it ends there.
const HITS: u32 = 6;

/// Impatient, so that nothing that is a matter of time takes long.
pub const IMPATIENT: &str = "
[engine]
heartbeat_ms = 100
lease_ms = 300
poll_ms = 50
idle_ms = 100
drain_ms = 50
[auth]
pepper = 'a pepper for tests, of no worth'
";

/// Comes at least six times to every point of a run's way.
const WAY: Load = Load { adds: 2, asks: 1, stops: 1, holds: 0, one_by_one: false };
/// Claims one run at a time, six times.
const CLAIMS: Load = Load { adds: 0, asks: 4, stops: 0, holds: 0, one_by_one: true };
/// Ends seven runs.
const ENDS: Load = Load { adds: 1, asks: 4, stops: 2, holds: 0, one_by_one: false };
/// Parks and feeds six runs.
const WAITS: Load = Load { adds: 0, asks: 6, stops: 0, holds: 0, one_by_one: false };
/// Cancels six runs.
const CANCELS: Load = Load { adds: 0, asks: 0, stops: 6, holds: 0, one_by_one: false };
/// Holds more runs than six when the program is told to end.
const HOLDS: Load = Load { adds: 0, asks: 0, stops: 0, holds: 8, one_by_one: false };

macro_rules! points {
    ($($point:ident: $load:expr),* $(,)?) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $point() {
            let cases = (1..=HITS).map(|hit| on_sqlite(stringify!($point), hit, $load));
            report(stringify!($point), join_all(cases).await);
        })*
    };
}

points! {
    after_claim: CLAIMS,
    before_intent: WAY,
    after_intent: WAY,
    mid_tool: WAY,
    after_tool_before_commit: WAY,
    mid_commit_reply_lost: WAY,
    after_commit_before_publish: WAY,
    mid_delta: WAY,
    before_finish: ENDS,
    after_finish_before_publish: ENDS,
    in_park: WAITS,
    in_submit: WAITS,
    in_cancel: CANCELS,
    in_create: ENDS,
    in_drain: HOLDS,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_reap() {
    report("in_reap", join_all((1..=HITS).map(on_postgres)).await);
}

/// Ends the program at the point and checks what becomes of all runs.
async fn on_sqlite(point: &'static str, hit: u32, load: Load) -> Count {
    let mut program = Program::new(IMPATIENT);
    program.faults = format!("crash:{point}:{hit}");
    let api = program.start().await;
    let world = World::new(&api, program.url.subscribe()).await;
    let stories = world.begin(load);
    if load.holds > 0 {
        world.tools.until(|sent| sent.len() == load.holds).await;
        program.terminate();
    }
    crashed(&mut program, point).await;
    if load.holds > 0 {
        world.tools.release();
    }
    program.start().await;
    let told: Vec<Told> = stories.await;
    let count = check::check(&world, &told).await;
    program.kill().await;
    let url = format!("sqlite:{}", program.folder().join("runplane.db").display());
    check::left(StoreConfig { url, ..StoreConfig::default() }).await;
    count
}

/// Ends a replica while it takes over what so many others have left: one that was killed, and some
/// that had nothing under way.
async fn on_postgres(hit: u32) -> Count {
    let (config, _place) = databases::postgres_place(None).await;
    let mut first = Program::on(&config.url, IMPATIENT);
    let mut second = Program::on(&config.url, IMPATIENT);
    let api = first.start().await;
    let url = watch::Sender::new(Some(api.url.clone()));
    let world = World::new(&api, url.subscribe()).await;
    let load = Load { holds: 2, ..Load::default() };
    let stories = world.begin(load);
    world.tools.until(|sent| sent.len() == load.holds).await;
    first.kill().await;
    dead(&config, hit - 1).await;
    second.faults = format!("crash:in_reap:{hit}");
    second.start_with(&api.key).await;
    crashed(&mut second, "in_reap").await;
    world.tools.release();
    url.send_replace(Some(second.start().await.url));
    let told: Vec<Told> = stories.await;
    let count = check::check(&world, &told).await;
    second.kill().await;
    check::left(config).await;
    count
}

/// Adds workers that do not beat any more.
async fn dead(config: &StoreConfig, count: u32) {
    let store = Store::open(config, Clock::system()).await.expect("the store opens");
    let now = store.clock().now();
    for _ in 0..count {
        let id = ids::fresh(now);
        let register =
            store.tx("test.dead", move |tx| Box::pin(workers::register(tx, id, 0, now, now)));
        register.await.expect("a worker");
    }
    store.close().await;
}

/// Waits until the program has ended at the point, and nowhere else.
async fn crashed(program: &mut Program, point: &str) {
    let ended = program.ended().await;
    assert_eq!(ended.signal(), Some(6), "{point}: {ended}: {}", program.logged);
    program.logged.with(&format!("crash:{point}"), 1).await;
    program.faults.clear();
}

fn report(point: &str, counts: Vec<Count>) {
    static PASSED: AtomicUsize = AtomicUsize::new(0);
    let passed = PASSED.fetch_add(counts.len(), Ordering::Relaxed) + counts.len();
    let mut all = Count::default();
    let resumed: Vec<String> = counts.iter().map(|count| count.resumed.to_string()).collect();
    counts.into_iter().for_each(|count| all += count);
    let Count { runs, again, .. } = all;
    println!(
        "{point:<28} hits 1 to {HITS} passed: {runs:>2} runs, resumed {}, {again} calls in flight \
         sent again ({passed} of 96)",
        resumed.join(" "),
    );
}
