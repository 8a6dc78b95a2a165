//! What the head of a request may be: larger ones, and those that name no host or several, are
//! refused before anybody reads them. hyper has limits of its own above these, which it answers
//! without a body; `port.rs` sets them.

use http::uri::Authority;
use http::{Version, header};

use super::Request;
use crate::kernel::{Error, Reason, Result};

/// Most header fields of a request.
const FIELDS_MAX: usize = 80;

/// Most bytes of all header fields of a request, each with the four between name, value and end.
pub(super) const FIELD_BYTES_MAX: usize = 16 * 1024;

/// Most bytes of the path and query of a request.
const URI_BYTES_MAX: usize = 16 * 1024;

/// Refuses requests whose head is too large, or names no host or several.
pub(super) fn check(request: &Request) -> Result<()> {
    let uri = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    if uri > URI_BYTES_MAX {
        let message = format!("the path and the query are longer than {URI_BYTES_MAX} bytes");
        return Err(
            Error::new(Reason::UriTooLong, message).with("limit", URI_BYTES_MAX.to_string())
        );
    }
    let headers = request.headers();
    if headers.len() > FIELDS_MAX {
        return Err(too_large(format!("{FIELDS_MAX} header fields"), FIELDS_MAX));
    }
    let bytes: usize = headers.iter().map(|(n, v)| n.as_str().len() + v.len() + 4).sum();
    if bytes > FIELD_BYTES_MAX {
        return Err(too_large(
            format!("{FIELD_BYTES_MAX} bytes of header fields"),
            FIELD_BYTES_MAX,
        ));
    }
    check_host(request)
}

/// One host, as RFC 9112 (3.2) has it: with two, who is in between may have believed the other.
fn check_host(request: &Request) -> Result<()> {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let needed = request.version() == Version::HTTP_11;
    let right = match (hosts.next(), hosts.next()) {
        (None, _) => !needed,
        (Some(host), None) => host.is_empty() || Authority::try_from(host.as_bytes()).is_ok(),
        (Some(_), Some(_)) => false,
    };
    match right {
        true => Ok(()),
        false => Err(Error::field("host", "the header host must name one host, once")),
    }
}

fn too_large(most: String, limit: usize) -> Error {
    let message = format!("the request has more than {most}");
    Error::new(Reason::RequestHeaderFieldsTooLarge, message).with("limit", limit.to_string())
}
