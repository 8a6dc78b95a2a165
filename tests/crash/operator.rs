//! The program from its operator's side: what it prints, what it refuses, and what it keeps secret.

use std::os::unix::fs::PermissionsExt;
use std::process::Output;

use serde_json::json;

use crate::harness::process::{Api, Program, run};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_process_on_the_same_file_is_refused() {
    let mut program = Program::new("");
    let api = program.start().await;
    for arguments in [&["serve"][..], &["keys", "create"]] {
        let refused = program.command(arguments).await;
        assert_eq!((refused.status.code(), &*out(&refused)), (Some(1), ""));
        let why = err(&refused);
        assert!(why.contains("runplane.db is open in another process"), "{why}");
    }
    assert_eq!(api.get("/readyz").await.0, 200, "the first is not disturbed");
}

#[tokio::test]
async fn an_address_in_use_is_named_with_its_setting() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address");
    let program = Program::new(&format!("[server]\nlisten = \"{address}\""));
    let refused = program.command(&["serve"]).await;
    assert_eq!((refused.status.code(), &*out(&refused)), (Some(1), ""));
    let why = err(&refused);
    for named in [&*address.to_string(), "server.listen", "RUNPLANE__SERVER__LISTEN", "in use"] {
        assert!(why.contains(named), "{named}: {why}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_key_is_printed_once_and_secrets_are_for_the_owner_only() {
    let mut program = Program::new("");
    let first = program.start().await;
    let printed = program.printed.all();
    let expected = format!("First admin key, shown this once: {}", first.key);
    assert_eq!(printed, [expected]);
    let file = program.folder().join("runplane.db.secrets.json");
    let mode = std::fs::metadata(file).expect("a secrets file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    program.kill().await;
    let second = program.start().await;
    assert_eq!(program.printed.all(), Vec::<String>::new());
    assert_eq!(second.get("/v1/agents").await.0, 200, "the key still opens");
    assert!(!program.logged.to_string().contains(&first.key), "a key in the log");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_made_while_the_server_is_stopped() {
    let mut program = Program::new("");
    let made = program.command(&["keys", "create", "--name", "ci", "--scope", "read"]).await;
    assert_eq!((made.status.code(), &*err(&made)), (Some(0), ""));
    let key = out(&made).trim().to_owned();
    assert!(key.starts_with("sk_live_"), "{key}");
    let test = program.command(&["keys", "create", "--environment", "test"]).await;
    assert!(out(&test).starts_with("sk_test_"), "{test:?}");
    let reader = program.start_with(&key).await;
    assert_eq!(program.printed.all(), Vec::<String>::new(), "there is a key already");
    assert_eq!(reader.get("/v1/agents").await.0, 200);
    let (status, refused) = reader.post("/v1/agents", &json!({"name": "a", "model": "sim"})).await;
    assert_eq!((status, &refused["error"]["code"]), (403, &json!("insufficient_scope")));
    let writer = Api::new(&reader.url, out(&test).trim());
    let agent = json!({"name": "a", "model": "sim", "sim": {"turns": [{"text": "x"}]}});
    assert_eq!(writer.post("/v1/agents", &agent).await.0, 201);
}

#[tokio::test]
async fn check_tells_every_mistake_and_binds_nothing() {
    let right = Program::new("").command(&["check"]).await;
    assert_eq!((right.status.code(), &*err(&right)), (Some(0), ""));
    assert_eq!(out(&right), "the configuration is right\n");
    let wrong = "[server]\nbody_bytes_max = 1\n[engine]\npoll_ms = 0\nlease_ms = 1\n\
        [models]\nfast = \"nobody/model\"";
    let told = Program::new(wrong).command(&["check"]).await;
    assert_eq!((told.status.code(), &*out(&told)), (Some(1), ""));
    let told = err(&told);
    for name in ["server.body_bytes_max", "engine.poll_ms", "engine.lease_ms", "models.fast"] {
        assert!(told.contains(name), "{name} is not told: {told}");
    }
    let odd = Program::new("[server]\nlisten = \"here\"\n[log]\nfitler = \"info\"");
    let told = err(&odd.command(&["check"]).await);
    assert!(told.contains("server.listen") && told.contains("fitler"), "{told}");
    let nowhere = run(&["check", "--config", "/nowhere.toml"]).await;
    assert_eq!(err(&nowhere), "error: /nowhere.toml does not exist\n");
}

#[tokio::test]
async fn the_defaults_are_printed_and_are_a_right_configuration() {
    let printed = run(&["defaults"]).await;
    assert_eq!((printed.status.code(), &*err(&printed)), (Some(0), ""));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("runplane.toml");
    std::fs::write(&file, &printed.stdout).expect("the file is written");
    let checked = run(&["check", "--config", file.to_str().expect("UTF-8")]).await;
    assert_eq!(checked.status.code(), Some(0), "{checked:?}");
}

#[tokio::test]
async fn the_help_names_every_command() {
    let helped = run(&["--help"]).await;
    assert_eq!(helped.status.code(), Some(0));
    let (help, nothing) = (out(&helped), run(&[]).await);
    for command in ["demo", "serve", "check", "keys", "defaults"] {
        assert!(help.contains(&format!("\n  {command} ")), "{command}: {help}");
    }
    assert_eq!((nothing.status.code(), err(&nothing)), (Some(2), help));
    let serve = out(&run(&["serve", "--help"]).await);
    assert!(serve.contains("--config <FILE>") && serve.contains("RUNPLANE__"), "{serve}");
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("UTF-8")
}
