//! The entity tags that a change of an agent is based on. Asked before the change; that nothing
//! gets in between is the store's to see.

use super::convert;
use crate::kernel::{Error, Reason, Result};
use crate::store::tables::agent;

/// Refuses what is no entity tag: it would never match.
pub(super) fn check(if_match: &[String]) -> Result<()> {
    let wrong = if_match.iter().position(|tag| tag != "*" && !is_tag(tag));
    let Some(at) = wrong else { return Ok(()) };
    let field = format!("if_match[{at}]");
    let message = format!("{field} must be * or an entity tag in double quotes");
    Err(Error::field(field, message))
}

/// Fails unless the agent has one of the tags; none are no condition. A weak tag never matches.
pub(super) fn met(current: &agent::Model, if_match: &[String]) -> Result<()> {
    let etag = convert::etag(current);
    if if_match.is_empty() || if_match.iter().any(|tag| tag == "*" || *tag == etag) {
        return Ok(());
    }
    let message = format!("the agent has the entity tag {etag}, which if_match does not name");
    let error = Error::new(Reason::PreconditionFailed, message).with("field", "if_match");
    Err(error.with("etag", etag).with("version", current.version.to_string()))
}

fn is_tag(text: &str) -> bool {
    let opaque = text.strip_prefix("W/").unwrap_or(text).strip_prefix('"');
    let opaque = opaque.and_then(|rest| rest.strip_suffix('"'));
    opaque.is_some_and(|opaque| !opaque.contains(|c: char| c == '"' || c <= ' ' || c == '\x7f'))
}
