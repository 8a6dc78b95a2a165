//! Each guard is missed when it is gone: the model is run again, in a process without it, and must
//! see that store and model part.

use std::process::Command;

fn without(guards: &str) -> std::process::Output {
    let mut model = Command::new(std::env::current_exe().expect("this program"));
    model.args(["--exact", "model::steps::the_store_does_what_the_model_does", "--nocapture"]);
    model.env("RUNPLANE_FAULTS", guards).env("PROPTEST_MAX_SHRINK_ITERS", "0");
    model.output().expect("it runs")
}

#[test]
fn the_model_misses_the_fence_of_epochs() {
    missed("epoch");
}

#[test]
fn the_model_misses_the_guard_of_ended_steps() {
    missed("status");
}

#[test]
fn the_model_misses_the_hold_on_the_worker_that_claims() {
    missed("key_share");
}

fn missed(guard: &str) {
    let output = without(&format!("without:{guard}"));
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(!output.status.success() && said.contains("test result: FAILED"), "{guard}: {said}");
}
