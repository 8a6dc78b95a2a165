//! The fuzz targets under libFuzzer: `run` builds this with coverage counters and starts it. Which
//! target it is stands in the environment.

#![no_main]
#![expect(unreachable_pub, reason = "nobody imports a test")]

use std::sync::LazyLock;

#[path = "mod.rs"]
mod fuzz;
#[path = "../probe/mod.rs"]
mod probe;

static TARGET: LazyLock<fuzz::Target> = LazyLock::new(|| {
    let name = std::env::var("RUNPLANE_FUZZ_TARGET").unwrap_or_default();
    let found = fuzz::TARGETS.iter().find(|target| target.name == name);
    *found.unwrap_or_else(|| panic!("no such target: {name:?}"))
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| (TARGET.check)(data));
