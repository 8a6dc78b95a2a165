//! Ids: a prefix, `_`, and 26 characters of Crockford base32 of a UUIDv7. Sortable by time.

use uuid::Uuid;

use super::clock::Timestamp;

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const LEN: usize = 26;

/// What an id names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An agent, `agt`.
    Agent,
    /// A run, `run`.
    Run,
    /// A message of a run, `stp`.
    Step,
    /// A tool call, `call`.
    Call,
    /// A key, `key`.
    Key,
    /// A project, `prj`.
    Project,
    /// An organisation, `org`.
    Organisation,
    /// A request, `req`.
    Request,
    /// A line of the audit log, `aud`.
    Audit,
}

impl Kind {
    /// The prefix, without `_`.
    #[must_use]
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Agent => "agt",
            Self::Run => "run",
            Self::Step => "stp",
            Self::Call => "call",
            Self::Key => "key",
            Self::Project => "prj",
            Self::Organisation => "org",
            Self::Request => "req",
            Self::Audit => "aud",
        }
    }
}

/// A new UUIDv7 of this moment. Monotonic within a process and millisecond.
#[must_use]
pub fn fresh(now: Timestamp) -> Uuid {
    let ms = now.unix_ms();
    let mut random = [0u8; 10];
    rand::fill(&mut random);
    uuid::Builder::from_unix_timestamp_millis(ms, &random).into_uuid()
}

/// The id in text.
#[must_use]
pub fn format(kind: Kind, id: Uuid) -> String {
    let mut text = String::with_capacity(kind.prefix().len() + 1 + LEN);
    text.push_str(kind.prefix());
    text.push('_');
    let value = id.as_u128();
    for i in 0..LEN {
        let shift = 5 * (LEN - 1 - i);
        text.push(char::from(ALPHABET[((value >> shift) & 31) as usize]));
    }
    text
}

/// The UUID in an id of this kind; `None` for anything else. Case does not matter; `i`, `l` and `o`
/// are read as the digits that they look like, as Crockford has it.
#[must_use]
pub fn parse(kind: Kind, text: &str) -> Option<Uuid> {
    let digits = text.strip_prefix(kind.prefix())?.strip_prefix('_')?;
    if digits.len() != LEN {
        return None;
    }
    digits
        .bytes()
        .try_fold(0u128, |value, byte| {
            let digit = decode(byte)?;
            // The first of the 26 digits has only 3 bits: 130 bits hold 128.
            (value >> 123 == 0).then_some((value << 5) | u128::from(digit))
        })
        .map(Uuid::from_u128)
}

fn decode(byte: u8) -> Option<u8> {
    let byte = match byte.to_ascii_lowercase() {
        b'o' => b'0',
        b'i' | b'l' => b'1',
        other => other,
    };
    ALPHABET.iter().position(|c| *c == byte).and_then(|i| u8::try_from(i).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back() {
        for id in [Uuid::nil(), Uuid::max(), fresh(Timestamp(1_700_000_000_000_000))] {
            let text = format(Kind::Run, id);
            assert_eq!(text.len(), 30);
            assert_eq!(parse(Kind::Run, &text), Some(id));
            assert_eq!(parse(Kind::Agent, &text), None);
        }
    }

    #[test]
    fn odd_ids_are_refused() {
        for text in [
            "",
            "run_",
            "run_8zzzzzzzzzzzzzzzzzzzzzzzzz",
            "run_0u000000000000000000000000",
            "run_é",
            "x",
        ] {
            assert_eq!(parse(Kind::Run, text), None, "{text}");
        }
    }

    #[test]
    fn ids_sort_by_time() {
        let early = format(Kind::Run, fresh(Timestamp(1_000_000)));
        let late = format(Kind::Run, fresh(Timestamp(2_000_000)));
        assert!(early < late);
    }
}
