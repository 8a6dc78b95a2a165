//! One call under way: what generated code decodes a request from and encodes its answer with. Made
//! by the transcoder for each request, used by generated dispatch; never knows which service it is
//! for.

use std::sync::{Arc, Mutex};

use axum::body::{Body, Bytes};
use http::{Extensions, HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use tonic::{Status, metadata::MetadataMap};

use crate::kernel::{error::Error, reply};

use super::{
    TranscoderOptions,
    accept::Form,
    json::{self, Json},
    stream::Deadline,
    table::{Answer, Answering, Rule},
};

/// Headers about one connection or one message's framing, which are nobody else's business.
const HOPS: [HeaderName; 8] = [
    header::CONNECTION,
    header::TRANSFER_ENCODING,
    header::TE,
    header::TRAILER,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::CONTENT_LENGTH,
];

/// One call under way.
pub struct Call {
    pub(super) rule: &'static Rule,
    pub(super) uri: Uri,
    /// The path that an alias stands for.
    pub(super) path: Option<String>,
    /// True when the path ends in the rule's verb.
    pub(super) verb: bool,
    pub(super) headers: HeaderMap,
    pub(super) extensions: Extensions,
    /// The body, or one piece of it.
    pub(super) body: Bytes,
    /// The body of a method that takes a stream. Never locked: the lock makes it shareable, as the
    /// future of a call wants it.
    pub(super) upload: Mutex<Option<Body>>,
    pub(super) form: Form,
    /// True for `HEAD`, which starts no stream of items.
    pub(super) head: bool,
    /// The request's id, when the answer may be a stream.
    pub(super) request_id: String,
    /// When the caller of a stream stops waiting.
    pub(super) deadline: Option<Deadline>,
    pub(super) options: Arc<TranscoderOptions>,
}

impl Call {
    /// Index of the rule in the table.
    #[must_use]
    pub fn rule(&self) -> u16 {
        self.rule.id
    }

    /// The answer to a rule that generated code does not know: the table is not its own.
    #[must_use]
    pub fn lost(self) -> Answering<'static> {
        let error = Error::internal(format!("no code for rule {}", self.rule.id));
        Box::pin(std::future::ready(Err(error.into())))
    }

    /// The request as the service takes it: the decoded message, the headers as metadata, the
    /// extensions.
    pub fn request<M>(
        &mut self,
        decode: fn(&Self) -> Result<M, Error>,
    ) -> Result<tonic::Request<M>, Status> {
        let message = decode(self)?;
        let metadata = metadata(std::mem::take(&mut self.headers));
        Ok(tonic::Request::from_parts(metadata, std::mem::take(&mut self.extensions), message))
    }

    /// True when the answer is to be a stream; `asked` is what the request itself says.
    #[must_use]
    pub fn streams(&self, asked: bool) -> bool {
        !self.head && (asked || self.form != Form::Json)
    }

    /// Answers with a message.
    pub fn reply<M: Json>(&self, response: tonic::Response<M>, status: u16) -> Answer {
        let (metadata, message, extensions) = response.into_parts();
        Ok(document(metadata, extensions, json::to_vec(&message), status))
    }

    /// Answers with one member of a message, which `write` writes.
    pub fn reply_member<M>(
        &self,
        response: tonic::Response<M>,
        status: u16,
        write: fn(&M, &mut json::Writer),
    ) -> Answer {
        let (metadata, message, extensions) = response.into_parts();
        Ok(document(metadata, extensions, json::written(|out| write(&message, out)), status))
    }

    /// Answers with a status and nothing else.
    pub fn reply_empty<M>(&self, response: tonic::Response<M>, status: u16) -> Answer {
        let (metadata, _, extensions) = response.into_parts();
        Ok(answer(metadata, extensions, Body::empty(), status))
    }
}

pub(super) fn document(
    metadata: MetadataMap,
    extensions: Extensions,
    body: Vec<u8>,
    status: u16,
) -> Response {
    let mut response = answer(metadata, extensions, Body::from(body), status);
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

/// What of a request's headers is metadata: all but framing.
pub(super) fn metadata(mut headers: HeaderMap) -> MetadataMap {
    drop_hops(&mut headers);
    drop_named(&mut headers, is_framing);
    MetadataMap::from_headers(headers)
}

/// An answer of any form.
pub(super) type Response = http::Response<Body>;

/// An answer with the metadata as headers.
pub(super) fn answer(
    metadata: MetadataMap,
    extensions: Extensions,
    body: Body,
    status: u16,
) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or_default();
    *response.headers_mut() = headers(metadata);
    response.headers_mut().entry(header::CACHE_CONTROL).or_insert(reply::NO_STORE);
    *response.extensions_mut() = extensions;
    response
}

/// What of a response's metadata goes to a REST caller: all but gRPC's own, binary values and
/// framing.
pub(super) fn headers(metadata: MetadataMap) -> HeaderMap {
    let mut headers = metadata.into_headers();
    if headers.is_empty() {
        return headers;
    }
    drop_hops(&mut headers);
    headers.remove(header::CONTENT_TYPE);
    drop_named(&mut headers, |name| name.as_str().starts_with("grpc-") || is_binary(name));
    headers
}

/// True for what gRPC says of its own messages, which a REST request has none of. Deadlines and
/// traces are the call's.
fn is_framing(name: &HeaderName) -> bool {
    let rest = name.as_str().strip_prefix("grpc-");
    rest.is_some_and(|rest| !matches!(rest, "timeout" | "trace-bin" | "tags-bin"))
}

fn is_binary(name: &HeaderName) -> bool {
    name.as_str().ends_with("-bin")
}

fn drop_named(headers: &mut HeaderMap, gone: impl Fn(&HeaderName) -> bool) {
    let gone: Vec<_> = headers.keys().filter(|name| gone(name)).cloned().collect();
    for name in gone {
        headers.remove(name);
    }
}

/// Drops what concerns one connection: what always does, and what `Connection` names.
fn drop_hops(headers: &mut HeaderMap) {
    if headers.contains_key(header::CONNECTION) {
        let lists = headers.get_all(header::CONNECTION).iter().filter_map(|v| v.to_str().ok());
        let names: Vec<HeaderName> =
            lists.flat_map(|list| list.split(',')).filter_map(|n| n.trim().parse().ok()).collect();
        for name in names {
            headers.remove(name);
        }
    }
    for name in &HOPS {
        headers.remove(name);
    }
}
