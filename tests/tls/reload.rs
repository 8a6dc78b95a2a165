//! Certificates that change while the server serves.

use std::os::unix::fs::symlink;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;

use super::{Authority, Files, Pair, config, der, seen, shake};
use crate::harness::app::{App, Options};
use crate::harness::process::Program;

/// Longest wait for a certificate; a test that reaches it has failed.
const WAIT: Duration = Duration::from_secs(60);

const NEW: &str = "a new certificate is in force";
const BROKEN: &str = "cannot be used";
const SAME: &str = "as they were";

/// Waits until new connections see this certificate.
async fn until_seen(url: &str, authority: &Authority, pair: &Pair) {
    let expected = der(&pair.certificate);
    let seeing = async { while seen(url, authority).await != expected {} };
    timeout(WAIT, seeing).await.expect("the certificate comes into force");
}

/// Asks on a connection that stays, over HTTP/1.1.
async fn ask(stream: &mut TlsStream<TcpStream>) -> String {
    stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("it is open");
    let mut answer = Vec::new();
    while !answer.ends_with(b"}") {
        let n = timeout(WAIT, stream.read_buf(&mut answer)).await.expect("the server hangs");
        let n = n.expect("it is open");
        assert_ne!(n, 0, "the connection has ended");
    }
    String::from_utf8(answer).expect("text")
}

fn hang_up(program: &Program) {
    let pid = program.pid().to_string();
    let killed = std::process::Command::new("kill").args(["-HUP", &pid]).status();
    assert!(killed.expect("kill runs").success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_that_comes_to_mean_other_files_is_seen() {
    let files = Files::new();
    // As Kubernetes lays out a secret: the files are links through one that is swapped.
    let root = files.folder.path();
    let lay = |version: &str, pair: &Pair| {
        std::fs::create_dir(root.join(version)).unwrap();
        std::fs::write(root.join(version).join("tls.crt"), &pair.certificate).unwrap();
        std::fs::write(root.join(version).join("tls.key"), &pair.key).unwrap();
        symlink(version, root.join("..new")).unwrap();
        std::fs::rename(root.join("..new"), root.join("..data")).unwrap();
    };
    let (first, second) = (files.authority.issue("first"), files.authority.issue("second"));
    lay("..1", &first);
    let (certificate, key) = (root.join("linked.crt"), root.join("linked.key"));
    symlink("..data/tls.crt", &certificate).unwrap();
    symlink("..data/tls.key", &key).unwrap();
    let config = config(&certificate, &key) + "reload_seconds = 1\n";
    let app = App::with(Options { config, ..Options::default() }).await;
    assert_eq!(seen(&app.url, &files.authority).await, der(&first.certificate));
    let mut old = shake(&app.url, files.authority.caller(None)).await.unwrap();
    assert!(ask(&mut old).await.starts_with("HTTP/1.1 200 "));
    lay("..2", &second);
    until_seen(&app.url, &files.authority, &second).await;
    assert!(ask(&mut old).await.starts_with("HTTP/1.1 200 "), "old connections go on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_that_cannot_be_used_change_nothing_and_are_told_once() {
    let files = Files::new();
    let first = std::fs::read_to_string(files.certificate()).unwrap();
    let more = "reload_seconds = 86400\n";
    let mut program = Program::new(&files.config(more));
    let url = program.start().await.url;
    let second = files.authority.issue("second");
    let strange = files.authority.issue("strange");
    let mut broken = 0;
    let mixed = Pair { certificate: second.certificate.clone(), key: strange.key };
    let empty = Pair { certificate: String::new(), key: String::new() };
    let half = second.certificate[..300].to_owned();
    let half = Pair { certificate: half, key: second.key.clone() };
    for pair in [&mixed, &empty, &half] {
        files.put(pair);
        hang_up(&program);
        broken += 1;
        program.logged.with(BROKEN, broken).await;
        hang_up(&program);
        program.logged.with(SAME, broken).await;
        assert_eq!(seen(&url, &files.authority).await, der(&first));
    }
    std::fs::remove_file(files.key()).unwrap();
    hang_up(&program);
    program.logged.with(BROKEN, broken + 1).await;
    assert_eq!(seen(&url, &files.authority).await, der(&first));
    files.put(&second);
    hang_up(&program);
    program.logged.with(NEW, 1).await;
    assert_eq!(seen(&url, &files.authority).await, der(&second.certificate));
    let told = program.logged.to_string();
    assert_eq!(told.matches(BROKEN).count(), broken + 1, "{told}");
    assert!(!told.contains("PRIVATE"), "{told}");
    program.terminate();
    assert!(program.ended().await.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn roots_of_callers_change_too() {
    let files = Files::new();
    let more = format!("reload_seconds = 86400\nclient_ca = {:?}\n", files.roots());
    let mut program = Program::new(&files.config(&more));
    let url = program.start().await.url;
    let (other, mine) = (Authority::new("other"), files.authority.issue("mine"));
    let config = files.authority.caller(Some(&mine));
    let mut old = shake(&url, config.clone()).await.unwrap();
    assert!(ask(&mut old).await.starts_with("HTTP/1.1 200 "));
    std::fs::write(files.roots(), &other.root).unwrap();
    hang_up(&program);
    program.logged.with(NEW, 1).await;
    // Not by taking up an old session either.
    assert!(refused(&url, config).await);
    let theirs = other.issue("theirs");
    let mut new = shake(&url, files.authority.caller(Some(&theirs))).await.unwrap();
    assert!(ask(&mut new).await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_handshake_fails_while_certificates_change() {
    let files = Files::new();
    let mut program = Program::new(&files.config("reload_seconds = 86400\n"));
    let url = program.start().await.url;
    let done = CancellationToken::new();
    let changing = async {
        for count in 1..=8 {
            files.put(&files.authority.issue("next"));
            hang_up(&program);
            program.logged.with(NEW, count).await;
        }
        done.cancel();
    };
    let calling = async || {
        let mut calls = 0;
        while !done.is_cancelled() {
            let tls = files.authority.caller(None);
            let mut stream = shake(&url, tls).await.expect("a handshake");
            assert!(ask(&mut stream).await.starts_with("HTTP/1.1 200 "));
            calls += 1;
        }
        calls
    };
    let side_by_side = futures::future::join_all((0..8).map(|_| calling()));
    let ((), calls) = tokio::join!(changing, side_by_side);
    assert!(calls.iter().all(|calls: &usize| *calls > 0), "{calls:?}");
}

/// True when a caller gets no answer. With TLS 1.3 it is told after its own handshake.
pub async fn refused(url: &str, config: rustls::ClientConfig) -> bool {
    let Ok(mut stream) = shake(url, config).await else { return true };
    let _gone = stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let mut answer = Vec::new();
    let read = timeout(WAIT, stream.read_buf(&mut answer)).await.expect("the server hangs");
    read.is_err() || answer.is_empty()
}
