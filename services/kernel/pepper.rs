//! The one secret of the server, and what is derived from it: what is kept of keys, the signatures
//! of cursors and of the audit log, the seals of kept answers. Loaded by `keys/pepper.rs`; never
//! printed or kept in the database.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chacha20poly1305::aead::Aead;
use chacha20poly1305::{ChaCha20Poly1305, Nonce};
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use super::{Error, Result};

/// Bytes of the nonce that a sealed text begins with.
const NONCE: usize = 12;

/// Keys are kept as HMAC-SHA-256 under this pepper: who reads the table cannot forge one. What is
/// held is the HMAC with its key already in it, which halves what a check costs.
#[derive(Clone)]
pub struct Pepper(Arc<Hmac<Sha256>>);

impl fmt::Debug for Pepper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pepper(***)")
    }
}

impl Pepper {
    /// A pepper from the configuration or the secrets file.
    #[must_use]
    pub fn new(pepper: SecretString) -> Self {
        #[expect(clippy::expect_used, reason = "HMAC takes a key of any length")]
        let mac = Hmac::new_from_slice(pepper.expose_secret().as_bytes())
            .expect("HMAC takes a key of any length");
        Self(Arc::new(mac))
    }

    /// A name for this pepper that tells nothing of it, kept beside every HMAC that it made.
    #[must_use]
    pub fn id(&self) -> String {
        self.derive("pepper id", "")[..4].iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// What is kept of a secret.
    #[must_use]
    pub fn mac(&self, secret: &str) -> [u8; 32] {
        self.derive("key", secret)
    }

    /// A secret of ours for another purpose, such as signing cursors.
    #[must_use]
    pub fn derive(&self, purpose: &str, of: &str) -> [u8; 32] {
        let mut mac = Hmac::clone(&self.0);
        mac.update(purpose.as_bytes());
        mac.update(&[0]);
        mac.update(of.as_bytes());
        mac.finalize().into_bytes().into()
    }

    /// A new secret that signs a project's calls of tool handlers, `whsec_…`.
    #[must_use]
    pub fn signing_secret(&self, project: uuid::Uuid) -> String {
        let mut random = [0u8; 16];
        rand::fill(&mut random);
        let bytes = self.derive("tool signing", &format!("{project}{random:?}"));
        format!("whsec_{}", STANDARD.encode(bytes))
    }

    /// True when `mac` is kept of `secret`; takes the same time for every `mac`.
    #[must_use]
    pub fn matches(&self, secret: &str, mac: &[u8]) -> bool {
        self.mac(secret).ct_eq(mac).into()
    }

    /// A text that only who knows the pepper and `of` can open again: ChaCha20-Poly1305 under a key
    /// derived from both, behind a random nonce.
    ///
    /// # Errors
    /// `internal_error` for a text of many gigabytes.
    pub fn seal(&self, of: &str, text: &[u8]) -> Result<Vec<u8>> {
        let mut nonce = [0u8; NONCE];
        rand::fill(&mut nonce);
        let sealed = self.cipher(of).encrypt(&Nonce::from(nonce), text);
        let sealed = sealed.map_err(|_| Error::internal("a text cannot be sealed"))?;
        Ok([&nonce[..], &sealed].concat())
    }

    /// The text that [`Self::seal`] has sealed.
    ///
    /// # Errors
    /// `internal_error` when it was sealed otherwise, or changed since.
    pub fn open(&self, of: &str, sealed: &[u8]) -> Result<Vec<u8>> {
        let broken = || Error::internal("a sealed text cannot be opened: the pepper is another");
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE>().ok_or_else(broken)?;
        self.cipher(of).decrypt(&Nonce::from(*nonce), sealed).map_err(|_| broken())
    }

    fn cipher(&self, of: &str) -> ChaCha20Poly1305 {
        ChaCha20Poly1305::new(&self.derive("seal", of).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_text_opens_for_who_knows_what_it_is_of() {
        let pepper = Pepper::new(SecretString::from("pepper"));
        let sealed = pepper.seal("a", b"text").unwrap();
        assert_ne!(sealed, pepper.seal("a", b"text").unwrap(), "each seal is another");
        assert_eq!(pepper.open("a", &sealed).unwrap(), b"text");
        assert!(pepper.open("b", &sealed).is_err());
        assert!(Pepper::new(SecretString::from("salt")).open("a", &sealed).is_err());
        assert!(pepper.open("a", &sealed[..5]).is_err());
        let mut changed = sealed;
        changed[14] ^= 1;
        assert!(pepper.open("a", &changed).is_err());
    }
}
