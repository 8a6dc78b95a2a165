//! The secret of a key: how it looks, how it is made, and what is kept of it. `gateway/auth.rs`
//! checks with it, `keys/` and the command line make with it. Never logs or keeps a secret.
//!
//! `sk_live_` or `sk_test_`, 10 characters that name the key, 32 that are secret (190 bits), 6 that
//! are the CRC-32 of all before them; base62. For secret scanners:
//! `sk_(live|test)_[0-9A-Za-z]{48}`.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::kernel::Environment;

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const PUBLIC: usize = 10;
const HIDDEN: usize = 32;
const CHECK: usize = 6;
const PREFIX: usize = "sk_live_".len();

/// A secret, just made.
pub struct Fresh {
    /// The whole secret; shown once.
    pub secret: SecretString,
    /// Its public part, by which the store finds the key.
    pub public: String,
}

/// Keys are kept as HMAC-SHA-256 under this pepper: who reads the table cannot forge one. What is
/// held is the HMAC with its key already in it, which halves what a check costs.
#[derive(Clone)]
pub struct Pepper(Arc<Hmac<Sha256>>);

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
}

/// Makes a secret.
#[must_use]
pub fn fresh(environment: Environment) -> Fresh {
    let random: String = (0..PUBLIC + HIDDEN)
        .map(|_| char::from(ALPHABET[rand::random_range(0..ALPHABET.len())]))
        .collect();
    let body = format!("sk_{}_{random}", environment.as_str());
    let secret = format!("{body}{}", checksum(&body));
    Fresh { public: random[..PUBLIC].to_owned(), secret: SecretString::from(secret) }
}

/// The environment and the public part of a well-formed secret; `None` for anything else, with no
/// look into the store.
#[must_use]
pub fn parse(secret: &str) -> Option<(Environment, &str)> {
    if !secret.is_ascii() || secret.len() != PREFIX + PUBLIC + HIDDEN + CHECK {
        return None;
    }
    let environment = Environment::parse(secret.strip_prefix("sk_")?.get(..4)?)?;
    let (body, check) = secret.split_at(secret.len() - CHECK);
    let right = body.as_bytes()[PREFIX - 1] == b'_' && checksum(body) == check;
    right.then(|| (environment, &secret[PREFIX..PREFIX + PUBLIC]))
}

/// How a key is shown after it was made: enough to recognise it.
#[must_use]
pub fn prefix(environment: Environment, public: &str) -> String {
    format!("sk_{}_{public}", environment.as_str())
}

fn checksum(body: &str) -> String {
    let mut rest = crc32fast::hash(body.as_bytes());
    let mut digits = [b'0'; CHECK];
    for digit in digits.iter_mut().rev() {
        *digit = ALPHABET[(rest % 62) as usize];
        rest /= 62;
    }
    digits.iter().map(|d| char::from(*d)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fresh_secret_parses_and_matches_only_itself() {
        let pepper = Pepper::new(SecretString::from("pepper"));
        let (a, b) = (fresh(Environment::Live), fresh(Environment::Live));
        let (environment, public) = parse(a.secret.expose_secret()).unwrap();
        assert_eq!((environment, public), (Environment::Live, a.public.as_str()));
        let kept = pepper.mac(a.secret.expose_secret());
        assert!(pepper.matches(a.secret.expose_secret(), &kept));
        assert!(!pepper.matches(b.secret.expose_secret(), &kept));
        assert!(!Pepper::new(SecretString::from("salt")).matches(a.secret.expose_secret(), &kept));
    }

    #[test]
    fn one_wrong_character_is_told_without_the_store() {
        let secret = fresh(Environment::Test).secret.expose_secret().to_owned();
        for i in 0..secret.len() {
            let mut wrong = secret.clone().into_bytes();
            wrong[i] = if wrong[i] == b'x' { b'y' } else { b'x' };
            assert_eq!(parse(std::str::from_utf8(&wrong).unwrap()), None, "character {i}");
        }
        for odd in ["", "sk_live_", "sk-airmy-demo-2026", "é", &"x".repeat(56)] {
            assert_eq!(parse(odd), None, "{odd}");
        }
    }
}
