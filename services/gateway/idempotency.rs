//! Calls that change something, and may come again: with an `Idempotency-Key` the same call has one
//! effect, and every time the answer of the first. The answer is kept in the transaction of the
//! change (`store/change.rs`); here a call is known again, and what was kept is answered in the
//! caller's dialect. `serve` puts this below authentication.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use http_body::Frame;
use http_body_util::StreamBody;
use sha2::{Digest, Sha256};
use tower::{Layer, Service};

use super::peer::Peer;
use super::rest::call::Remembered;
use super::rest::table::Method;
use super::rest::whole;
use super::{Answer, Dialect, Request, Response, request_id};
use crate::kernel::call::{Call, Ticket};
use crate::kernel::caller::Caller;
use crate::kernel::grants::SELF;
use crate::kernel::{Clock, Error, Pepper, Reason, Result};
use crate::store::{Store, idempotency};

/// The header with the caller's key: 1 to 255 visible characters.
const KEY: &str = "idempotency-key";
/// Longest key.
const KEY_BYTES_MAX: usize = 255;
/// Says that the answer was made before.
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
/// Says until when the key is known.
const EXPIRES: HeaderName = HeaderName::from_static("idempotency-expires");
/// Bytes before a message of gRPC.
const PREFIX: usize = 5;

/// Makes [`Idempotent`] services.
#[derive(Clone)]
pub struct IdempotencyLayer {
    /// Where answers are kept.
    pub store: Store,
    /// What keys and answers are hidden with.
    pub pepper: Pepper,
    /// Tells the time.
    pub clock: Clock,
    /// How long answers are kept.
    pub keep: Duration,
    /// Most bytes of a body.
    pub body_bytes_max: usize,
}

/// Tells services what a call is that changes something, and answers those that come again.
#[derive(Clone)]
pub struct Idempotent<S> {
    inner: S,
    parts: Arc<IdempotencyLayer>,
}

/// A call that may come again, with its body read.
struct Repeatable {
    head: http::request::Parts,
    body: Bytes,
    caller: Caller,
    method: &'static Method,
    ticket: Ticket,
}

impl<S> Layer<S> for IdempotencyLayer {
    type Service = Idempotent<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Idempotent { inner, parts: Arc::new(self.clone()) }
    }
}

impl<S> Service<Request> for Idempotent<S>
where
    S: Service<Request, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request) -> Answer {
        let method = request.extensions().get::<&'static Method>().copied();
        let Some(method) = method.filter(|method| method.changes) else {
            return Box::pin(self.inner.call(request));
        };
        let Some(caller) = request.extensions().get::<Caller>() else {
            return Box::pin(self.inner.call(request));
        };
        let caller = self.parts.told(caller, &request, method);
        let dialect = Dialect::of(request.headers());
        let key = match key(request.headers()) {
            Ok(Some(key)) => key.to_owned(),
            Ok(None) => {
                request.extensions_mut().insert(caller);
                return Box::pin(self.inner.call(request));
            }
            Err(error) => {
                let refused = dialect.refuse(error.into(), request_id(request.extensions()));
                return Box::pin(async move { Ok(refused) });
            }
        };
        let ready = self.inner.clone();
        let (inner, parts) = (std::mem::replace(&mut self.inner, ready), Arc::clone(&self.parts));
        Box::pin(async move {
            let id = request_id(request.extensions()).to_owned();
            let answered = parts.answer(inner, request, (caller, method, key)).await;
            Ok(answered.unwrap_or_else(|error| dialect.refuse(error.into(), &id)))
        })
    }
}

impl IdempotencyLayer {
    /// The caller, with what is to be written down of this call.
    fn told(&self, caller: &Caller, request: &Request, method: &'static Method) -> Caller {
        let call = Call {
            request_id: request_id(request.extensions()).into(),
            address: request.extensions().get::<Peer>().map(|peer| peer.address),
            action: method.action,
            scope: method.scope,
            pepper: self.pepper.clone(),
            ticket: None,
            remembered: None,
        };
        Caller { call: Arc::new(call), ..caller.clone() }
    }

    /// Answers with what was kept, or else makes the call. Whatever it fails for: when the same
    /// call has succeeded meanwhile, its answer is the answer.
    async fn answer<S>(
        &self,
        mut inner: S,
        request: Request,
        (caller, method, key): (Caller, &'static Method, String),
    ) -> Result<Response>
    where
        S: Service<Request, Response = Response, Error = Infallible>,
    {
        let (head, body) = request.into_parts();
        let body = whole(body, self.body_bytes_max + PREFIX).await?;
        let ticket = self.ticket(&head, &body, (&caller, method, &key));
        let call = Repeatable { head, body, caller, method, ticket };
        if let Some(answer) = self.replay(&mut inner, &call).await? {
            return Ok(answer);
        }
        let Ok(mut response) = inner.call(call.request(None)).await;
        if !failed(&response) {
            expires(&mut response, &call.ticket);
            return Ok(response);
        }
        Ok(self.replay(&mut inner, &call).await?.unwrap_or(response))
    }

    fn ticket(
        &self,
        head: &http::request::Parts,
        body: &[u8],
        (caller, method, key): (&Caller, &'static Method, &str),
    ) -> Ticket {
        let mut print = Sha256::new();
        // What may be asked for and answered depends on what the key may do. A new key with the
        // same scopes changes nothing.
        let mut grants: Vec<_> = caller.grants.iter().map(ToString::to_string).collect();
        grants.sort();
        if method.scope == SELF {
            // What a key asks for itself is not another's.
            grants.push(caller.session_id.unwrap_or(caller.key_id).to_string());
        }
        let uri = head.uri.path_and_query().map_or("", |path| path.as_str());
        // Over gRPC a stream and its twin have two paths.
        let target = if uri.starts_with(method.grpc) { method.route } else { uri };
        for part in [head.method.as_str(), target, &grants.join(" ")] {
            print.update(part.as_bytes());
            print.update([0]);
        }
        print.update(body);
        let (now, space) = (self.clock.now(), caller.scope);
        let (project, environment) = (space.project, space.environment.as_str());
        Ticket {
            digest: self.pepper.derive("idempotency", key),
            seal: format!("{project}:{environment}:{}:{key}", method.route).into(),
            route: method.route,
            fingerprint: print.finalize().into(),
            created_at: now,
            expires_at: now.plus(self.keep),
        }
    }

    /// The kept answer of the same call; `None` when there is none.
    async fn replay<S>(&self, inner: &mut S, call: &Repeatable) -> Result<Option<Response>>
    where
        S: Service<Request, Response = Response, Error = Infallible>,
    {
        let ticket = &call.ticket;
        let kept = idempotency::get(self.store.read(), call.caller.scope, ticket).await?;
        let Some(kept) = kept else { return Ok(None) };
        if kept.fingerprint != ticket.fingerprint {
            return Err(reused());
        }
        let answer: Arc<[u8]> = self.pepper.open(&ticket.seal, &kept.answer)?.into();
        let grpc = Dialect::of(&call.head.headers) != Dialect::Rest;
        let mut response = if grpc && !call.method.goes_on {
            framed(&answer)
        } else {
            let Ok(response) = inner.call(call.request(Some(answer))).await;
            response
        };
        if !failed(&response) {
            response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
            let ticket = Ticket { expires_at: kept.expires_at, ..ticket.clone() };
            expires(&mut response, &ticket);
        }
        Ok(Some(response))
    }
}

impl Repeatable {
    /// The request, to be made or, with an answer that was kept, to be answered with it.
    fn request(&self, remembered: Option<Arc<[u8]>>) -> Request {
        let mut request = Request::from_parts(self.head.clone(), Body::from(self.body.clone()));
        let mut call = Call { ticket: None, ..(*self.caller.call).clone() };
        match remembered {
            Some(answer) if self.method.goes_on => call.remembered = Some(answer),
            Some(answer) => {
                request.extensions_mut().insert(Remembered(answer));
            }
            None => call.ticket = Some(self.ticket.clone()),
        }
        let caller = Caller { call: Arc::new(call), ..self.caller.clone() };
        request.extensions_mut().insert(caller);
        request
    }
}

/// The caller's key; `None` when it sends none.
fn key(headers: &HeaderMap) -> Result<Option<&str>> {
    let mut values = headers.get_all(KEY).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let text = value.to_str().ok().map(str::trim).filter(|_| values.next().is_none());
    let fits = |text: &&str| {
        (1..=KEY_BYTES_MAX).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
    };
    let message = format!("{KEY} must be one key of 1 to {KEY_BYTES_MAX} visible characters");
    let wrong = || Error::field(KEY, message).with("limit", KEY_BYTES_MAX.to_string());
    text.filter(fits).map(Some).ok_or_else(wrong)
}

fn reused() -> Error {
    let message = "the idempotency key was used for another request, or with other scopes";
    Error::new(Reason::IdempotencyKeyReused, message).with("field", KEY)
}

fn failed(response: &Response) -> bool {
    let grpc = response.headers().get("grpc-status");
    !response.status().is_success() || grpc.is_some_and(|status| status != "0")
}

fn expires(response: &mut Response, ticket: &Ticket) {
    if let Ok(value) = HeaderValue::try_from(ticket.expires_at.to_string()) {
        response.headers_mut().insert(EXPIRES, value);
    }
}

/// An answer of gRPC: one message, and that all went well.
fn framed(message: &[u8]) -> Response {
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes();
    let frame = Bytes::from([&[0][..], &length, message].concat());
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    // Frames, not a body of a known length: gRPC-Web adds one of its own.
    let frames = [Ok::<_, Infallible>(Frame::data(frame)), Ok(Frame::trailers(trailers))];
    let body = Body::new(StreamBody::new(futures::stream::iter(frames)));
    let mut response = Response::new(body);
    let kind = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}
