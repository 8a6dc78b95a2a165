//! Frames as bytes, for the way through Redis: a line of words, then the text as it is, so that
//! JSON is not written into JSON. Each says which process it comes from: none hears itself. Called
//! by `wire.rs` and `ears.rs` only. Bytes that are no frame are passed over.

use std::fmt::Write;

use uuid::Uuid;

use super::{Durable, EventId, Frame, Token};
use crate::kernel::Timestamp;

/// A committed event with more bytes than this is only told of: who wants it reads the journal.
const TOLD_BYTES_MAX: usize = 64 * 1024;

/// What is told of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Word {
    /// A frame, whole.
    Frame(Frame),
    /// The journal has an event with this number, which is too large to be told.
    Large(i64),
}

/// The frame as it is told.
pub(super) fn write(origin: Uuid, frame: &Frame) -> String {
    let mut out = String::with_capacity(128 + frame.bytes());
    // Writing to a string does not fail.
    let _ = match frame {
        Frame::Token(Token { id, step_id, offset, delta, at }) => {
            let EventId { seq, n } = id;
            let at = at.0;
            write!(out, "t {origin:x} {seq} {n} {at} {offset} {step_id}\n{delta}")
        }
        Frame::Durable(Durable { seq, data, .. }) if data.len() > TOLD_BYTES_MAX => {
            writeln!(out, "r {origin:x} {seq}")
        }
        Frame::Durable(Durable { seq, r#type, data, at }) => {
            let at = at.0;
            write!(out, "d {origin:x} {seq} {at} {type}\n{data}")
        }
    };
    out
}

/// What is told, and by whom.
pub(super) fn read(bytes: &[u8]) -> Option<(Uuid, Word)> {
    let (head, text) = std::str::from_utf8(bytes).ok()?.split_once('\n')?;
    let mut words = head.split(' ');
    let (kind, origin) = (words.next()?, words.next()?.parse().ok()?);
    let mut number = || words.next()?.parse::<i64>().ok();
    let word = match kind {
        "t" => {
            let id = EventId { seq: number()?, n: number()? };
            let at = Timestamp(number()?);
            let offset = usize::try_from(number()?).ok()?;
            let (step_id, delta) = (words.next()?.into(), text.into());
            Word::Frame(Frame::Token(Token { id, step_id, offset, delta, at }))
        }
        "d" => {
            let (seq, at) = (number()?, Timestamp(number()?));
            let (r#type, data) = (words.next()?.into(), text.into());
            Word::Frame(Frame::Durable(Durable { seq, r#type, data, at }))
        }
        "r" => Word::Large(number()?),
        _ => return None,
    };
    Some((origin, word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn durable(data: &str) -> Frame {
        let (r#type, data) = ("run.created".into(), data.into());
        Frame::Durable(Durable { seq: 42, r#type, data, at: Timestamp(9) })
    }

    #[test]
    fn a_frame_reads_back_whatever_its_text() {
        let origin = Uuid::from_u128(7);
        for text in ["", " ", "a\nb \n", "{\"a\":\"é\"}"] {
            let (id, step_id) = (EventId { seq: 42, n: 7 }, "stp_1".into());
            let (offset, delta, at) = (11, text.into(), Timestamp(5));
            for frame in [Frame::Token(Token { id, step_id, offset, delta, at }), durable(text)] {
                let told = read(write(origin, &frame).as_bytes());
                assert_eq!(told, Some((origin, Word::Frame(frame))));
            }
        }
    }

    #[test]
    fn of_a_large_event_only_the_number_is_told() {
        let told = write(Uuid::max(), &durable(&"x".repeat(TOLD_BYTES_MAX + 1)));
        assert_eq!(read(told.as_bytes()), Some((Uuid::max(), Word::Large(42))));
        let told = write(Uuid::max(), &durable(&"x".repeat(TOLD_BYTES_MAX)));
        assert!(matches!(read(told.as_bytes()), Some((_, Word::Frame(_)))));
    }

    #[test]
    fn what_is_no_frame_is_passed_over() {
        let origin = Uuid::max();
        for odd in ["", "t", "x y z\n", "t 1 2 3\n", "d - 1 2 type\ndata", "\u{0}\n"] {
            assert_eq!(read(odd.as_bytes()), None, "{odd:?}");
        }
        assert_eq!(read(format!("d {origin:x} 1 x type\ndata").as_bytes()), None);
        assert_eq!(read(b"\xff\n"), None);
    }
}
