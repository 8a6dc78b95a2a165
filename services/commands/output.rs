//! What a command says: results to the standard output, notices to the standard error. A reader
//! that closes the output ends the command without a word. Used by every command; never decides
//! what is said.

use std::io::{self, ErrorKind, Write};

use super::exit::{Exit, Failure, Outcome};
use super::ordered::Ordered;
use crate::proto::codec::{Json, to_vec};

/// The form of the results.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// For people.
    Text,
    /// For programs: ProtoJSON as the REST API has it, one document a line.
    Json,
}

/// Writes a line.
pub(super) fn line(text: &str) -> Outcome<()> {
    print(&format!("{text}\n"))
}

/// Writes text as it is, at once.
pub(super) fn print(text: &str) -> Outcome<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|error| match error.kind() {
        ErrorKind::BrokenPipe => Failure::new(Exit::Closed, "the output is closed"),
        _ => Failure::new(Exit::Failed, format!("the output cannot be written: {error}")),
    })
}

/// Tells something beside the results. Nobody need listen.
pub(super) fn notice(text: &str) {
    whisper(&format!("{text}\n"));
}

/// The same, as it is and at once.
pub(super) fn whisper(text: &str) {
    let mut err = io::stderr().lock();
    let _unheard = err.write_all(text.as_bytes()).and_then(|()| err.flush());
}

/// Writes a message: as one line of JSON, or as YAML without what is empty.
pub(super) fn message<M: Json>(form: Form, message: &M) -> Outcome<()> {
    match form {
        Form::Json => json(message),
        Form::Text => print(&Ordered::of(message)?.full().yaml()?),
    }
}

/// Writes a message as one line of JSON.
pub(super) fn json<M: Json>(message: &M) -> Outcome<()> {
    line(&String::from_utf8_lossy(&to_vec(message)))
}

/// Text of others, for a terminal: nothing in it moves the cursor or changes colours.
pub(super) fn clean(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect()
}
