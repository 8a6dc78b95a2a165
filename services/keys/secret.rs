//! The secret of a key: how it looks, how it is made, and what is kept of it. `gateway/auth.rs`
//! checks with it, `keys/` and the command line make with it. Never logs or keeps a secret.
//!
//! `sk_live_` or `sk_test_`, 10 characters that name the key, 32 that are secret (190 bits), 6 that
//! are the CRC-32 of all before them; base62. For secret scanners:
//! `sk_(live|test)_[0-9A-Za-z]{48}`.

use secrecy::SecretString;

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
    use secrecy::ExposeSecret;

    use super::*;
    use crate::kernel::Pepper;

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
