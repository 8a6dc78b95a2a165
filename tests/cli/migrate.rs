//! `runplane migrate`.

use crate::harness::databases;
use crate::harness::process::Program;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_schema_is_told_and_changed_and_a_server_may_be_asked_beside() {
    let mut program = Program::new("");
    let told = program.command(&["migrate", "--check"]).await;
    let out = String::from_utf8(told.stdout).expect("UTF-8");
    assert_eq!(told.status.code(), Some(7), "{out}");
    assert!(out.starts_with("missing: m0001_projects_and_keys\n"), "{out}");
    assert!(!program.folder().join("runplane.db").exists(), "a check changes nothing");

    let done = program.command(&["migrate"]).await;
    let out = String::from_utf8(done.stdout).expect("UTF-8");
    assert_eq!(done.status.code(), Some(0), "{out}");
    assert!(out.starts_with("changed: m0001_projects_and_keys\n"), "{out}");
    assert!(out.lines().last().expect("a line").starts_with("the schema was at none and is at m"));

    program.start().await;
    let again = program.command(&["migrate", "--check"]).await;
    assert_eq!(again.status.code(), Some(0), "{again:?}");
    let out = String::from_utf8(again.stdout).expect("UTF-8");
    assert!(out.ends_with("; nothing is missing\n"), "{out}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_postgres_it_is_the_same() {
    let (store, _place) = databases::postgres_place(None).await;
    let program = Program::on(&store.url, "[auth]\npepper = \"of no worth\"");
    for (arguments, code, start) in [
        (&["migrate", "--check"][..], 7, "missing: m0001"),
        (&["migrate"], 0, "changed: m0001"),
        (&["migrate"], 0, "the schema is at m"),
        (&["migrate", "--check"], 0, "the schema is at m"),
    ] {
        let done = program.command(arguments).await;
        let out = String::from_utf8(done.stdout).expect("UTF-8");
        assert_eq!(done.status.code(), Some(code), "{arguments:?}: {out}");
        assert!(out.starts_with(start), "{arguments:?}: {out}");
    }
    let refused = program.command(&["backup", "file"]).await;
    let why = String::from_utf8(refused.stderr).expect("UTF-8");
    assert_eq!(refused.status.code(), Some(2), "{why}");
    assert!(why.contains("pg_dump") && why.contains("pg_restore"), "{why}");
}
