//! One call under way: what generated code decodes a request from and encodes its answer with. Made
//! by the transcoder for each request, used by generated dispatch; never knows which service it is
//! for.

use std::sync::{Arc, Mutex};

use axum::body::{Body, Bytes};
use http::{Extensions, HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use prost::Message;
use tonic::{Status, metadata::MetadataMap};

use crate::kernel::{error::Error, reply};

use super::{
    TranscoderOptions,
    accept::Form,
    json::{self, Json},
    stream::Deadline,
    table::{Answer, Answering, Rule},
};

/// Header fields that an answer usually has.
const HEADERS: usize = 6;
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// The answer of the same call, made before: a message in protobuf, in the extensions of a request
/// whose service is not to be asked.
#[derive(Debug, Clone)]
pub struct Remembered(pub Arc<[u8]>);

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
    /// The answer, when it was made before.
    pub(super) remembered: Option<Remembered>,
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

    /// The answer of the same call, made before and kept; `None`: it is to be made.
    pub fn remembered<M: Message + Default>(
        &mut self,
    ) -> Result<Option<tonic::Response<M>>, Status> {
        let Some(Remembered(kept)) = self.remembered.take() else { return Ok(None) };
        let message = M::decode(&*kept).map_err(Error::internal)?;
        Ok(Some(tonic::Response::new(message)))
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
    response.headers_mut().insert(header::CONTENT_TYPE, JSON);
    response
}

/// What of a request's headers is metadata: all but framing.
pub(super) fn metadata(mut headers: HeaderMap) -> MetadataMap {
    drop_hops(&mut headers, is_framing);
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
        return HeaderMap::with_capacity(HEADERS);
    }
    let own = |name: &HeaderName| {
        let name = name.as_str();
        name.starts_with("grpc-") || name.ends_with("-bin") || name == "content-type"
    };
    drop_hops(&mut headers, own);
    headers
}

/// True for what gRPC says of its own messages, which a REST request has none of. Deadlines and
/// traces are the call's.
fn is_framing(name: &HeaderName) -> bool {
    let rest = name.as_str().strip_prefix("grpc-");
    rest.is_some_and(|rest| !matches!(rest, "timeout" | "trace-bin" | "tags-bin"))
}

/// True for what is about one connection or one message's framing, and nobody else's business.
fn is_hop(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "connection"
            | "content-length"
            | "keep-alive"
            | "proxy-connection"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
    )
}

/// Drops what concerns one connection, by its name or because `Connection` names it, and what else
/// is gone.
fn drop_hops(headers: &mut HeaderMap, gone: impl Fn(&HeaderName) -> bool) {
    let gone = |name: &HeaderName| is_hop(name) || gone(name);
    // Most requests have nothing of the kind.
    if !headers.keys().any(gone) {
        return;
    }
    let lists = headers.get_all(header::CONNECTION).iter().filter_map(|list| list.to_str().ok());
    let listed = lists.flat_map(|list| list.split(',')).filter_map(|name| name.trim().parse().ok());
    let names: Vec<HeaderName> =
        listed.chain(headers.keys().filter(|n| gone(n)).cloned()).collect();
    for name in names {
        headers.remove(name);
    }
}
