//! `runplane export`, `apply` and `import`.

use serde_json::json;
use tokio::io::AsyncReadExt;
use tokio::time::timeout;

use super::{Shell, WAIT, asker, speaker, text};
use crate::harness::app::App;

/// An agent and a key, as somebody writes them by hand.
const BY_HAND: &str = "\
agent:
  name: Greeter
  model: sim
  instructions: |
    Be kind.
    Be short.
  tools:
  - name: weather
    http: {url: \"https://tools.example/weather\"}
  sim:
    turns:
    - text: Hello
published: true
---
key:
  name: billing
  scopes: [run, read]
  limits:
    requests: {limit: 5, per_seconds: 60}
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_applied_is_unchanged_the_second_time() {
    let app = App::start().await;
    let shell = Shell::of(&app);
    let file = shell.file("all.yaml", BY_HAND);
    let plan = shell.run(&["apply", "-f", text(&file), "--dry-run"]).await;
    assert_eq!(plan.code, 7, "{plan:?}");
    assert!(plan.out.contains("  + agent Greeter is missing\n"), "{}", plan.out);
    assert_eq!(shell.json(&["agents", "list"]).await.len(), 0, "a dry run does nothing");

    let without = shell.run(&["apply", "-f", text(&file)]).await;
    assert_eq!(without.code, 7, "the key is only told as missing: {without:?}");
    let with = shell.run(&["apply", "-f", text(&file), "--create-keys"]).await;
    assert_eq!(with.code, 0, "{with:?}");
    let secret = with.out.lines().find_map(|line| line.strip_prefix("billing=")).expect("a secret");
    let billing = Shell::new(&app.url, secret);
    assert_eq!(billing.json(&["agents", "list"]).await.len(), 1, "the agent is published");

    for arguments in [&["--dry-run"][..], &["--create-keys"]] {
        let again = shell.run(&[&["apply", "-f", text(&file)], arguments].concat()).await;
        assert_eq!(again.code, 0, "{again:?}");
        assert!(again.out.ends_with("0 missing, 0 different, 2 unchanged\n"), "{}", again.out);
        assert!(!again.out.contains(secret));
    }
    assert_eq!(shell.json(&["agents", "list"]).await[0]["version"], 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_is_as_the_server_is_and_makes_another_the_same() {
    let (app, other) = (App::start().await, App::start().await);
    let (shell, there) = (Shell::of(&app), Shell::of(&other));
    let mut speaker = speaker("Speaker", "two\nlines: {{ input }}\n", 3);
    speaker["model_settings"] = json!({"temperature": 0.5, "stop_sequences": ["no", "12"]});
    speaker["metadata"] = json!({"team": "yes", "number": "007"});
    speaker["parameters"] = json!([{"name": "n", "type": "number", "default": 1.5}]);
    shell.agent(&speaker).await;
    let asked = shell.agent(&asker()).await;
    shell.agent(&asker()).await;
    shell.ok(&["agents", "publish", &asked]).await;

    let listed = shell.ok(&["export", "files"]).await;
    assert!(listed.contains("files/agents/asker.yaml\nfiles/agents/asker-2.yaml\n"), "{listed}");
    let same = shell.run(&["apply", "-f", "files", "--dry-run"]).await;
    assert_eq!(same.code, 0, "{same:?}");
    let piped = shell.ok(&["export", "-"]).await;
    let same = shell.fed(&["apply", "-f", "-", "--dry-run", "--json"], &piped).await;
    assert_eq!(same.code, 0, "{same:?}");
    let actions = super::lines(&same.out);
    assert!(actions.iter().all(|step| step["action"] == "unchanged"), "{actions:?}");

    // Of two with one name it cannot be said which is which where none is there yet.
    let twice = there.fed(&["import", "-", "--only", "agents"], &piped).await;
    assert_eq!(twice.code, 1, "{twice:?}");
    assert!(twice.err.contains("Asker is not one"), "{}", twice.err);
    std::fs::remove_file(shell.folder.path().join("files/agents/asker-2.yaml")).expect("a file");
    let files = shell.folder.path().join("files");
    let import = ["import", text(&files), "--only", "agents"];
    there.ok(&import).await;
    let definition = |agent: &serde_json::Value| {
        let mut agent = agent.clone();
        for own in ["id", "created_at", "updated_at", "etag"] {
            agent.as_object_mut().expect("an agent").remove(own);
        }
        agent
    };
    let mut ours = shell.json(&["agents", "list", "--all"]).await;
    ours.retain(|agent| agent["name"] == "Speaker" || agent["id"] == asked.as_str());
    let mut theirs = there.json(&["agents", "list", "--all"]).await;
    for agents in [&mut ours, &mut theirs] {
        agents.sort_by_key(|agent| agent["name"].to_string());
    }
    let all = |agents: &[serde_json::Value]| agents.iter().map(definition).collect::<Vec<_>>();
    assert_eq!(all(&ours), all(&theirs));
    let again = there.run(&[&import[..], &["--dry-run"]].concat()).await;
    assert_eq!(again.code, 0, "{again:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_shows_each_field_that_differs_and_apply_changes_those() {
    let app = App::start().await;
    let shell = Shell::of(&app);
    let file = shell.file("all.yaml", BY_HAND);
    shell.ok(&["apply", "-f", text(&file), "--create-keys"]).await;
    let edited = BY_HAND.replace("Be short.", "Be brief.").replace("limit: 5", "limit: 6");
    let edited = edited.replace("published: true", "published: false");
    let file = shell.file("all.yaml", &edited);
    let done = shell.run(&["apply", "-f", text(&file)]).await;
    assert_eq!(done.code, 0, "{done:?}");
    for part in [
        "    ~ instructions from line 2:\n      - Be short.\n      + Be brief.\n",
        "    ~ published: true -> false\n",
        "    ~ limits.requests.limit: 5 -> 6\n",
        "0 missing, 2 different, 0 unchanged\ndone: Greeter\ndone: billing\n",
    ] {
        assert!(done.out.contains(part), "{part}: {}", done.out);
    }
    let agent = &shell.json(&["agents", "list"]).await[0];
    assert_eq!((&agent["version"], &agent["published"]), (&json!(2), &json!(false)));

    // What is gone from a file is gone from the agent.
    let less = edited.replace("  instructions: |\n    Be kind.\n    Be brief.\n", "");
    let file = shell.file("all.yaml", &less);
    shell.ok(&["apply", "-f", text(&file)]).await;
    assert_eq!(shell.json(&["agents", "list"]).await[0]["instructions"], "");

    // Scopes stay as they were made.
    let file = shell.file("all.yaml", &less.replace("[run, read]", "[run]"));
    let stuck = shell.run(&["apply", "-f", text(&file)]).await;
    assert_eq!(stuck.code, 7, "{stuck:?}");
    assert!(stuck.out.contains("no key can change"), "{}", stuck.out);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_changed_after_the_plan_is_not_overwritten() {
    let app = App::start().await;
    let shell = Shell::of(&app);
    // A plan that no pipe holds: the command stands still until it is read.
    let long = |letter: &str| (0..12).map(|_| letter.repeat(4000) + "\n").collect::<String>();
    let mut old = speaker("Long", "x", 0);
    old["instructions"] = json!(long("a"));
    let mut new = old.clone();
    new["instructions"] = json!(long("b"));
    let id = shell.agent(&old).await;
    let file = shell.file("all.json", &json!({"agent": new}).to_string());
    let mut child = shell.command(&["apply", "-f", text(&file)]).spawn().expect("it starts");
    let mut out = child.stdout.take().expect("an output");
    let mut first = [0; 8];
    timeout(WAIT, out.read_exact(&mut first)).await.expect("in time").expect("a plan");
    let file = shell.file("change.yaml", "description: by somebody else\n");
    shell.ok(&["agents", "update", &id, "-f", text(&file)]).await;
    let mut plan = String::new();
    timeout(WAIT, out.read_to_string(&mut plan)).await.expect("in time").expect("a plan");
    let ended = timeout(WAIT, child.wait_with_output()).await.expect("in time").expect("an end");
    let told = String::from_utf8(ended.stderr).expect("UTF-8");
    assert_eq!(ended.status.code(), Some(3), "{told}");
    assert!(told.starts_with("error: precondition_failed: Long: "), "{told}");
    let agent = &shell.json(&["agents", "get", &id]).await[0];
    assert_eq!(agent["description"], "by somebody else");
    assert_eq!(agent["instructions"], old["instructions"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_document_is_refused_before_anything_is_done() {
    let app = App::start().await;
    let shell = Shell::of(&app);
    for (name, wrong, told) in [
        ("field", "agent: {name: A, model: sim, colour: red}", "colour"),
        ("limit", "agent: {name: A, model: x/y, max_steps: 0}", "max_steps"),
        ("kind", "agents: []", "agents is unknown"),
        ("both", "agent: {name: A}\nkey: {name: B}", "either agent: or key:"),
        ("yaml", "agent: [", "yaml.yaml"),
        ("twice", "agent: {name: A, name: B}", "name"),
        ("key", "key: {scopes: [run]}", "name is required"),
    ] {
        let folder = format!("{name}/all.yaml");
        shell.file(&folder, BY_HAND);
        shell.file(&format!("{name}/{name}.yaml"), wrong);
        let refused = shell.run(&["apply", "-f", name, "--create-keys"]).await;
        assert_eq!(refused.code, 2, "{name}: {refused:?}");
        assert!(refused.err.contains(told), "{name}: {}", refused.err);
    }
    assert_eq!(shell.json(&["agents", "list"]).await.len(), 0);
    assert_eq!(shell.run(&["apply", "-f", "nowhere"]).await.code, 2);
    std::fs::create_dir(shell.folder.path().join("empty")).expect("a folder");
    assert_eq!(shell.run(&["apply", "-f", "empty"]).await.code, 2);
}
