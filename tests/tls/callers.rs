//! Certificates of callers: who needs one, who is refused, and what is known of who shows one.

use rustls::version::{TLS12, TLS13};
use sha2::{Digest, Sha256};

use super::handshake::list;
use super::proxies::Echo;
use super::reload::refused;
use super::{Authority, Files, Pair, der, http, http1, https};

fn asking(files: &Files, auth: &str) -> String {
    format!("client_ca = {:?}\nclient_auth = {auth:?}\n", files.roots())
}

fn fingerprint(pair: &Pair) -> String {
    let digest = Sha256::digest(der(&pair.certificate));
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_without_a_right_certificate_gets_no_connection() {
    let files = Files::new();
    let app = files.app(&asking(&files, "required")).await;
    let (mine, foreign) = (files.authority.issue("mine"), Authority::new("x").issue("foreign"));
    for tls in [&TLS12, &TLS13] {
        for shows in [None, Some(&foreign)] {
            assert!(refused(&app.url, files.authority.caller_of(shows, &[tls])).await);
        }
        assert!(!refused(&app.url, files.authority.caller_of(Some(&mine), &[tls])).await);
    }
    assert!(list(&app, &files.authority, None).await.is_err());
    assert!(list(&app, &files.authority, Some(&foreign)).await.is_err());
    assert!(list(&app, &files.authority, Some(&mine)).await.is_ok());
    let client = files.authority.http(Some(&mine)).build().unwrap();
    let keyless = client.get(https(&app) + "/v1/agents").send().await.unwrap();
    assert_eq!(keyless.status(), 401, "a certificate is no key");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_is_optional_may_lack_but_not_lie() {
    let files = Files::new();
    let app = files.app(&asking(&files, "optional")).await;
    let (mine, foreign) = (files.authority.issue("mine"), Authority::new("x").issue("foreign"));
    assert!(list(&app, &files.authority, None).await.is_ok());
    assert!(list(&app, &files.authority, Some(&mine)).await.is_ok());
    assert!(list(&app, &files.authority, Some(&foreign)).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_knows_the_certificate_of_its_caller() {
    let files = Files::new();
    let echo = Echo::with(&files.config(&asking(&files, "optional"))).await;
    let mine = files.authority.issue("mine");
    let none = echo.ask(files.authority.http(None), &[]).await;
    assert_eq!(none, "127.0.0.1 https -");
    let known = format!("127.0.0.1 https {}", fingerprint(&mine));
    // Over both versions of HTTP, and when a session is taken up again.
    let tls = files.authority.caller(Some(&mine));
    for _ in 0..2 {
        assert_eq!(echo.ask(http(tls.clone()), &[]).await, known);
        assert_eq!(echo.ask(http1(tls.clone()), &[]).await, known);
    }
}
