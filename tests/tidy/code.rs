//! Rules about our Rust: sizes, names, and what has only one lawful home.

use super::source::{Fault, Source, rust, services};

/// Most lines of a file, without its unit tests.
const LINES_MAX: usize = 400;

/// Most characters of a line.
const COLUMNS_MAX: usize = 100;

/// Names that say nothing about what lives in the file.
const EMPTY_NAMES: &[&str] = &["utils", "util", "common", "helpers", "helper", "manager", "types"];

/// Files of `services/` that may start a task by hand, each with the owner that awaits it.
const SPAWNERS: &[(&str, &str)] = &[];

/// Files of `tests/` that may sleep, each with the reason.
const SLEEPERS: &[(&str, &str)] = &[];

/// What only some files may write, and what to write instead.
struct Home {
    words: &'static [&'static str],
    homes: &'static [&'static str],
    instead: &'static str,
}

const STATUS: Home = Home {
    words: &[
        "Status::new(",
        "Status::ok(",
        "Status::cancelled(",
        "Status::unknown(",
        "Status::invalid_argument(",
        "Status::deadline_exceeded(",
        "Status::not_found(",
        "Status::already_exists(",
        "Status::permission_denied(",
        "Status::resource_exhausted(",
        "Status::failed_precondition(",
        "Status::aborted(",
        "Status::out_of_range(",
        "Status::unimplemented(",
        "Status::internal(",
        "Status::unavailable(",
        "Status::data_loss(",
        "Status::unauthenticated(",
        "Status::from_error(",
        "Status::with_details(",
        "Status::with_metadata(",
        "Status::with_error_details(",
    ],
    homes: &["services/kernel/reply.rs"],
    instead: "return a kernel::Error; kernel/reply.rs makes the status",
};

const TIME: Home = Home {
    words: &["SystemTime::now", "Utc::now", "now_utc(", "now_local(", "Uuid::now_v7"],
    homes: &["services/kernel/clock.rs"],
    instead: "ask the kernel::Clock that was handed in",
};

const ENVIRONMENT: Home = Home {
    words: &["env::var", "env::set_var", "env::remove_var", "Env::prefixed", "Env::raw"],
    homes: &[
        "services/kernel/config.rs",
        "services/kernel/config/mod.rs",
        // In test builds only.
        "services/kernel/faults.rs",
    ],
    instead: "add a key to kernel/config.toml",
};

#[test]
fn every_file_says_what_lives_in_it() {
    check(&rust(), nameless);
    assert_eq!(nameless(&Source::new("x.rs", "// x\nfn f() {}")).len(), 1);
    assert_eq!(nameless(&Source::new("x.rs", "//! X.\n")).len(), 0);
}

#[test]
fn no_file_is_longer_than_a_reader_can_hold() {
    check(&rust(), long);
    assert_eq!(long(&Source::new("x.rs", &"fn f() {}\n".repeat(LINES_MAX))).len(), 0);
    assert_eq!(long(&Source::new("x.rs", &"fn f() {}\n".repeat(LINES_MAX + 1))).len(), 1);
}

#[test]
fn no_line_is_wider_than_the_page() {
    check(&rust(), wide);
    assert_eq!(wide(&Source::new("x.rs", &"é".repeat(COLUMNS_MAX))).len(), 0);
    assert_eq!(wide(&Source::new("x.rs", &"x".repeat(COLUMNS_MAX + 1))).len(), 1);
}

#[test]
fn no_name_is_empty_of_meaning() {
    check(&rust(), meaningless);
    assert_eq!(meaningless(&Source::new("services/store/utils.rs", "")).len(), 1);
    assert_eq!(meaningless(&Source::new("services/common/mod.rs", "")).len(), 1);
    assert_eq!(meaningless(&Source::new("services/store/runs.rs", "")).len(), 0);
}

#[test]
fn no_task_runs_without_an_owner() {
    check(&services(), orphans);
    let odd = |text: &str| orphans(&Source::new("services/x.rs", text)).len();
    assert_eq!(odd("fn f() { tokio::spawn(async {}); }"), 1);
    assert_eq!(odd("fn f() { tokio::task::spawn(g()); }"), 1);
    assert_eq!(odd("use tokio::task::spawn;"), 1);
    assert_eq!(odd("fn f(t: &TaskTracker) { t.spawn(g()); } // tokio::spawn("), 0);
}

#[test]
fn only_the_reply_makes_a_status() {
    check(&services(), |source| homeless(source, &STATUS));
    let odd = |text: &str| homeless(&Source::new("services/runs/get.rs", text), &STATUS).len();
    assert_eq!(odd("fn f() -> Status { tonic::Status::internal(\"x\") }"), 1);
    assert_eq!(odd("fn f(e: Error) -> Status { HttpStatus::new(1); Status::from(e) }"), 0);
}

#[test]
fn only_the_clock_reads_the_time() {
    check(&services(), |source| homeless(source, &TIME));
    let odd = Source::new("services/runs/get.rs", "let t = std::time::SystemTime::now();");
    assert_eq!(homeless(&odd, &TIME).len(), 1);
    let home = Source::new("services/kernel/clock.rs", "let t = SystemTime::now();");
    assert_eq!(homeless(&home, &TIME).len(), 0);
}

#[test]
fn only_the_configuration_reads_the_environment() {
    check(&services(), |source| homeless(source, &ENVIRONMENT));
    let odd = Source::new("services/main.rs", "let v = std::env::var(\"HOME\");");
    assert_eq!(homeless(&odd, &ENVIRONMENT).len(), 1);
}

#[test]
fn no_test_sleeps() {
    check(&rust(), sleeps);
    let odd = |path: &str, text: &str| sleeps(&Source::new(path, text)).len();
    assert_eq!(odd("tests/x.rs", "tokio::time::sleep(d).await"), 1);
    assert_eq!(odd("services/x.rs", "#[cfg(test)]\nmod tests { fn f() { thread::sleep(d) } }"), 1);
    assert_eq!(odd("services/x.rs", "fn f() { tokio::time::sleep(d) }"), 0);
}

#[test]
fn no_rest_route_is_written_by_hand() {
    check(&services(), routes);
    let odd = |path: &str| routes(&Source::new(path, "r.route(\"/v1/agents\", get(f))")).len();
    assert_eq!(odd("services/gateway/mod.rs"), 1);
    assert_eq!(odd("services/demo.rs"), 0);
}

/// Fails with every fault of every file.
fn check(sources: &[Source], rule: impl Fn(&Source) -> Vec<Fault>) {
    let faults: Vec<_> = sources.iter().flat_map(rule).collect();
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

fn nameless(source: &Source) -> Vec<Fault> {
    let ok = source.text.starts_with("//! ");
    (!ok).then(|| source.fault(0, "opens without `//!`: what lives here?")).into_iter().collect()
}

fn long(source: &Source) -> Vec<Fault> {
    let lines = source.lines();
    let what = format!("{lines} lines without tests, more than {LINES_MAX}: split it by noun");
    (lines > LINES_MAX).then(|| source.fault(0, &what)).into_iter().collect()
}

fn wide(source: &Source) -> Vec<Fault> {
    let mut at = 0;
    let mut faults = Vec::new();
    for line in source.text.split_inclusive('\n') {
        let columns = line.trim_end().chars().count();
        if columns > COLUMNS_MAX {
            faults.push(source.fault(at, &format!("{columns} columns, more than {COLUMNS_MAX}")));
        }
        at += line.len();
    }
    faults
}

fn meaningless(source: &Source) -> Vec<Fault> {
    let names = source.path.trim_end_matches(".rs").split('/');
    let odd = names.filter(|name| EMPTY_NAMES.contains(name));
    odd.map(|name| source.fault(0, &format!("`{name}` says nothing about what is in it"))).collect()
}

fn orphans(source: &Source) -> Vec<Fault> {
    if SPAWNERS.iter().any(|(path, _)| *path == source.path) {
        return Vec::new();
    }
    let calls = ["tokio::spawn", "task::spawn(", "tokio::task::spawn;", "task::spawn_blocking("];
    let mut places: Vec<_> = calls.iter().flat_map(|call| source.mentions(call)).collect();
    places.extend(source.mentions("thread::spawn("));
    places.sort_unstable();
    let what = "a task without an owner: use a TaskTracker or JoinSet that somebody awaits";
    places.into_iter().map(|at| source.fault(at, what)).collect()
}

fn homeless(source: &Source, home: &Home) -> Vec<Fault> {
    if home.homes.contains(&source.path.as_str()) {
        return Vec::new();
    }
    let fault = |word: &&str| {
        let places = source.mentions(word).into_iter();
        places.map(|at| source.fault(at, &format!("{word}: {}", home.instead))).collect::<Vec<_>>()
    };
    home.words.iter().flat_map(fault).collect()
}

fn sleeps(source: &Source) -> Vec<Fault> {
    let excused = SLEEPERS.iter().any(|(path, _)| *path == source.path);
    let product = !source.path.starts_with("tests/");
    // In the product only unit tests count: what `bare` leaves out.
    let whole = super::source::Source::new("all", &source.text);
    let count = |s: &Source| ["time::sleep(", "thread::sleep("].map(|w| s.mentions(w));
    let mine: Vec<usize> = if product { count(source).concat() } else { Vec::new() };
    let places = count(&whole).concat().into_iter().filter(|at| !mine.contains(at) && !excused);
    let what = "a test never sleeps: advance the clock, or wait for what should happen";
    places.map(|at| source.fault(at, what)).collect()
}

fn routes(source: &Source) -> Vec<Fault> {
    let homes = ["services/demo", "services/kernel/config"];
    if homes.iter().any(|home| source.path.starts_with(home)) {
        return Vec::new();
    }
    let places = source.code.match_indices("\"/v1").map(|(at, _)| at);
    let what = "a REST path by hand: the annotations in proto/ are the only source";
    places.map(|at| source.fault(at, what)).collect()
}
