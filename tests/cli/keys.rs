//! `runplane keys`, but for `create`, which tests/crash has.

use serde_json::json;

use super::Shell;
use crate::harness::app::App;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_listed_rotated_and_revoked_and_its_secret_is_told_once() {
    let app = App::start().await;
    let shell = Shell::of(&app);
    let mut listed = shell.json(&["keys", "list"]).await;
    let mut rest = shell.api().get("/v1/keys").await.1;
    let rest = rest["data"].as_array_mut().expect("a list");
    for key in listed.iter_mut().chain(&mut *rest) {
        // A call is noted after a while, so either list may have it.
        key.as_object_mut().expect("a key").remove("last_used_at");
    }
    assert_eq!(&listed, rest);
    let reader = listed.iter().find(|key| key["name"] == "read").expect("the reader's key");
    let id = reader["id"].as_str().expect("an id");
    assert_eq!(shell.json(&["keys", "get", id]).await[0], *reader);

    let rotated = shell.run(&["keys", "rotate", id, "--overlap", "0"]).await;
    assert_eq!(rotated.code, 0, "{rotated:?}");
    let secret = rotated.out.trim();
    assert!(secret.len() > 48 && !rotated.err.contains(secret), "{rotated:?}");
    let fresh = Shell::new(&app.url, secret);
    let me = fresh.json(&["keys", "me"]).await;
    assert_eq!(me[0]["scopes"], json!(["read"]));
    assert_eq!(Shell::new(&app.url, &app.reader).run(&["keys", "me"]).await.code, 3);

    let new = me[0]["key_id"].as_str().expect("an id");
    let revoked = shell.json(&["keys", "revoke", new]).await;
    assert!(revoked[0]["revoked_at"].is_string(), "{revoked:?}");
    assert_eq!(fresh.run(&["keys", "me"]).await.code, 3);

    let said = [
        shell.ok(&["keys", "list", "--all"]).await,
        shell.ok(&["keys", "get", new]).await,
        shell.ok(&["keys", "get", new, "--json"]).await,
        shell.ok(&["export", "-"]).await,
        shell.ok(&["runs", "--help"]).await,
        shell.ok(&["help", "keys", "list"]).await,
    ];
    for secret in [secret, &app.admin, &app.runner, &app.reader, &app.operator] {
        for text in &said {
            assert!(!text.contains(secret), "a secret in {text}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_comes_from_a_file_before_the_environment() {
    let app = App::start().await;
    let shell = Shell::new(&app.url, "of no worth");
    shell.file("key", &format!("{}\n", app.admin));
    assert_eq!(shell.run(&["keys", "me"]).await.code, 3);
    let me = shell.json(&["keys", "me", "--key-file", "key"]).await;
    assert_eq!(me[0]["scopes"], json!(["admin"]));
    let none = shell.run(&["keys", "me", "--key-file", "nowhere"]).await;
    assert_eq!(none.code, 2, "{none:?}");
}
