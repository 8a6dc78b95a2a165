//! Texts that are kept in a column of their own. U+0000 is a character of JSON and of protobuf, and
//! Postgres has no place for it; text within JSON is escaped and may hold it. Called where such a
//! text comes in.

use super::{Error, Result};

/// Refuses a text of a caller that cannot be kept.
///
/// # Errors
/// `invalid_field`, naming the field.
pub fn storable(field: &str, text: &str) -> Result<()> {
    if text.contains('\0') {
        return Err(Error::field(field, format!("{field} must not have the character U+0000")));
    }
    Ok(())
}

/// A text of somebody else, such as a provider's error, as it can be kept.
#[must_use]
pub fn stored(text: String) -> String {
    if text.contains('\0') { text.replace('\0', "\u{fffd}") } else { text }
}
