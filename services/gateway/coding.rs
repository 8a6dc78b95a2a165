//! Content codings, over REST only: answers compressed as the caller accepts, bodies of requests
//! decompressed as they are read. Never touches streamed answers, which must not wait for more, nor
//! gRPC, which compresses its own messages.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use async_compression::Level;
use async_compression::tokio::bufread::{
    BrotliDecoder, BrotliEncoder, GzipDecoder, GzipEncoder, ZstdDecoder, ZstdEncoder,
};
use async_compression::zstd::{CParameter, DParameter};
use axum::body::Body;
use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt};
use http::header::Entry;
use http::{HeaderMap, HeaderValue, header};
use http_body::Body as _;
use tokio::io::{AsyncBufRead, AsyncRead};
use tokio_util::io::{ReaderStream, StreamReader};
use tower::{Layer, Service};

use super::rest::accept::quality;
use super::{Answer, Dialect, Request, Response, request_id};
use crate::kernel::{Error, Reason, Result};

/// Fewer bytes are not worth it.
const BYTES_MIN: u64 = 1024;

/// Bytes that are coded at a time.
const CHUNK: usize = 16 * 1024;

/// Largest window of zstd, as a power of two: what RFC 9659 lets senders use over HTTP.
const WINDOW_LOG_MAX: u32 = 23;

/// Most coded bytes that are read ahead of what they come to: a block, and what a connection hands
/// over at once.
const AHEAD_BYTES_MAX: usize = 1024 * 1024;

/// Bytes that a coded body has come to so far.
type Made = Arc<AtomicUsize>;

/// Makes [`Coded`] services.
#[derive(Debug, Clone, Copy)]
pub struct CodingLayer;

/// Codes answers and decodes requests.
#[derive(Debug, Clone)]
pub struct Coded<S> {
    inner: S,
}

/// A content coding; the first of those that a caller likes equally is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Coding {
    /// The best for its price.
    Zstd,
    /// The smallest.
    Brotli,
    /// Known to all.
    Gzip,
}

/// What `Accept-Encoding` says.
struct Accepted<'a> {
    named: Vec<(&'a str, f32)>,
    /// How much anything else is liked.
    others: Option<f32>,
    /// How much what is not coded is liked, where that is said.
    identity: Option<f32>,
}

/// What a caller gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Choice {
    coding: Option<Coding>,
    /// False when it refuses what is not coded.
    identity: bool,
}

impl<S> Layer<S> for CodingLayer {
    type Service = Coded<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Coded { inner }
    }
}

impl<S> Service<Request> for Coded<S>
where
    S: Service<Request, Response = Response, Error = Infallible, Future = Answer>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request) -> Answer {
        let headers = request.headers();
        let [coded, accepts, conditional] =
            [header::CONTENT_ENCODING, header::ACCEPT_ENCODING, header::IF_MATCH]
                .map(|name| headers.contains_key(name));
        let concerns = coded || accepts || conditional;
        if !concerns || Dialect::of(headers) != Dialect::Rest {
            return self.inner.call(request);
        }
        if conditional {
            unsuffix(request.headers_mut());
        }
        if coded {
            let id = request_id(request.extensions()).to_owned();
            request = match decoded(request) {
                Ok(request) => request,
                Err(error) => {
                    let refused = Dialect::Rest.refuse(error.into(), &id);
                    return Box::pin(std::future::ready(Ok(refused)));
                }
            };
        }
        if !accepts {
            return self.inner.call(request);
        }
        let choice = choose(request.headers());
        let call = self.inner.call(request);
        Box::pin(async move { call.await.map(|response| encoded(response, choice)) })
    }
}

impl Coding {
    const ALL: [Self; 3] = [Self::Zstd, Self::Brotli, Self::Gzip];

    fn name(self) -> &'static str {
        match self {
            Self::Zstd => "zstd",
            Self::Brotli => "br",
            Self::Gzip => "gzip",
        }
    }

    fn named(name: &str) -> Option<Self> {
        let name = if name.eq_ignore_ascii_case("x-gzip") { "gzip" } else { name };
        Self::ALL.into_iter().find(|coding| name.eq_ignore_ascii_case(coding.name()))
    }

    /// Says that an answer is coded so. A coded representation has a strong tag of its own: the
    /// other's, with the coding at its end.
    pub(super) fn mark(self, headers: &mut HeaderMap) {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(self.name()));
        let tag = headers.get(header::ETAG).and_then(|tag| tag.to_str().ok());
        let Some(opaque) = tag.and_then(|tag| tag.strip_suffix('"')) else { return };
        if let Ok(tag) = HeaderValue::try_from(format!("{opaque}-{}\"", self.name())) {
            headers.insert(header::ETAG, tag);
        }
    }

    fn encode(self, body: Body, length: u64) -> Body {
        let reader = StreamReader::new(body.into_data_stream().map_err(io::Error::other));
        match self {
            Self::Zstd => {
                // No larger a window than there is to look back on.
                let window = CParameter::window_log(length.ilog2().clamp(10, 20) + 1);
                let level = Level::Precise(3);
                stream(ZstdEncoder::with_quality_and_params(reader, level, &[window]))
            }
            // The default is for files that are made once and read often.
            Self::Brotli => stream(BrotliEncoder::with_quality(reader, Level::Precise(4))),
            Self::Gzip => stream(GzipEncoder::with_quality(reader, Level::Precise(6))),
        }
    }

    fn decode(self, reader: impl AsyncBufRead + Send + Unpin + 'static, made: Made) -> Body {
        match self {
            Self::Zstd => {
                let window = [DParameter::window_log_max(WINDOW_LOG_MAX)];
                let mut decoder = ZstdDecoder::with_params(reader, &window);
                decoder.multiple_members(true);
                self.checked(decoder, made)
            }
            Self::Brotli => self.checked(BrotliDecoder::new(reader), made),
            Self::Gzip => {
                let mut decoder = GzipDecoder::new(reader);
                decoder.multiple_members(true);
                self.checked(decoder, made)
            }
        }
    }

    /// A failure of the decoder is the caller's; one of the connection stays what it is.
    fn checked(self, decoder: impl AsyncRead + Send + 'static, made: Made) -> Body {
        let stream = ReaderStream::with_capacity(decoder, CHUNK);
        let stream = stream.inspect_ok(move |bytes| {
            made.fetch_add(bytes.len(), Ordering::Relaxed);
        });
        Body::from_stream(stream.map_err(move |error| -> axum::BoxError {
            if error.get_ref().is_some_and(|inner| inner.is::<axum::Error>()) {
                return error.into();
            }
            let message = format!("the body is not what {} makes: {error}", self.name());
            Error::field("content-encoding", message).into()
        }))
    }
}

fn stream(reader: impl AsyncRead + Send + 'static) -> Body {
    Body::from_stream(ReaderStream::with_capacity(reader, CHUNK))
}

/// The request with its body as it was before it was coded. What that comes to is limited where it
/// is read.
fn decoded(request: Request) -> Result<Request> {
    let (mut parts, body) = request.into_parts();
    let mut coding = None;
    for value in parts.headers.get_all(header::CONTENT_ENCODING) {
        let names = value.to_str().unwrap_or("that is not ASCII").split(',').map(str::trim);
        for name in names.filter(|name| !name.is_empty() && !is_identity(name)) {
            if coding.is_some() {
                return Err(unsupported("more than one"));
            }
            coding = Some(Coding::named(name).ok_or_else(|| unsupported(name))?);
        }
    }
    parts.headers.remove(header::CONTENT_ENCODING);
    let Some(coding) = coding.filter(|_| !body.is_end_stream()) else {
        return Ok(Request::from_parts(parts, body));
    };
    parts.headers.remove(header::CONTENT_LENGTH);
    let made = Made::default();
    let reader = StreamReader::new(paced(body, Arc::clone(&made)));
    Ok(Request::from_parts(parts, coding.decode(reader, made)))
}

/// A coded body, for as long as it comes to something: empty members without end would be read for
/// ever, and never be too large.
fn paced(body: Body, made: Made) -> impl Stream<Item = io::Result<Bytes>> + Send + Unpin {
    let mut read = 0_usize;
    body.into_data_stream().map(move |data| {
        let data = data.map_err(io::Error::other)?;
        read = read.saturating_add(data.len());
        if read > made.load(Ordering::Relaxed).saturating_add(AHEAD_BYTES_MAX) {
            let message = format!("more than {AHEAD_BYTES_MAX} bytes of the body come to nothing");
            let error = Error::field("content-encoding", message);
            return Err(io::Error::other(axum::Error::new(error)));
        }
        Ok(data)
    })
}

fn unsupported(name: &str) -> Error {
    let name: String = name.chars().take(100).collect();
    let codings = Coding::ALL.map(Coding::name).join(", ");
    let message = format!("the content encoding {name} is not supported; send one of {codings}");
    Error::new(Reason::UnsupportedMediaType, message).with("accept_encoding", codings)
}

fn is_identity(name: &str) -> bool {
    name.eq_ignore_ascii_case("identity")
}

/// True when a caller takes gzip, as far as it likes what is not coded no better.
pub(super) fn takes_gzip(headers: &HeaderMap) -> bool {
    Accepted::read(headers).likes(Coding::Gzip).is_some()
}

/// The coding that fits `Accept-Encoding` best.
fn choose(headers: &HeaderMap) -> Choice {
    let accepted = Accepted::read(headers);
    let mut best: Option<(Coding, f32)> = None;
    for coding in Coding::ALL {
        let weight = accepted.likes(coding).unwrap_or_default();
        if weight > best.map_or(0.0, |(_, weight)| weight) {
            best = Some((coding, weight));
        }
    }
    let identity = accepted.identity != Some(0.0);
    Choice { coding: best.map(|(coding, _)| coding), identity }
}

impl<'a> Accepted<'a> {
    fn read(headers: &'a HeaderMap) -> Self {
        let mut named: Vec<(&str, f32)> = Vec::new();
        for value in headers.get_all(header::ACCEPT_ENCODING) {
            let items = value.to_str().unwrap_or_default().split(',').map(str::trim);
            named.extend(items.filter(|item| !item.is_empty()).map(weigh));
        }
        let find = |fits: fn(&str) -> bool| {
            named.iter().find(|(name, _)| fits(name)).map(|(_, weight)| *weight)
        };
        let others = find(|name| name == "*");
        let identity = find(is_identity).or(others.filter(|weight| *weight <= 0.0));
        Self { named, others, identity }
    }

    /// How much a coding is liked; none: not at all, or less than what is not coded.
    fn likes(&self, coding: Coding) -> Option<f32> {
        let named = self.named.iter().find(|(name, _)| Coding::named(name) == Some(coding));
        let weight = named.map(|(_, weight)| *weight).or(self.others)?;
        (weight > 0.0 && self.identity.is_none_or(|identity| weight >= identity)).then_some(weight)
    }
}

fn weigh(item: &str) -> (&str, f32) {
    let mut parts = item.split(';');
    let name = parts.next().unwrap_or_default().trim();
    (name, quality(parts))
}

/// The answer, compressed when that is worth it and the caller takes it.
fn encoded(mut response: Response, choice: Choice) -> Response {
    let bytes_min = if choice.identity { BYTES_MIN } else { 1 };
    let Some(length) = whole(&response).filter(|length| *length >= bytes_min) else {
        return response;
    };
    let vary = HeaderValue::from_static("accept-encoding");
    if !response.headers().get_all(header::VARY).iter().any(|value| value == vary) {
        response.headers_mut().append(header::VARY, vary);
    }
    let Some(coding) = choice.coding else { return response };
    let headers = response.headers_mut();
    headers.remove(header::CONTENT_LENGTH);
    headers.remove(header::ACCEPT_RANGES);
    coding.mark(headers);
    if response.body().is_end_stream() {
        return response;
    }
    response.map(|body| coding.encode(body, length))
}

/// Bytes of a body that may be coded: whole, of a kind that shrinks, and not coded yet. The answer
/// to HEAD has none and tells how many there would be.
fn whole(response: &Response) -> Option<u64> {
    let headers = response.headers();
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let told = || text(header::CONTENT_LENGTH).and_then(|length| length.parse().ok());
    let length = response.body().size_hint().exact().filter(|length| *length > 0).or_else(told)?;
    let fixed = headers.contains_key(header::CONTENT_ENCODING)
        || headers.contains_key(header::CONTENT_RANGE)
        || text(header::CACHE_CONTROL).is_some_and(|control| control.contains("no-transform"));
    (!fixed && text(header::CONTENT_TYPE).is_some_and(shrinks)).then_some(length)
}

/// True for kinds of text, save streams of events.
fn shrinks(kind: &str) -> bool {
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let text = kind.starts_with("text/") && kind != "text/event-stream";
    let endings = ["+json", "+xml"].iter().any(|ending| kind.ends_with(ending));
    let names = ["json", "javascript", "xml", "yaml"];
    let known = kind.strip_prefix("application/").is_some_and(|name| names.contains(&name));
    text || endings || known
}

/// A change is of the resource, however it was coded when the caller read it.
fn unsuffix(headers: &mut HeaderMap) {
    let Entry::Occupied(mut tags) = headers.entry(header::IF_MATCH) else { return };
    for value in tags.iter_mut() {
        let Ok(text) = value.to_str() else { continue };
        let plain = Coding::ALL.iter().fold(text.to_owned(), |text, coding| {
            text.replace(&format!("-{}\"", coding.name()), "\"")
        });
        if let Ok(plain) = HeaderValue::try_from(plain) {
            *value = plain;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(accept: &str) -> (Option<Coding>, bool) {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_str(accept).unwrap());
        let choice = choose(&headers);
        (choice.coding, choice.identity)
    }

    #[test]
    fn weight_decides_then_our_order() {
        use Coding::{Brotli, Gzip, Zstd};
        for (accept, coding, identity) in [
            ("", None, true),
            ("gzip", Some(Gzip), true),
            ("X-GZIP", Some(Gzip), true),
            ("gzip, deflate, br, zstd", Some(Zstd), true),
            ("gzip, deflate, br", Some(Brotli), true),
            ("br;q=0.5, gzip;q=0.9", Some(Gzip), true),
            ("br;Q=0.5 , gzip; q = 0.4", Some(Brotli), true),
            ("*", Some(Zstd), true),
            ("zstd;q=0, *", Some(Brotli), true),
            ("*;q=0", None, false),
            ("gzip, *;q=0", Some(Gzip), false),
            ("gzip, identity;q=0", Some(Gzip), false),
            ("gzip;q=0.5, identity", None, true),
            ("gzip, identity;q=0.5", Some(Gzip), true),
            ("gzip;q=0", None, true),
            ("gzip;q=x", None, true),
            ("gzip;q=NaN", None, true),
            ("deflate, compress", None, true),
            ("identity", None, true),
        ] {
            assert_eq!(chosen(accept), (coding, identity), "{accept}");
        }
    }

    #[test]
    fn only_text_shrinks() {
        for kind in ["application/json", "Application/JSON; charset=utf-8", "text/html", "a/b+json"]
        {
            assert!(shrinks(kind), "{kind}");
        }
        for kind in ["text/event-stream", "application/grpc", "application/grpc+proto", "image/png"]
        {
            assert!(!shrinks(kind), "{kind}");
        }
        assert!(!shrinks("application/x-ndjson") && !shrinks("Text/Event-Stream; a=b"));
    }
}
