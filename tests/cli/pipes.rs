//! A reader that goes away ends a command without a word, whatever the command.

use std::process::Stdio;

use tokio::time::timeout;

use super::{Shell, WAIT, speaker};
use crate::harness::app::App;
use crate::harness::process::Program;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_command_panics_when_its_output_is_closed() {
    let app = App::start().await;
    let shell = Shell::of(&app);
    let agent = shell.agent(&speaker("A", &"word ".repeat(200), 0)).await;
    let run = shell.ok(&["runs", "create", &agent, "x"]).await.trim().to_owned();
    let program = Program::new("");
    let config = program.config.to_str().expect("UTF-8");
    for arguments in [
        &["openapi"][..],
        &["defaults"],
        &["--help"],
        &["completions", "bash"],
        &["check", "--config", config],
        &["migrate", "--config", config],
        &["keys", "create", "--config", config],
        &["audit", "verify", "--config", config],
        &["demo", "--once", "--listen", "127.0.0.1:0"],
        &["agents", "list"],
        &["agents", "list", "--json"],
        &["agents", "get", &agent],
        &["agents", "invoke", &agent, "x"],
        &["runs", "list"],
        &["runs", "events", &run, "--json"],
        &["runs", "follow", &run],
        &["runs", "create", &agent, "x", "--follow", "--json"],
        &["keys", "list"],
        &["keys", "me"],
        &["export", "-"],
    ] {
        let mut child = shell.command(arguments).spawn().expect("it starts");
        drop(child.stdout.take());
        let ended = timeout(WAIT, child.wait_with_output()).await.expect("in time").expect("ended");
        let told = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(0), "{arguments:?}: {told}");
        assert!(!told.contains("error") && !told.contains("panicked"), "{arguments:?}: {told}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closed_error_output_changes_nothing() {
    let app = App::start().await;
    let shell = Shell::of(&app);
    let mut child = shell.command(&["agents", "get", "agt_no"]).stdin(Stdio::null()).spawn();
    let child = child.as_mut().expect("it starts");
    drop(child.stderr.take());
    let ended = timeout(WAIT, child.wait()).await.expect("in time").expect("an end");
    assert_eq!(ended.code(), Some(4));
}
