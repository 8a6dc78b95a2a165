//! The transcoder: route, decode, call, encode, stream. The gateway mounts it for everything that
//! is not gRPC. It knows no resource of ours and could be a crate of its own.

pub mod accept;
pub mod alias;
mod body;
pub mod call;
mod decode;
pub mod json;
pub mod notice;
pub mod path;
pub mod query;
pub mod raw;
pub mod refuse;
pub mod route;
pub mod stream;
pub mod table;
pub mod tags;
mod upload;

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use axum::body::{Body, Bytes};
use http::{Extensions, HeaderMap, HeaderValue, Method, StatusCode, Uri, header, request::Parts};
use http_body::Body as _;
use tokio_util::sync::CancellationToken;
use tower::Service;

use crate::kernel::{
    error::{Error, Reason},
    reply::RequestId,
};

use alias::Alias;
pub use body::whole;
use call::{Call, Remembered};
use refuse::ErrorForm;
use route::{Found, Router};
use stream::Deadline;
use table::{Answer, Api, Rule, Shape};

/// Limits and habits of the transcoder.
#[derive(Debug, Clone)]
pub struct TranscoderOptions {
    /// Bytes that a request body may have.
    pub body_bytes_max: usize,
    /// Levels of nesting that a JSON body may have, at most 127.
    pub json_depth_max: u32,
    /// Parameters that a query may have.
    pub query_pairs_max: usize,
    /// Bytes that a query may have.
    pub query_bytes_max: usize,
    /// How long a stream may be silent before its status is sent.
    pub first_item_wait_ms: u64,
    /// How long a stream may be silent before a comment keeps it alive; at least 1.
    pub ping_s: u64,
    /// After how long a caller of server-sent events whose connection has broken shall come back;
    /// 0: it is not told.
    pub retry_ms: u64,
    /// The same, of a stream that ends because the server does.
    pub ending_retry_ms: u64,
    /// Fires when the server begins to end.
    pub ending: CancellationToken,
    /// Names of query parameters that are passed over, such as those of a proxy.
    pub query_ignored: Vec<String>,
    /// True passes over what the contract does not know, in bodies and queries; false refuses it.
    pub ignore_unknown: bool,
    /// How failures look.
    pub errors: ErrorForm,
    /// Other prefixes for the same paths; the first that fits is taken.
    pub aliases: Vec<Alias>,
}

/// REST for the services of one API, as a tower service. Cheap to clone.
#[derive(Clone)]
pub struct Transcoder {
    inner: Arc<Inner>,
}

/// What a request's path and method have led to.
#[derive(Clone)]
struct Routed(&'static Rule, bool);

/// The rule that a request's path and method have led to, once it was looked for.
#[must_use]
pub fn routed(extensions: &Extensions) -> Option<&'static Rule> {
    extensions.get::<Routed>().map(|routed| routed.0)
}

struct Inner {
    api: Box<dyn Api>,
    router: Router,
    options: Arc<TranscoderOptions>,
}

impl Default for TranscoderOptions {
    fn default() -> Self {
        Self {
            body_bytes_max: 1024 * 1024,
            json_depth_max: 100,
            query_pairs_max: 128,
            query_bytes_max: 16 * 1024,
            first_item_wait_ms: 250,
            ping_s: 15,
            retry_ms: 0,
            ending_retry_ms: 500,
            ending: CancellationToken::new(),
            query_ignored: Vec::new(),
            ignore_unknown: false,
            errors: ErrorForm::default(),
            aliases: Vec::new(),
        }
    }
}

impl Transcoder {
    /// Mounts the services of an API.
    #[must_use]
    pub fn new(api: impl Api, options: TranscoderOptions) -> Self {
        let router = Router::new(api.rules());
        let inner = Inner { api: Box::new(api), router, options: Arc::new(options) };
        Self { inner: Arc::new(inner) }
    }

    /// gRPC path of the method that a request calls, aliases included. Of a method and its
    /// streaming twin it names the first; both need the same scope. The request keeps what was
    /// found: its call does not look again.
    pub fn find(&self, request: &mut http::Request<Body>) -> Option<&'static str> {
        let alias = alias::find(&self.inner.options.aliases, request.uri().path());
        let path = alias.as_ref().map_or(request.uri().path(), |(_, path)| path);
        let Found::Rule(rule, verb) = self.inner.router.find(request.method().as_str(), path)
        else {
            return None;
        };
        request.extensions_mut().insert(Routed(rule, verb));
        Some(rule.grpc)
    }

    async fn serve(self, request: http::Request<Body>) -> http::Response<Body> {
        let (parts, body) = request.into_parts();
        let request_id = parts.extensions.get::<RequestId>().cloned();
        let head = parts.method == Method::HEAD;
        let answer = self.inner.answer(parts, body).await;
        let errors = self.inner.options.errors;
        let response = answer.unwrap_or_else(|status| errors.answer(&status, request_id.as_ref()));
        if head { bodiless(response) } else { response }
    }
}

impl Inner {
    async fn answer(&self, parts: Parts, body: Body) -> Answer {
        let Parts { method, uri, mut headers, mut extensions, .. } = parts;
        let alias = alias::find(&self.options.aliases, uri.path());
        let path = alias.map(|(alias, path)| {
            alias.complete(&method, &mut headers);
            path
        });
        let found = match extensions.remove() {
            Some(Routed(rule, verb)) => Found::Rule(rule, verb),
            None => self.router.find(method.as_str(), path.as_deref().unwrap_or(uri.path())),
        };
        let (rule, verb) = match found {
            Found::Rule(rule, verb) => (rule, verb),
            Found::Methods(methods) => return other_method(&method, &methods),
            Found::Nothing => return Err(no_route(uri.path()).into()),
        };
        let parts = (method, uri, headers, extensions);
        notice::mark(self.called(rule, (verb, path), parts, body).await, rule.deprecated)
    }

    async fn called(
        &self,
        rule: &'static Rule,
        (verb, path): (bool, Option<String>),
        (method, uri, headers, mut extensions): (Method, Uri, HeaderMap, Extensions),
        body: Body,
    ) -> Answer {
        let form = self.form(&method, &headers, rule)?;
        let (body, upload) = if rule.uploads {
            body::check_upload(&headers, rule.body)?;
            (Bytes::new(), Mutex::new(Some(body)))
        } else {
            let bytes_max = self.options.body_bytes_max;
            (body::read(body, &headers, rule.body, bytes_max).await?, Mutex::new(None))
        };
        let options = Arc::clone(&self.options);
        let request_id = request_id(rule, &extensions);
        let deadline = extensions.get::<Deadline>().copied();
        let remembered = extensions.remove::<Remembered>();
        let call = Call {
            rule,
            uri,
            path,
            verb,
            headers,
            extensions,
            body,
            upload,
            form,
            head: method == Method::HEAD,
            request_id,
            remembered,
            deadline,
            options,
        };
        self.api.dispatch(call).await
    }

    /// The form of the answer; that of `HEAD` has no body to be of any.
    fn form(
        &self,
        method: &Method,
        headers: &HeaderMap,
        rule: &Rule,
    ) -> Result<accept::Form, Error> {
        if method == Method::HEAD {
            Ok(accept::Form::Json)
        } else {
            accept::choose(headers, rule.shape)
        }
    }
}

impl Service<http::Request<Body>> for Transcoder {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let transcoder = self.clone();
        Box::pin(async move { Ok(transcoder.serve(request).await) })
    }
}

/// The id that a stream needs after the request is gone.
fn request_id(rule: &Rule, extensions: &Extensions) -> String {
    if rule.shape == Shape::Unary {
        return String::new();
    }
    extensions.get::<RequestId>().map(|id| id.0.clone()).unwrap_or_default()
}

/// The answer to `HEAD`: keeps what a body would have said about itself, and drops it.
#[must_use]
pub fn bodiless(mut response: http::Response<Body>) -> http::Response<Body> {
    let length = response.body().size_hint().exact().filter(|length| *length > 0);
    if let Some(length) = length {
        response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    *response.body_mut() = Body::empty();
    response
}

/// The path exists: tells which methods it has, as an answer to `OPTIONS`, else as a failure.
fn other_method(method: &Method, methods: &[&str]) -> Answer {
    let allow = methods.join(", ");
    if method != Method::OPTIONS {
        let message = format!("{method} is not allowed here; allowed: {allow}");
        return Err(Error::new(Reason::MethodNotAllowed, message).with("allow", allow).into());
    }
    let mut response = http::Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let allow = HeaderValue::try_from(format!("{allow}, OPTIONS")).map_err(Error::internal)?;
    response.headers_mut().insert(header::ALLOW, allow);
    Ok(response)
}

/// The failure of a path that no method has, whatever the dialect.
#[must_use]
pub fn no_route(path: &str) -> Error {
    let path: String = path.chars().take(200).collect();
    Error::new(Reason::RouteNotFound, format!("no method has the path {path}"))
}
