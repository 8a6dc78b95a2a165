//! `runplane backup` and `runplane restore`: under load, and what they refuse.

use std::os::unix::fs::PermissionsExt;
use std::process::Output;

use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{speaker, text};
use crate::harness::process::{Api, Program};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_under_load_has_what_was_answered_before_it() {
    let mut program = Program::new("");
    let api = program.start().await;
    let agent = api.agent(&speaker("Busy", "{{ input }}", 0)).await;
    let mut load = JoinSet::new();
    for caller in 0..4 {
        load.spawn(call(api.clone(), agent.clone(), caller));
    }
    let before = loop {
        let runs = runs(&api).await;
        if runs.len() >= 40 {
            break runs;
        }
    };
    let file = program.folder().join("backup");
    let made = program.command(&["backup", text(&file)]).await;
    assert_eq!(made.status.code(), Some(0), "{made:?}");
    let mode = std::fs::metadata(&file).expect("a backup").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(api.get("/readyz").await.0, 200);
    program.kill().await;
    load.shutdown().await;

    let mut other = Program::new("");
    let restored = other.command(&["restore", text(&file)]).await;
    assert_eq!(restored.status.code(), Some(0), "{restored:?}");
    let there = other.start_with(&api.key).await;
    assert_eq!(other.printed.all(), Vec::<String>::new(), "it has its keys");
    let after = runs(&there).await;
    for id in &before {
        assert!(after.contains(id), "{id} is lost");
        assert_eq!(there.settled(id).await["status"], "completed");
    }
    other.terminate();
    other.ended().await;
    let verified = other.command(&["audit", "verify"]).await;
    assert_eq!(verified.status.code(), Some(0), "{verified:?}");
    let left: Vec<_> = std::fs::read_dir(other.folder()).expect("a folder").collect();
    let partial = |path: &str| path.contains(".partial");
    let names = left.iter().flatten().map(|entry| entry.file_name().display().to_string());
    assert_eq!(names.filter(|name| partial(name)).count(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_replaces_only_what_it_is_told_to() {
    let mut program = Program::new("");
    let api = program.start().await;
    api.agent(&speaker("First", "x", 0)).await;
    let file = program.folder().join("backup");
    let made = out(&program.command(&["backup", text(&file)]).await);
    let sha256 = made.lines().find_map(|line| line.strip_prefix("sha256 ")).expect("a digest");
    api.agent(&speaker("Second", "x", 0)).await;

    let twice = program.command(&["backup", text(&file)]).await;
    refused(&twice, "exists already");
    let held = program.command(&["restore", text(&file), "--force"]).await;
    refused(&held, "is open in another process");
    program.kill().await;
    let there = program.command(&["restore", text(&file)]).await;
    refused(&there, "--force replaces it");
    let other = "0".repeat(64);
    let digest = program.command(&["restore", text(&file), "--force", "--sha256", &other]).await;
    refused(&digest, sha256);

    // What is refused has changed nothing.
    let api = program.start().await;
    let names = |page: &Value| page["data"].as_array().map_or(0, Vec::len);
    assert_eq!(names(&api.get("/v1/agents").await.1), 2);
    program.kill().await;
    let done = program.command(&["restore", text(&file), "--force", "--sha256", sha256]).await;
    assert_eq!(done.status.code(), Some(0), "{done:?}");
    let api = program.start().await;
    assert_eq!(names(&api.get("/v1/agents").await.1), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_whole_or_no_backup_is_refused() {
    let mut program = Program::new("");
    let api = program.start().await;
    for number in 0..40 {
        let text = "x".repeat(4000);
        api.agent(&speaker(&format!("Agent {number}"), &text, 0)).await;
    }
    let file = program.folder().join("backup");
    program.command(&["backup", text(&file)]).await;
    let whole = std::fs::read(&file).expect("a backup");
    let other = Program::new("");
    let half = other.folder().join("half");
    std::fs::write(&half, &whole[..whole.len() / 2]).expect("the file is written");
    refused(&other.command(&["restore", text(&half)]).await, text(&half));
    let mut torn = whole.clone();
    let middle = torn.len() / 2;
    torn[middle..middle + 4096].fill(0xa5);
    std::fs::write(&half, &torn).expect("the file is written");
    refused(&other.command(&["restore", text(&half)]).await, text(&half));
    std::fs::write(&half, "no database").expect("the file is written");
    refused(&other.command(&["restore", text(&half)]).await, text(&half));

    // A database is no backup: its secrets are not in it.
    program.terminate();
    program.ended().await;
    let plain = program.folder().join("runplane.db");
    refused(&other.command(&["restore", text(&plain)]).await, "is no backup");
    assert!(!other.folder().join("runplane.db").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pepper_of_the_configuration_is_not_in_a_backup_and_must_be_the_same_again() {
    let mut program = Program::new("[auth]\npepper = \"first pepper\"");
    program.start().await;
    let file = program.folder().join("backup");
    let made = program.command(&["backup", text(&file)]).await;
    let told = String::from_utf8(made.stderr).expect("UTF-8");
    assert!(told.contains("does not hold the pepper"), "{told}");
    let bytes = std::fs::read(&file).expect("a backup");
    assert!(!bytes.windows(12).any(|part| part == b"first pepper"));
    let other = Program::new("[auth]\npepper = \"second pepper\"");
    refused(&other.command(&["restore", text(&file)]).await, "auth.pepper is not the one");
    let none = Program::new("");
    refused(&none.command(&["restore", text(&file)]).await, "set auth.pepper");
    let same = Program::new("[auth]\npepper = \"first pepper\"");
    let done = same.command(&["restore", text(&file)]).await;
    assert_eq!(done.status.code(), Some(0), "{done:?}");
}

#[cfg(feature = "faults")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_of_a_version_that_has_left_this_one_behind_is_refused() {
    let other = Program::new("");
    for (version, code) in [("with:newest", 1), ("with:newer", 0)] {
        let mut program = Program::new("");
        version.clone_into(&mut program.faults);
        program.start().await;
        let file = program.folder().join("backup");
        let made = program.command(&["backup", text(&file)]).await;
        assert_eq!(made.status.code(), Some(0), "{made:?}");
        let restored = other.command(&["restore", text(&file)]).await;
        assert_eq!(restored.status.code(), Some(code), "{restored:?}");
        if code == 1 {
            refused(&restored, "the database has the change newer");
        }
    }
}

/// Starts runs as fast as they are answered, until none is.
async fn call(api: Api, agent: String, caller: usize) {
    for number in 0.. {
        let body = json!({"agent_id": agent, "input": format!("{caller} {number}")});
        let request = api.request(Method::POST, "/v1/runs").json(&body);
        if request.send().await.is_err() {
            return;
        }
    }
}

/// The ids of all runs.
async fn runs(api: &Api) -> Vec<String> {
    let mut ids = Vec::new();
    let mut cursor = String::new();
    loop {
        let (_, page) = api.get(&format!("/v1/runs?limit=100&cursor={cursor}")).await;
        let runs = page["data"].as_array().expect("a list");
        ids.extend(runs.iter().map(|run| run["id"].as_str().expect("an id").to_owned()));
        match page["next_cursor"].as_str() {
            Some(next) => next.clone_into(&mut cursor),
            None => return ids,
        }
    }
}

fn refused(output: &Output, why: &str) {
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains(why), "{why}: {told}");
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}
