//! How often callers may call: what they are told at each door, what is refused, and that Redis may
//! go away.

mod headers;
mod strangers;
