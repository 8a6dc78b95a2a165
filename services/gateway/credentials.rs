//! What a caller shows of who it is: a key in one of three headers, or a session in a cookie, where
//! one counts. Used by `auth.rs`, which looks it up; here nothing is looked up.

use http::{Extensions, HeaderMap, header};

use super::origin::{FETCH_SITE, Trusted};
use super::rest::table::Method;
use crate::kernel::session::COOKIE;
use crate::kernel::{Error, Reason, Result};

/// The key in `Authorization: Bearer` or `Authorization: Token`, else in `x-api-key`, else the
/// session in a cookie.
pub(super) fn presented<'a>(
    headers: &'a HeaderMap,
    extensions: &Extensions,
    method: &Method,
) -> Result<&'a str> {
    let (authorization, key) = (only(headers, "authorization")?, only(headers, "x-api-key")?);
    if let Some(text) = authorization {
        let (scheme, key_of_ours) = text.split_once(' ').ok_or_else(invalid)?;
        let known = scheme.eq_ignore_ascii_case("bearer") || scheme.eq_ignore_ascii_case("token");
        if known {
            return Ok(key_of_ours.trim());
        }
    }
    // Another scheme is a proxy's: it does not hide a key of ours.
    let cookie = || cookie(headers).filter(|_| counts(headers, extensions, method));
    let none = if authorization.is_some() { invalid } else { missing };
    key.or_else(cookie).ok_or_else(none)
}

/// The value of a header. Who sends it twice is refused: proxies do not agree on which one counts.
fn only<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<Option<&'a str>> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let text = value.to_str().ok().filter(|_| values.next().is_none());
    text.map(|text| Some(text.trim())).ok_or_else(invalid)
}

/// The session in a cookie. A key does not count there: no answer ever puts one there.
fn cookie(headers: &HeaderMap) -> Option<&str> {
    let lists = headers.get_all(header::COOKIE).iter().filter_map(|list| list.to_str().ok());
    let mut pairs = lists.flat_map(|list| list.split(';')).filter_map(|pair| pair.split_once('='));
    let value = pairs.find(|(name, _)| name.trim() == COOKIE).map(|(_, value)| value.trim());
    value.filter(|value| value.starts_with("ses_"))
}

/// True when a cookie counts: a browser sends it with every call, whoever has the call made. It
/// counts when `origin.rs` has seen that a page makes it which may; a call that changes nothing
/// may also come from a browser that does not say, or in which somebody has opened the address (no
/// other page can read the answer). A link in a mail is opened so too: it must change nothing.
fn counts(headers: &HeaderMap, extensions: &Extensions, method: &Method) -> bool {
    let no_page = !headers.contains_key(header::ORIGIN)
        && headers.get(FETCH_SITE).is_none_or(|site| site == "none");
    extensions.get::<Trusted>().is_some() || (no_page && !method.changes)
}

fn missing() -> Error {
    Error::new(Reason::MissingApiKey, Reason::MissingApiKey.row().example)
}

pub(super) fn invalid() -> Error {
    Error::new(Reason::InvalidApiKey, Reason::InvalidApiKey.row().example)
}
