//! What a command tells when it fails, and the exit code.

use std::net::TcpListener;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::json;

use super::{Shell, speaker, text};
use crate::harness::app::{App, Options};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_failure_has_its_exit_code_and_its_body() {
    let app = App::start().await;
    let shell = Shell::of(&app);
    let agent = shell.agent(&speaker("A", "x", 0)).await;
    let (reader, nobody) = (Shell::new(&app.url, &app.reader), Shell::new(&app.url, ""));
    let wrong = Shell::new(&app.url, "sk_live_wrong");
    for (shell, arguments, code, reason) in [
        (&shell, vec!["agents", "get", "agt_no"], 4, "agent_not_found"),
        (&shell, vec!["runs", "follow", "run_no"], 4, "run_not_found"),
        (&shell, vec!["runs", "list", "--cursor", "x"], 3, "invalid_cursor"),
        (&reader, vec!["runs", "create", &agent, "x"], 3, "insufficient_scope"),
        (&nobody, vec!["agents", "list"], 3, "missing_api_key"),
        (&wrong, vec!["agents", "list"], 3, "invalid_api_key"),
        (&wrong, vec!["export", "-"], 3, "invalid_api_key"),
        (&shell, vec!["agents", "update", &agent, "-f", "no.yaml"], 2, "usage"),
    ] {
        let told = shell.run(&[&arguments[..], &["--json"]].concat()).await;
        let failure = told.failure();
        assert_eq!((told.code, &failure["code"]), (code, &json!(reason)), "{arguments:?}");
        let plain = shell.run(&arguments).await;
        assert_eq!((plain.code, &*plain.out), (code, ""), "{plain:?}");
        let message = failure["message"].as_str().expect("a message");
        assert!(plain.err.starts_with("error: ") && plain.err.contains(message), "{plain:?}");
        if code > 2 {
            assert!(plain.err.contains("\n  request: req_"), "{plain:?}");
            assert!(failure["request_id"].as_str().expect("an id").starts_with("req_"));
        }
    }
    let field = shell.run(&["agents", "list", "--cursor", "x", "--json"]).await;
    let rest = shell.api().get("/v1/agents?cursor=x").await.1;
    let (mut told, mut rest) = (field.failure(), rest["error"].clone());
    for body in [&mut told, &mut rest] {
        body["request_id"] = json!("");
    }
    assert_eq!(told, rest, "the body is that of the REST API");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_does_not_answer_is_told_apart_from_one_that_refuses() {
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = silent.local_addr().expect("an address");
    let shell = Shell::new(&format!("http://{address}"), "x");
    for arguments in [&["agents", "list"][..], &["runs", "follow", "run_x"]] {
        let late = shell.run(&[arguments, &["--timeout", "1"]].concat()).await;
        assert_eq!(late.code, 5, "{late:?}");
    }
    drop(silent);
    let gone = shell.run(&["agents", "list", "--json"]).await;
    assert_eq!((gone.code, &gone.failure()["code"]), (5, &json!("unavailable")));
    let why = gone.failure()["message"].to_string();
    assert!(why.contains(&address.to_string()) && why.contains("refused"), "{why}");
}

#[tokio::test]
async fn wrong_arguments_end_with_two() {
    let shell = Shell::new("http://127.0.0.1:1", "x");
    for arguments in [
        &["nothing"][..],
        &["agents", "list", "--limit", "101"],
        &["agents", "list", "--limit", "1", "--all"],
        &["agents", "list", "--url", "ftp://x"],
        &["agents", "list", "--url", "no url"],
        &["agents", "list", "--ca", "nowhere", "--url", "https://x"],
        &["runs", "list", "--status", "odd"],
        &["runs", "create", "agt_x", "--input-json", "{"],
        &["runs", "create", "agt_x", "a", "-p", "nothing"],
        &["agents", "list", "--key", "two\nlines"],
    ] {
        let done = shell.run(arguments).await;
        assert_eq!((done.code, &*done.out), (2, ""), "{arguments:?}: {done:?}");
    }
    let status = shell.run(&["runs", "list", "--status", "odd"]).await;
    assert!(status.err.contains("requires_action"), "{}", status.err);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn https_is_spoken_with_a_server_of_a_private_authority() {
    let mut params = CertificateParams::new(Vec::new()).expect("parameters");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    let root = params.self_signed(&key).expect("a root").pem();
    let issuer = Issuer::new(params, key);
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let own = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(names).expect("parameters");
    let certificate = params.signed_by(&own, &issuer).expect("a certificate").pem();

    let folder = Shell::new("", "");
    let root = folder.file("root.pem", &root);
    let (certificate, own) =
        (folder.file("own.pem", &certificate), folder.file("own.key", &own.serialize_pem()));
    let config = format!("[tls]\ncertificate = {:?}\nkey = {:?}", text(&certificate), text(&own));
    let app = App::with(Options { config, ..Options::default() }).await;
    let shell = Shell::new(&app.url.replace("http:", "https:"), &app.admin);
    assert_eq!(shell.json(&["keys", "me", "--ca", text(&root)]).await[0]["object"], "me");
    let stranger = shell.run(&["keys", "me"]).await;
    assert_eq!(stranger.code, 5, "its authority is not the system's: {stranger:?}");
}
