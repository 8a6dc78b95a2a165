//! TLS of the port: the certificate and its key, read from files and read again when they change,
//! and the roots that callers' certificates must come from. `wire.rs` shakes hands by it, and
//! `serve` owns the task that looks at the files. Never speaks HTTP.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig};
use sha2::{Digest, Sha256};
use tokio::net::TcpStream;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use super::peer::Fingerprint;
use crate::kernel::config::{ClientAuth, TlsConfig};

/// What callers may speak inside, the better first.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Shakes hands with callers by the certificate that is in force. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Tls {
    current: watch::Receiver<Arc<ServerConfig>>,
}

/// Looks at the files and puts what is new in force.
#[derive(Debug)]
pub struct Reloader {
    config: TlsConfig,
    current: watch::Sender<Arc<ServerConfig>>,
    /// Of what was found last, whether it could be used or not.
    seen: [u8; 32],
    hangup: Signal,
}

/// What was found in the files.
struct Files {
    certificate: Found,
    key: Found,
    client_ca: Option<Found>,
}

/// The content of a file, or why there is none.
type Found = Result<Vec<u8>, String>;

/// Reads the files; `None` when none are configured. Call it within a runtime.
///
/// # Errors
/// When they cannot be used.
pub async fn load(config: &TlsConfig) -> Result<Option<(Tls, Reloader)>, String> {
    if !config.is_on() {
        return Ok(None);
    }
    let files = Files::read(config).await;
    let server = files.server(config.client_auth).map_err(|e| format!("tls: {e}"))?;
    let (current, receiver) = watch::channel(Arc::new(server));
    let hangup = signal(SignalKind::hangup()).map_err(|e| format!("tls: no SIGHUP: {e}"))?;
    let reloader = Reloader { config: config.clone(), current, seen: files.digest(), hangup };
    Ok(Some((Tls { current: receiver }, reloader)))
}

impl Tls {
    pub(super) async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let current = Arc::clone(&self.current.borrow());
        TlsAcceptor::from(current).accept(stream).await
    }
}

impl Reloader {
    /// Looks at the files every so often, and when the process is told to, until the end.
    pub async fn run(mut self, end: CancellationToken) {
        let mut ticks = interval(Duration::from_secs(self.config.reload_seconds));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let asked = tokio::select! {
                () = end.cancelled() => return,
                _ = ticks.tick() => false,
                _ = self.hangup.recv() => true,
            };
            // The content is what counts: a link may have come to mean another file.
            let files = Files::read(&self.config).await;
            let digest = files.digest();
            if self.seen != digest {
                self.seen = digest;
                self.apply(&files);
            } else if asked {
                tracing::info!("the certificate files are as they were");
            }
        }
    }

    fn apply(&self, files: &Files) {
        match files.server(self.config.client_auth) {
            Ok(server) => {
                self.current.send_replace(Arc::new(server));
                let leaf = files.leaf().map(|leaf| leaf.to_string());
                tracing::info!(sha256 = leaf, "a new certificate is in force");
            }
            Err(error) => tracing::error!(
                error,
                "the certificate files have changed and cannot be used; the old ones stay in force"
            ),
        }
    }
}

impl Files {
    async fn read(config: &TlsConfig) -> Self {
        let client_ca = match config.asks_callers() {
            true => Some(found(&config.client_ca).await),
            false => None,
        };
        Self {
            certificate: found(&config.certificate).await,
            key: found(&config.key).await,
            client_ca,
        }
    }

    /// Changes with every byte, and with every reason for having none.
    fn digest(&self) -> [u8; 32] {
        let mut all = Sha256::new();
        for found in [Some(&self.certificate), Some(&self.key), self.client_ca.as_ref()] {
            let part = match found {
                Some(Ok(content)) => Sha256::digest(content),
                Some(Err(error)) => Sha256::digest(error),
                None => Sha256::digest(b""),
            };
            all.update([u8::from(matches!(found, Some(Ok(_))))]);
            all.update(part);
        }
        all.finalize().into()
    }

    /// The certificate's own digest.
    fn leaf(&self) -> Option<Fingerprint> {
        let certificate = self.certificate.as_ref().ok()?;
        CertificateDer::from_pem_slice(certificate).ok().map(|leaf| fingerprint(&leaf))
    }

    fn server(&self, auth: ClientAuth) -> Result<ServerConfig, String> {
        let chain = certificates("tls.certificate", &self.certificate)?;
        let key = self.key.as_ref().map_err(|e| format!("tls.key: {e}"))?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|e| format!("tls.key: {e}"))?;
        let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[&TLS13, &TLS12])
            .map_err(|e| e.to_string())?;
        let builder = match &self.client_ca {
            Some(roots) => builder.with_client_cert_verifier(verifier(roots, auth)?),
            None => builder.with_no_client_auth(),
        };
        // It tells whether the key is the certificate's.
        let server = builder.with_single_cert(chain, key);
        let mut server = server.map_err(|e| format!("tls.certificate with tls.key: {e}"))?;
        server.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
        Ok(server)
    }
}

/// The digest by which a certificate is known.
pub(super) fn fingerprint(certificate: &CertificateDer<'_>) -> Fingerprint {
    Fingerprint(Sha256::digest(certificate).into())
}

async fn found(path: &Path) -> Found {
    let content = tokio::fs::read(path).await;
    content.map_err(|error| format!("{}: {error}", path.display()))
}

fn verifier(roots: &Found, auth: ClientAuth) -> Result<Arc<dyn ClientCertVerifier>, String> {
    let mut store = RootCertStore::empty();
    for root in certificates("tls.client_ca", roots)? {
        store.add(root).map_err(|e| format!("tls.client_ca: {e}"))?;
    }
    let provider = Arc::new(ring::default_provider());
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(store), provider);
    let builder = match auth {
        ClientAuth::Required => builder,
        ClientAuth::Optional => builder.allow_unauthenticated(),
    };
    builder.build().map_err(|e| format!("tls.client_ca: {e}"))
}

fn certificates(name: &str, found: &Found) -> Result<Vec<CertificateDer<'static>>, String> {
    let content = found.as_ref().map_err(|e| format!("{name}: {e}"))?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(content).collect();
    match all {
        Ok(all) if all.is_empty() => Err(format!("{name}: no certificate in it")),
        Ok(all) => Ok(all),
        Err(error) => Err(format!("{name}: {error}")),
    }
}
