//! Why a text is not the JSON of a message. Made by the codec; the transcoder turns it into an
//! answer.

/// A refused text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{}{message}", .path, if .path.is_empty() { "" } else { ": " })]
pub struct JsonError {
    /// What sort of mistake it is.
    pub kind: Kind,
    /// Where it is, such as `tools[1].http.url`; empty: the value as a whole.
    pub path: String,
    /// What is wrong, at most about 200 bytes.
    pub message: String,
}

/// Sorts of mistakes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Not JSON at all, or nested too deep.
    Malformed,
    /// A field that the message does not have.
    UnknownField,
    /// A field with a value that it cannot take.
    InvalidField,
}

/// Longest message, in bytes: what the caller sent is quoted, but not at any length.
const MESSAGE_BYTES_MAX: usize = 200;

/// Cuts a message to its greatest length, at a character.
pub(super) fn cut(mut message: String) -> String {
    if message.len() > MESSAGE_BYTES_MAX {
        message.truncate(message.floor_char_boundary(MESSAGE_BYTES_MAX));
        message.push('…');
    }
    message
}
