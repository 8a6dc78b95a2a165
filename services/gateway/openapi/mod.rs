//! The description of the REST API: what the generator wrote of the contract, completed by what
//! only this server knows (`join.rs`), served as a document and as a page to read (`page.rs`).
//! Asked by `dispatch.rs` for two paths, and by `runplane openapi`. Never knows a method or a
//! field.

mod join;
mod page;

use std::sync::{Arc, OnceLock};

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};

use super::coding::{self, Coding};
use super::rest::tags::digest;
use super::{Dialect, Request, Response, request_id};
use crate::kernel::{Error, Reason, Result};
use crate::proto;

/// Path of the document.
const DOCUMENT: &str = "/openapi.json";

/// How long a browser may go on with what it has: not without asking, for an update may change it.
const CACHE: &str = "no-cache";

/// Said of what is sent as it was made: no layer above codes it again.
const CACHE_AS_IS: &str = "no-cache, no-transform";

/// The document and the page. Cheap to clone. The document is made when it is asked for first: most
/// processes never are, and it is a tenth of what an idle one holds.
#[derive(Debug, Clone, Default)]
pub struct Pages {
    document: Arc<OnceLock<File>>,
}

/// A file with what has to be said of it.
#[derive(Debug)]
struct File {
    kind: &'static str,
    plain: Bytes,
    /// The same in gzip, where it is there.
    gzip: Option<Bytes>,
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
    /// The answer to a path of the document or the page; `None` for any other.
    #[must_use]
    pub fn answer(&self, request: &Request) -> Option<Response> {
        let file = match request.uri().path() {
            DOCUMENT => self.document(),
            path => Ok(page::file(path)?),
        };
        Some(match (request.method(), file) {
            (&Method::GET | &Method::HEAD, Ok(file)) => file.answer(request.headers()),
            (&Method::GET | &Method::HEAD, Err(error)) => refuse(request, error),
            (&Method::OPTIONS, _) => methods(),
            _ => refused(request),
        })
    }

    /// The document, made once.
    fn document(&self) -> Result<&File> {
        if let Some(made) = self.document.get() {
            return Ok(made);
        }
        let made = File::new("application/json", Bytes::from(document()?), None);
        Ok(self.document.get_or_init(|| made))
    }
}

impl File {
    fn new(kind: &'static str, plain: Bytes, gzip: Option<Bytes>) -> Self {
        // What a digest is written as is a header value.
        let tag = HeaderValue::try_from(digest(&plain));
        let tag = tag.unwrap_or(HeaderValue::from_static("\"\""));
        Self { kind, plain, gzip, tag }
    }

    /// The whole file; whether its caller has it already is a layer's to see.
    fn answer(&self, asked: &HeaderMap) -> Response {
        let mut response = Response::new(Body::empty());
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(self.kind));
        headers.insert(header::ETAG, self.tag.clone());
        let cache = if self.gzip.is_some() { CACHE_AS_IS } else { CACHE };
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
        headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        if self.kind.starts_with("text/html") {
            headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(page::POLICY));
            let none = HeaderValue::from_static("no-referrer");
            headers.insert(header::REFERRER_POLICY, none);
        }
        let bytes = match &self.gzip {
            Some(gzip) if coding::takes_gzip(asked) => {
                Coding::Gzip.mark(headers);
                gzip
            }
            _ => &self.plain,
        };
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(bytes.len()));
        *response.body_mut() = Body::from(bytes.clone());
        response
    }
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
    refuse(request, Error::new(Reason::MethodNotAllowed, message).with("allow", allow))
}

fn refuse(request: &Request, error: Error) -> Response {
    Dialect::Rest.refuse(error.into(), request_id(request.extensions()))
}
