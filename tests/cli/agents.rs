//! `runplane agents`.

use super::{Shell, speaker, text};
use crate::harness::app::App;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_goes_from_a_file_to_its_end() {
    let app = App::start().await;
    let shell = Shell::of(&app);
    let file = shell.file(
        "greeter.yaml",
        "name: Greeter\nmodel: sim\ninstructions: |\n  Be kind.\n  Be short.\nsim:\n  turns:\n  \
         - text: \"Hello, {{ input }}!\"\n",
    );
    let made = shell.json(&["agents", "create", "-f", text(&file), "--publish"]).await;
    let id = made[0]["id"].as_str().expect("an id").to_owned();
    assert_eq!(made[0], shell.api().get(&format!("/v1/agents/{id}")).await.1);
    assert_eq!(made[0]["published"], true);

    let table = shell.ok(&["agents", "list"]).await;
    let row: Vec<&str> = table.lines().nth(1).expect("a row").split_whitespace().collect();
    assert_eq!(row[..5], [&*id, "Greeter", "sim", "1", "true"], "{table}");

    // What `get` shows can be edited and given back.
    let shown = shell.ok(&["agents", "get", &id]).await;
    assert!(shown.contains("instructions: |\n  Be kind.\n  Be short.\n"), "{shown}");
    let edited = shown.replace("Be short.", "Be brief.");
    let tag = made[0]["etag"].as_str().expect("a tag").to_owned();
    let update = ["agents", "update", &id, "-f", "-", "--if-match", &tag];
    let done = shell.fed(&update, &edited).await;
    assert_eq!(done.code, 0, "{done:?}");
    let stale = shell.fed(&update, &edited).await;
    assert_eq!(stale.code, 3, "{stale:?}");
    assert!(stale.err.starts_with("error: precondition_failed: "), "{}", stale.err);

    let versions = shell.json(&["agents", "versions", &id]).await;
    let listed = shell.api().get(&format!("/v1/agents/{id}/versions")).await.1;
    assert_eq!(versions, *listed["data"].as_array().expect("a list"));
    let first = shell.json(&["agents", "get", &id, "--version", "1"]).await;
    assert_eq!(first[0]["agent"]["instructions"], "Be kind.\nBe short.\n");

    let taken = shell.json(&["agents", "unpublish", &id]).await;
    assert_eq!(taken[0]["published"], false);
    assert_eq!(shell.ok(&["agents", "invoke", &id, "Ada"]).await, "Hello, Ada!\n");
    assert_eq!(shell.ok(&["agents", "delete", &id]).await, "");
    assert_eq!(shell.run(&["agents", "get", &id]).await.code, 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_goes_on_by_its_cursor_and_whole_by_all() {
    let app = App::start().await;
    let shell = Shell::of(&app);
    for number in 0..103 {
        shell.agent(&speaker(&format!("Agent {number}"), "x", 0)).await;
    }
    let mut done = shell.run(&["agents", "list", "--limit", "40", "--json"]).await;
    let mut all = super::lines(&done.out);
    while let Some((_, cursor)) = done.err.trim().split_once("--cursor ") {
        let next = ["agents", "list", "--limit", "40", "--cursor", cursor, "--json"];
        done = shell.run(&next).await;
        all.extend(super::lines(&done.out));
    }
    assert_eq!(all.len(), 103);
    let listed = shell.api().get("/v1/agents?limit=100").await.1;
    assert_eq!(all[..100], listed["data"].as_array().expect("a list")[..]);
    assert_eq!(shell.json(&["agents", "list", "--all"]).await, all);
    let none = shell.json(&["agents", "list", "--published", "true"]).await;
    assert!(none.is_empty(), "{none:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_update_changes_what_the_file_names_and_nothing_else() {
    let app = App::start().await;
    let shell = Shell::of(&app);
    let id = shell.agent(&speaker("Old", "x", 7)).await;
    let file = shell.file("change.json", "{\"name\": \"New\", \"metadata\": {\"a\": \"b\"}}");
    let changed = shell.json(&["agents", "update", &id, "-f", text(&file)]).await;
    assert_eq!(changed[0]["name"], "New");
    assert_eq!(changed[0]["metadata"]["a"], "b");
    assert_eq!(changed[0]["sim"]["tokens_per_second"], 7);
    let file = shell.file("odd.yaml", "nmae: New\n");
    let odd = shell.run(&["agents", "update", &id, "-f", text(&file)]).await;
    assert_eq!(odd.code, 2, "{odd:?}");
    assert!(odd.err.contains("odd.yaml") && odd.err.contains("nmae"), "{}", odd.err);
}
