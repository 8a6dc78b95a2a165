//! Certificates of the port. Filled in by `kernel/config`, used by `gateway/tls`; never looks into
//! the files that it names.

use std::path::PathBuf;

use serde::Deserialize;

/// Certificates of the port.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// PEM file of the certificate and those between it and its root; empty: no TLS.
    pub certificate: PathBuf,
    /// PEM file of its private key.
    pub key: PathBuf,
    /// Seconds between two looks at the files.
    pub reload_seconds: u64,
    /// PEM file of the roots of callers' certificates; empty: callers are asked for none.
    pub client_ca: PathBuf,
    /// What callers without a certificate get.
    pub client_auth: ClientAuth,
}

/// What callers without a certificate get, where certificates are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientAuth {
    /// A connection like others.
    Optional,
    /// None.
    Required,
}

impl TlsConfig {
    /// True when the port speaks TLS.
    #[must_use]
    pub fn is_on(&self) -> bool {
        !self.certificate.as_os_str().is_empty()
    }

    /// True when callers are asked for a certificate.
    #[must_use]
    pub fn asks_callers(&self) -> bool {
        !self.client_ca.as_os_str().is_empty()
    }

    /// Hands on what is right or wrong, with what to say of it.
    pub(super) fn check(&self, check: &mut impl FnMut(bool, String)) {
        check(
            self.is_on() != self.key.as_os_str().is_empty(),
            "tls.certificate and tls.key must be set together".into(),
        );
        check(
            self.is_on() || !self.asks_callers(),
            "tls.client_ca needs tls.certificate and tls.key".into(),
        );
        check(
            (1..=86400).contains(&self.reload_seconds),
            format!("tls.reload_seconds is {}, must be 1 to 86400", self.reload_seconds),
        );
    }
}
