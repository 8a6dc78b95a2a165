//! From the wire to a call: one port, three dialects. `stack.rs` lists the middleware; `rest/` is
//! the transcoder.

mod account;
pub mod admin;
pub mod auth;
mod check;
pub mod coding;
pub mod conditional;
mod credentials;
pub mod deadline;
pub mod dispatch;
mod forwarded;
pub mod health;
pub mod https;
pub mod idempotency;
mod idle;
pub mod limits;
pub mod linger;
pub mod openapi;
pub mod origin;
pub mod peer;
pub mod port;
pub mod rate;
pub mod record;
pub mod request;
pub mod rest;
pub mod role;
pub mod security;
pub mod stack;
pub mod tls;
pub mod web;
mod wire;

use std::convert::Infallible;

use axum::body::Body;
use futures::future::BoxFuture;
use http::{HeaderMap, HeaderValue, header};
use tonic::Status;

use crate::kernel::reply;

/// A request as every layer sees it.
pub type Request = http::Request<Body>;

/// An answer as every layer sees it.
pub type Response = http::Response<Body>;

/// What every layer's call returns: an answer, always.
pub type Answer = BoxFuture<'static, Result<Response, Infallible>>;

/// The dialect that a caller speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// gRPC.
    Grpc,
    /// gRPC-Web, binary or text.
    GrpcWeb,
    /// JSON over HTTP.
    Rest,
}

impl Dialect {
    /// The dialect of a request, by its content type.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Self {
        let kind = headers.get(header::CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
        let begins = |prefix: &str| {
            kind.get(..prefix.len()).is_some_and(|k| k.eq_ignore_ascii_case(prefix.as_bytes()))
        };
        if begins("application/grpc-web") {
            Self::GrpcWeb
        } else if begins("application/grpc") {
            Self::Grpc
        } else {
            Self::Rest
        }
    }

    /// The answer to a failure, in this dialect.
    #[must_use]
    pub fn refuse(self, status: Status, request_id: &str) -> Response {
        if self == Self::Rest {
            return reply::http(&status, request_id);
        }
        let mut response = status.into_http::<Body>();
        if self == Self::GrpcWeb {
            let kind = HeaderValue::from_static("application/grpc-web+proto");
            response.headers_mut().insert(header::CONTENT_TYPE, kind);
        }
        response
    }
}

/// The id of a request, set by the outermost layer.
#[must_use]
pub fn request_id(extensions: &http::Extensions) -> &str {
    extensions.get::<reply::RequestId>().map_or("", |id| id.0.as_str())
}
