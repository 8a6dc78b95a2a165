//! The secret of a key: how it looks, how it is made, and what is kept of it. `gateway/auth.rs`
//! checks with it, `keys/` and the command line make with it. Never logs or keeps a secret.
//!
//! A kind and an environment, as in `sk_live_`; 10 characters that name the key, 32 that are secret
//! (190 bits), 6 that are the CRC-32 of all before them; base62. For secret scanners:
//! `(sk|rk|op|ses)_(live|test)_[0-9A-Za-z]{48}`.

use secrecy::SecretString;

use crate::kernel::Environment;
use crate::kernel::caller::{Grant, Level};

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const PUBLIC: usize = 10;
const HIDDEN: usize = 32;
const CHECK: usize = 6;

/// What a secret is for; its first letters say so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A key with a wide scope.
    Secret,
    /// A key with narrow scopes only.
    Restricted,
    /// A key of the server's operator.
    Operator,
    /// A session.
    Session,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Secret, Self::Restricted, Self::Operator, Self::Session];

    /// The kind of a key with these scopes.
    #[must_use]
    pub fn of(level: Level, grants: &[Grant]) -> Self {
        match level {
            Level::Operator => Self::Operator,
            _ if grants.iter().any(|grant| grant.is_wide()) => Self::Secret,
            _ => Self::Restricted,
        }
    }

    fn letters(self) -> &'static str {
        match self {
            Self::Secret => "sk",
            Self::Restricted => "rk",
            Self::Operator => "op",
            Self::Session => "ses",
        }
    }
}

/// A secret, just made.
pub struct Fresh {
    /// The whole secret; shown once.
    pub secret: SecretString,
    /// Its public part, by which the store finds the key.
    pub public: String,
}

/// Makes a secret.
#[must_use]
pub fn fresh(kind: Kind, environment: Environment) -> Fresh {
    let random: String = (0..PUBLIC + HIDDEN)
        .map(|_| char::from(ALPHABET[rand::random_range(0..ALPHABET.len())]))
        .collect();
    let body = format!("{}{}", begin(kind, environment), random);
    let secret = format!("{body}{}", checksum(&body));
    Fresh { public: random[..PUBLIC].to_owned(), secret: SecretString::from(secret) }
}

/// The public part of a well-formed secret; `None` for anything else, with no look into the store.
#[must_use]
pub fn parse(secret: &str) -> Option<&str> {
    let rest = Kind::ALL.iter().find_map(|kind| secret.strip_prefix(kind.letters()))?;
    let rest = rest.strip_prefix("_live_").or_else(|| rest.strip_prefix("_test_"))?;
    if !rest.is_ascii() || rest.len() != PUBLIC + HIDDEN + CHECK {
        return None;
    }
    let (body, check) = secret.split_at(secret.len() - CHECK);
    (checksum(body) == check).then(|| &rest[..PUBLIC])
}

/// How a key is shown after it was made: enough to recognise it.
#[must_use]
pub fn prefix(kind: Kind, environment: Environment, public: &str) -> String {
    begin(kind, environment) + public
}

fn begin(kind: Kind, environment: Environment) -> String {
    format!("{}_{}_", kind.letters(), environment.as_str())
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
    use secrecy::ExposeSecret;

    use super::*;
    use crate::kernel::Pepper;

    #[test]
    fn a_fresh_secret_parses_and_matches_only_itself() {
        let pepper = Pepper::new(SecretString::from("pepper"));
        for kind in Kind::ALL {
            let (a, b) = (fresh(kind, Environment::Live), fresh(kind, Environment::Test));
            assert_eq!(parse(a.secret.expose_secret()), Some(a.public.as_str()));
            assert_eq!(parse(b.secret.expose_secret()), Some(b.public.as_str()));
            let kept = pepper.mac(a.secret.expose_secret());
            assert!(pepper.matches(a.secret.expose_secret(), &kept));
            assert!(!pepper.matches(b.secret.expose_secret(), &kept));
            let other = Pepper::new(SecretString::from("salt"));
            assert!(!other.matches(a.secret.expose_secret(), &kept));
        }
    }

    #[test]
    fn one_wrong_character_is_told_without_the_store() {
        let secret = fresh(Kind::Session, Environment::Test).secret.expose_secret().to_owned();
        for i in 0..secret.len() {
            let mut wrong = secret.clone().into_bytes();
            wrong[i] = if wrong[i] == b'x' { b'y' } else { b'x' };
            assert_eq!(parse(std::str::from_utf8(&wrong).unwrap()), None, "character {i}");
        }
        for odd in ["", "sk_live_", "sk-airmy-demo-2026", "é", &"x".repeat(56), "sk_live_é"] {
            assert_eq!(parse(odd), None, "{odd}");
        }
    }
}
