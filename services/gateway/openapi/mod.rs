//! The description of the REST API: what the generator wrote of the contract, completed by what
//! only this server knows (`join.rs`), served as a document and as a page to read (`page.rs`).
//! Asked by `dispatch.rs` for two paths, and by `runplane openapi`. Never knows a method or a
//! field.

mod join;
mod page;

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use sha2::{Digest, Sha256};

use super::{Dialect, Request, Response, request_id};
use crate::kernel::{Error, Reason, Result};
use crate::proto;

/// Path of the document.
const DOCUMENT: &str = "/openapi.json";

/// How long a browser may go on with what it has: not without asking, for an update may change it.
const CACHE: &str = "no-cache";

/// The document and the page, ready to be sent. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Pages {
    document: File,
}

/// A file with what has to be said of it.
#[derive(Debug, Clone)]
struct File {
    kind: &'static str,
    /// True when `bytes` are gzip.
    packed: bool,
    bytes: Bytes,
    tag: HeaderValue,
}

/// The document as text.
///
/// # Errors
/// `internal_error` when the generator wrote no document.
pub fn document() -> Result<String> {
    join::complete(proto::OPENAPI).map_err(Error::internal)
}

impl Pages {
    /// Makes the document.
    ///
    /// # Errors
    /// As [`document`].
    pub fn new() -> Result<Self> {
        let text = Bytes::from(document()?);
        Ok(Self { document: File::new("application/json", false, text) })
    }

    /// The answer to a path of the document or the page; `None` for any other.
    #[must_use]
    pub fn answer(&self, request: &Request) -> Option<Response> {
        let path = request.uri().path();
        let file = match path {
            DOCUMENT => self.document.clone(),
            _ => page::file(path)?,
        };
        Some(match *request.method() {
            Method::GET | Method::HEAD => file.answer(request.headers()),
            Method::OPTIONS => methods(),
            _ => refused(request),
        })
    }
}

impl File {
    fn new(kind: &'static str, packed: bool, bytes: Bytes) -> Self {
        let sum = Sha256::digest(&bytes);
        let sum: String = sum.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        // Hexadecimal digits in quotes are a header value.
        let tag = HeaderValue::try_from(format!("\"{sum}\""));
        let tag = tag.unwrap_or(HeaderValue::from_static("\"\""));
        Self { kind, packed, bytes, tag }
    }

    fn answer(self, asked: &HeaderMap) -> Response {
        let known = asked.get_all(header::IF_NONE_MATCH).iter().any(|tags| self.is_among(tags));
        let mut response = Response::new(Body::empty());
        let headers = response.headers_mut();
        headers.insert(header::ETAG, self.tag.clone());
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(CACHE));
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        if self.packed {
            headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
        }
        if known {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            return response;
        }
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(self.kind));
        if self.kind.starts_with("text/html") {
            headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(page::POLICY));
            let none = HeaderValue::from_static("no-referrer");
            headers.insert(header::REFERRER_POLICY, none);
        }
        let mut bytes = self.bytes;
        if self.packed && takes_gzip(asked) {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        } else if self.packed {
            bytes = page::unpacked(&bytes);
        }
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(bytes.len()));
        *response.body_mut() = Body::from(bytes);
        response
    }

    /// True when the tags that a caller has, in any strength, name this file.
    fn is_among(&self, tags: &HeaderValue) -> bool {
        let mine = self.tag.to_str().unwrap_or_default();
        let tags = tags.to_str().unwrap_or_default().split(',').map(str::trim);
        tags.map(|tag| tag.trim_start_matches("W/")).any(|tag| tag == mine || tag == "*")
    }
}

/// True unless a caller does not name gzip, or says that it does not want it.
fn takes_gzip(asked: &HeaderMap) -> bool {
    let values = asked.get_all(header::ACCEPT_ENCODING).iter();
    let mut codings = values.filter_map(|value| value.to_str().ok()).flat_map(|v| v.split(','));
    codings.any(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        let named = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("gzip"));
        named && !parts.any(|part| matches!(part, "q=0" | "q=0.0" | "q=0.00" | "q=0.000"))
    })
}

fn methods() -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let allow = HeaderValue::from_static("GET, HEAD, OPTIONS");
    response.headers_mut().insert(header::ALLOW, allow);
    response
}

fn refused(request: &Request) -> Response {
    let allow = "GET, HEAD";
    let message = format!("{} is not allowed here; allowed: {allow}", request.method());
    let error = Error::new(Reason::MethodNotAllowed, message).with("allow", allow);
    Dialect::Rest.refuse(error.into(), request_id(request.extensions()))
}
