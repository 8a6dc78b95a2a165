//! `runplane runs follow`: live, and through a server that is killed.

use std::net::TcpListener;
use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::time::timeout;

use super::{Shell, WAIT, asker, lines, speaker};
use crate::harness::app::App;
use crate::harness::process::Program;

/// A text of many tokens, each once.
fn long() -> String {
    (0..120).map(|number| format!("w{number} ")).collect::<String>() + "end."
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_text_comes_live_and_once_and_the_rest_beside_it() {
    let app = App::start().await;
    let shell = Shell::of(&app);
    let agent = shell.agent(&speaker("Long", &long(), 60)).await;
    let mut child = shell.command(&["runs", "create", &agent, "x", "--follow"]);
    let mut child = child.spawn().expect("it starts");
    let mut out = child.stdout.take().expect("an output");
    let mut first = [0; 4];
    timeout(WAIT, out.read_exact(&mut first)).await.expect("in time").expect("text");
    let listed = shell.json(&["runs", "list"]).await;
    assert_eq!(listed[0]["status"], "in_progress", "text came before the end");
    let mut rest = String::new();
    timeout(WAIT, out.read_to_string(&mut rest)).await.expect("in time").expect("text");
    let whole = String::from_utf8_lossy(&first).into_owned() + &rest;
    assert_eq!(whole, long() + "\n");
    let ended = timeout(WAIT, child.wait_with_output()).await.expect("in time").expect("an end");
    assert_eq!(ended.status.code(), Some(0));
    let told = String::from_utf8(ended.stderr).expect("UTF-8");
    assert_eq!(told, "the run is completed\n", "no progress where no terminal is");

    let id = listed[0]["id"].as_str().expect("an id");
    assert_eq!(shell.ok(&["runs", "follow", id]).await, long() + "\n", "also when it is over");
    assert_eq!(shell.ok(&["runs", "follow", id, "--after", "5"]).await, "");
    let events = shell.json(&["runs", "follow", id]).await;
    assert_eq!(events, shell.api().log(id).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tool_is_a_line_and_a_wait_says_how_it_goes_on() {
    let app = App::start().await;
    let shell = Shell::of(&app);
    let agent = shell.agent(&asker()).await;
    let mut child = shell.command(&["runs", "create", &agent, "x", "--follow"]);
    let mut child = child.spawn().expect("it starts");
    let mut told = BufReader::new(child.stderr.take().expect("notices")).lines();
    let mut next = async || timeout(WAIT, told.next_line()).await.expect("in time").expect("text");
    assert_eq!(next().await.as_deref(), Some("-> weather {\"city\":\"Oslo\"}"));
    assert_eq!(next().await.as_deref(), Some("waits for weather {\"city\":\"Oslo\"}"));
    let how = next().await.expect("a line");
    let words: Vec<&str> = how.split_whitespace().collect();
    let [.., "runplane", "runs", "submit", id, "--output", call] = words[..] else {
        panic!("{how}")
    };
    let output = call.replace("JSON", "{\"sky\": \"blue\"}");
    shell.ok(&["runs", "submit", id, "--output", &output]).await;
    let answered = next().await.expect("a line");
    assert!(answered.starts_with("<- weather {\"sky\":\"blue\"} ("), "{answered}");
    assert_eq!(next().await.as_deref(), Some("the run is completed"));
    let ended = timeout(WAIT, child.wait_with_output()).await.expect("in time").expect("an end");
    assert_eq!(String::from_utf8(ended.stdout).expect("UTF-8"), "It is blue.\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_goes_on_when_the_server_was_killed_and_came_back() {
    let free = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let mut program = Program::new(&format!("[server]\nlisten = \"{free}\""));
    let api = program.start().await;
    let shell = Shell::new(&api.url, &api.key);
    let agent = shell.agent(&speaker("Long", &long(), 40)).await;
    let id = shell.ok(&["runs", "create", &agent, "x"]).await.trim().to_owned();
    let follow = ["runs", "follow", &id, "--json"];
    let mut child = shell.command(&follow).stdin(Stdio::null()).spawn().expect("it starts");
    let mut out = BufReader::new(child.stdout.take().expect("an output")).lines();
    let mut seen: Vec<Value> = Vec::new();
    while seen.iter().filter(|event| event["type"] == "token").count() < 5 {
        let line = timeout(WAIT, out.next_line()).await.expect("in time").expect("text");
        seen.extend(lines(&line.expect("more events")));
    }
    program.kill().await;
    program.start().await;
    while let Some(line) = timeout(WAIT, out.next_line()).await.expect("in time").expect("text") {
        seen.extend(lines(&line));
    }
    let ended = timeout(WAIT, child.wait()).await.expect("in time").expect("an end");
    assert_eq!(ended.code(), Some(0));
    seen.retain(|event| event["type"] != "token");
    assert_eq!(seen, shell.api().log(&id).await, "every durable event once, in order");
    let types: Vec<_> = seen.iter().map(|event| &event["type"]).collect();
    assert!(types.contains(&&json!("run.resumed")), "{types:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_gives_up_on_a_server_that_stays_away() {
    let mut program = Program::new("");
    let api = program.start().await;
    let shell = Shell::new(&api.url, &api.key);
    let agent = shell.agent(&speaker("Long", &long(), 5)).await;
    let id = shell.ok(&["runs", "create", &agent, "x"]).await.trim().to_owned();
    let follow = ["runs", "follow", &id, "--timeout", "1"];
    let mut child = shell.command(&follow).spawn().expect("it starts");
    let mut out = child.stdout.take().expect("an output");
    let mut first = [0; 2];
    timeout(WAIT, out.read_exact(&mut first)).await.expect("in time").expect("text");
    program.kill().await;
    let ended = timeout(WAIT, child.wait_with_output()).await.expect("in time").expect("an end");
    let told = String::from_utf8(ended.stderr).expect("UTF-8");
    assert_eq!(ended.status.code(), Some(5), "{told}");
    assert!(told.starts_with("the stream has broken off; taking it up again\nerror: "), "{told}");
}
