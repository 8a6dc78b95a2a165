//! The help, the completions and `docs/cli.md` say the same.

use std::process::Stdio;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::Shell;

const DOCUMENT: &str = include_str!("../../docs/cli.md");

/// The commands that a help lists.
fn listed(help: &str) -> Vec<String> {
    let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let lines = lines.take_while(|line| !line.is_empty());
    let names = lines.filter_map(|line| line.split_whitespace().next());
    names.filter(|name| *name != "help").map(str::to_owned).collect()
}

#[tokio::test]
async fn the_document_lists_the_commands_that_there_are() {
    let shell = Shell::new("", "");
    let mut commands = Vec::new();
    for command in listed(&shell.ok(&["--help"]).await) {
        let inner = listed(&shell.ok(&[&command, "--help"]).await);
        if inner.is_empty() {
            commands.push(command);
        } else {
            commands.extend(inner.iter().map(|inner| format!("{command} {inner}")));
        }
    }
    let rows = DOCUMENT.lines().filter_map(|line| line.strip_prefix("| `runplane "));
    let rows: Vec<&str> = rows.filter_map(|row| row.split('`').next()).collect();
    let documented: Vec<String> = rows
        .iter()
        .map(|row| {
            let words =
                row.split(' ').take_while(|word| word.chars().all(|c| c.is_ascii_lowercase()));
            words.collect::<Vec<_>>().join(" ")
        })
        .collect();
    assert_eq!(documented, commands);
}

#[tokio::test]
async fn the_exit_codes_are_the_same_in_the_help_and_in_the_document() {
    let help = Shell::new("", "").ok(&["--help"]).await;
    let codes = help.lines().skip_while(|line| *line != "Exit codes:").skip(1);
    let codes: Vec<_> = codes.take_while(|line| !line.is_empty()).map(str::trim).collect();
    assert_eq!(codes.len(), 8, "{help}");
    for line in codes {
        let (code, what) = line.split_once("  ").expect("a code and what it says");
        assert!(DOCUMENT.contains(&format!("| {code} | {what} |")), "{line}");
    }
}

#[tokio::test]
async fn every_shell_has_completions_and_bash_can_read_them() {
    let shell = Shell::new("", "");
    for name in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = shell.ok(&["completions", name]).await;
        assert!(script.contains("restore") && script.contains("idempotency-key"), "{name}");
    }
    let script = shell.ok(&["completions", "bash"]).await;
    let mut bash = Command::new("bash").arg("-n").stdin(Stdio::piped()).spawn().expect("bash");
    let mut input = bash.stdin.take().expect("an input");
    input.write_all(script.as_bytes()).await.expect("it reads");
    drop(input);
    assert!(bash.wait().await.expect("an end").success());
}
