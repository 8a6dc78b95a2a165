//! What is fuzzed: functions from any bytes to a panic, should a promise not hold. `main.rs` hands
//! them to libFuzzer; here, on every test run, they get their seeds and some damage to them.

#![expect(clippy::unwrap_used, reason = "tests")]

mod event_id;
mod json;
mod path;
mod query;

/// One target.
#[derive(Clone, Copy)]
pub struct Target {
    /// By which `run` knows it.
    pub name: &'static str,
    /// Panics where a promise does not hold.
    pub check: fn(&[u8]),
    /// Inputs to begin with, one a line.
    pub seeds: &'static str,
}

/// All of them.
pub const TARGETS: &[Target] = &[
    Target { name: "json", check: json::check, seeds: include_str!("seeds/json.txt") },
    Target { name: "path", check: path::check, seeds: include_str!("seeds/path.txt") },
    Target { name: "query", check: query::check, seeds: include_str!("seeds/query.txt") },
    Target { name: "event_id", check: event_id::check, seeds: include_str!("seeds/event_id.txt") },
];

/// Damaged copies of each seed.
const COPIES: u64 = 100;

#[test]
fn json_keeps_its_promises_over_seeds_and_damage() {
    replay("json");
}

#[test]
fn paths_keep_their_promises_over_seeds_and_damage() {
    replay("path");
}

#[test]
fn queries_keep_their_promises_over_seeds_and_damage() {
    replay("query");
}

#[test]
fn event_ids_keep_their_promises_over_seeds_and_damage() {
    replay("event_id");
}

fn replay(name: &str) {
    let target = TARGETS.iter().find(|target| target.name == name).unwrap();
    assert!(target.seeds.lines().count() >= 10, "few seeds");
    let mut random = 0x9e37_79b9_7f4a_7c15;
    for seed in target.seeds.lines() {
        (target.check)(seed.as_bytes());
        for _ in 0..COPIES {
            let mut bytes = seed.as_bytes().to_vec();
            damage(&mut bytes, &mut random);
            (target.check)(&bytes);
        }
    }
}

/// Changes, doubles or removes some bytes.
fn damage(bytes: &mut Vec<u8>, random: &mut u64) {
    let mut next = |below: usize| {
        *random ^= *random << 13;
        *random ^= *random >> 7;
        *random ^= *random << 17;
        usize::try_from(*random % u64::try_from(below).unwrap()).unwrap()
    };
    for _ in 0..=next(3) {
        if bytes.is_empty() {
            return;
        }
        let at = next(bytes.len());
        match next(4) {
            0 => bytes.truncate(at),
            1 => bytes[at] = u8::try_from(next(256)).unwrap(),
            2 => bytes[at] = b"\"{}[],:/%.=&01-eT"[next(17)],
            _ => bytes.extend_from_within(at..bytes.len().min(at + 9)),
        }
    }
}
