//! The id in `Last-Event-ID`: what is read is what was written, and all else is refused by name.

use runplane::cache::EventId;
use runplane::runs::last_seen;
use tonic::metadata::{AsciiMetadataValue, MetadataMap};

pub(super) fn check(data: &[u8]) {
    let Ok(value) = AsciiMetadataValue::try_from(data) else { return };
    let mut metadata = MetadataMap::new();
    metadata.insert("last-event-id", value);
    let text = std::str::from_utf8(data).unwrap_or("no text");
    match last_seen(&metadata) {
        Ok(None) => assert!(text.is_empty(), "{text:?} was taken for nothing"),
        Ok(Some(id)) => {
            assert_eq!(expected(text), Some(id), "{text:?}");
            assert_eq!(id.to_string().parse(), Ok(id), "{text:?}");
            assert!(id.to_string().len() <= text.len(), "{text:?}");
        }
        Err(error) => {
            assert_eq!(expected(text), None, "{text:?}");
            assert_eq!(error.fact("field"), Some("last-event-id"));
            assert!(error.to_string().len() < 400, "{error}");
        }
    }
}

/// Digits, and perhaps a point and digits; both within 63 bits.
fn expected(text: &str) -> Option<EventId> {
    let parts: Vec<&str> = text.split('.').collect();
    let number = |part: &str| {
        part.chars().try_fold(0_i64, |number, digit| {
            number.checked_mul(10)?.checked_add(i64::from(digit.to_digit(10)?))
        })
    };
    match parts.as_slice() {
        [seq] if !seq.is_empty() => Some(EventId { seq: number(seq)?, n: 0 }),
        [seq, n] if !seq.is_empty() && !n.is_empty() => {
            Some(EventId { seq: number(seq)?, n: number(n)? })
        }
        _ => None,
    }
}
