//! HTTPS at the public doors, by a private authority: handshakes, certificates that change,
//! certificates of callers, calls in the clear, and who a call is said to come from.

mod callers;
mod clear;
mod handshake;
mod proxies;
mod reload;
mod security;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::harness::app::{App, Options};
use crate::harness::doors::crypto;

/// Who signs certificates.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    root: String,
}

/// A certificate and its key, in PEM.
struct Pair {
    certificate: String,
    key: String,
}

/// Files of a server.
struct Files {
    folder: TempDir,
    authority: Authority,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let root = params.self_signed(&key).expect("a root").pem();
        Self { issuer: Issuer::new(params, key), root }
    }

    /// A certificate of a server on this machine, or of a caller.
    fn issue(&self, name: &str) -> Pair {
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let mut params = CertificateParams::new(names).expect("parameters");
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate").pem();
        Pair { certificate, key: key.serialize_pem() }
    }

    /// A caller that trusts this authority's servers and shows a certificate or none.
    fn caller(&self, shows: Option<&Pair>) -> ClientConfig {
        self.caller_of(shows, rustls::DEFAULT_VERSIONS)
    }

    fn caller_of(
        &self,
        shows: Option<&Pair>,
        versions: &[&'static SupportedProtocolVersion],
    ) -> ClientConfig {
        crypto();
        let mut roots = RootCertStore::empty();
        roots.add(der(&self.root)).expect("a root");
        let config = ClientConfig::builder_with_protocol_versions(versions);
        let config = config.with_root_certificates(roots);
        let mut config = match shows {
            None => config.with_no_client_auth(),
            Some(pair) => {
                let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).expect("a key");
                let chain = vec![der(&pair.certificate)];
                config.with_client_auth_cert(chain, key).expect("a certificate with its key")
            }
        };
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config
    }

    /// The same, speaking HTTP.
    fn http(&self, shows: Option<&Pair>) -> reqwest::ClientBuilder {
        http(self.caller(shows))
    }
}

impl Files {
    /// With a certificate.
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let files = Self { folder, authority: Authority::new("Runplane tests") };
        files.put(&files.authority.issue("first"));
        std::fs::write(files.roots(), &files.authority.root).expect("a file");
        files
    }

    fn certificate(&self) -> PathBuf {
        self.folder.path().join("tls.crt")
    }

    fn key(&self) -> PathBuf {
        self.folder.path().join("tls.key")
    }

    fn roots(&self) -> PathBuf {
        self.folder.path().join("roots.pem")
    }

    fn put(&self, pair: &Pair) {
        std::fs::write(self.certificate(), &pair.certificate).expect("a file");
        std::fs::write(self.key(), &pair.key).expect("a file");
    }

    /// The configuration that names them, and more of `[tls]`.
    fn config(&self, more: &str) -> String {
        config(&self.certificate(), &self.key()) + more + "\n"
    }

    /// A server with them.
    async fn app(&self, more: &str) -> App {
        App::with(Options { config: self.config(more), ..Options::default() }).await
    }
}

fn config(certificate: &Path, key: &Path) -> String {
    format!("[tls]\ncertificate = {certificate:?}\nkey = {key:?}\n")
}

fn http(tls: ClientConfig) -> reqwest::ClientBuilder {
    reqwest::Client::builder().no_proxy().tls_backend_preconfigured(tls)
}

/// The same, over HTTP/1.1.
fn http1(mut tls: ClientConfig) -> reqwest::ClientBuilder {
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    http(tls)
}

fn der(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).expect("a certificate")
}

/// Where the app is over HTTPS.
fn https(app: &App) -> String {
    app.url.replace("http://", "https://")
}

fn address(url: &str) -> &str {
    url.split_once("://").expect("a URL").1
}

/// A connection over TLS, byte by byte.
async fn shake(url: &str, config: ClientConfig) -> io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address(url)).await?;
    let name = ServerName::try_from("localhost").expect("a name");
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

/// The certificate that new connections see.
async fn seen(url: &str, authority: &Authority) -> CertificateDer<'static> {
    let stream = shake(url, authority.caller(None)).await.expect("a handshake");
    let chain = stream.get_ref().1.peer_certificates().expect("certificates");
    chain[0].clone().into_owned()
}
