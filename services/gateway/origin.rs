//! Which pages may call, and what they may read of the answers (CORS). A browser names the origin
//! of the page in every call that could do harm; one that the operator has not listed is refused
//! here, before anything knows of its key. Callers that name no origin are no browsers and pass
//! untouched. `stack.rs` puts this near the top, so that a page can read failures too.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use tower::{Layer, Service};

use super::peer::Peer;
use super::{Answer, Dialect, Request, Response, request_id};
use crate::kernel::{Error, Reason};

/// What a browser says of the way from the page to the server; no page can set it.
pub(super) const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Methods that the contract has.
const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE");

/// Says that a page may call with its cookie.
const TRUE: HeaderValue = HeaderValue::from_static("true");

/// Seconds that a browser may keep the answer to a preflight.
const PREFLIGHT_S: HeaderValue = HeaderValue::from_static("3600");

/// Headers of answers that a page may read beside those that every page may (`content-type` and a
/// few more): without the first three it would know of no failure over gRPC-Web.
const EXPOSED: HeaderValue = HeaderValue::from_static(
    "grpc-status, grpc-message, grpc-status-details-bin, x-request-id, www-authenticate, allow, \
     accept-encoding, etag, retry-after, deprecation, sunset, link, idempotent-replayed, \
     idempotency-expires, x-ratelimit-limit, x-ratelimit-remaining, x-ratelimit-reset, \
     x-ratelimit-degraded, ratelimit, ratelimit-policy",
);

/// Most characters of an origin that a failure repeats.
const SHOWN_CHARS: usize = 200;

/// Makes [`Guarded`] services.
#[derive(Debug, Clone)]
pub struct OriginLayer {
    listed: Arc<Listed>,
}

/// Lets calls of listed pages pass, and of nobody's.
#[derive(Debug, Clone)]
pub struct Guarded<S> {
    inner: S,
    listed: Arc<Listed>,
}

#[derive(Debug)]
struct Listed {
    any: bool,
    origins: Vec<String>,
}

/// In the extensions of a request that a page of this server or of a listed origin makes: a cookie
/// counts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Trusted;

/// Whose call it is.
enum Page {
    /// No page's.
    None,
    /// One that this server is said to have served itself.
    Own,
    /// One of a listed origin; what to tell the browser of it.
    Listed(HeaderValue),
    /// One that may not call.
    Foreign(String),
}

impl OriginLayer {
    /// Lets pages of these origins call; `*` is any.
    #[must_use]
    pub fn new(origins: &[String]) -> Self {
        let any = origins.iter().any(|origin| origin == "*");
        Self { listed: Arc::new(Listed { any, origins: origins.to_vec() }) }
    }
}

impl<S> Layer<S> for OriginLayer {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Guarded { inner, listed: Arc::clone(&self.listed) }
    }
}

impl<S> Service<Request> for Guarded<S>
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
        let page = self.listed.page(&request);
        if self.listed.trusts(&page, request.headers()) {
            request.extensions_mut().insert(Trusted);
        }
        let allowed = match page {
            // What it is answered depends on no origin, for none is ever allowed to read it.
            Page::None if self.listed.is_empty() => return self.inner.call(request),
            Page::None | Page::Own => None,
            Page::Listed(allowed) => Some(allowed),
            Page::Foreign(origin) => {
                let mut response = refusal(&request, &origin);
                vary(response.headers_mut());
                return Box::pin(async move { Ok(response) });
            }
        };
        let call = match &allowed {
            Some(_) if is_preflight(&request) => {
                let response = preflight(request.headers());
                Box::pin(async move { Ok(response) })
            }
            _ => self.inner.call(request),
        };
        Box::pin(async move {
            call.await.map(|mut response| {
                let headers = response.headers_mut();
                vary(headers);
                if allowed.as_ref().is_some_and(|allowed| allowed != "*") {
                    headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, TRUE);
                }
                if let Some(allowed) = allowed {
                    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
                    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
                }
                response
            })
        })
    }
}

impl Listed {
    fn is_empty(&self) -> bool {
        !self.any && self.origins.is_empty()
    }

    /// True for a page that may use a cookie: one of this server, or of an origin that is listed by
    /// name. Without an `Origin` the browser says itself that it is the server's own.
    fn trusts(&self, page: &Page, headers: &HeaderMap) -> bool {
        match page {
            Page::None => headers.get(FETCH_SITE).is_some_and(|site| site == "same-origin"),
            Page::Own => true,
            Page::Listed(_) => !self.any,
            Page::Foreign(_) => false,
        }
    }

    fn page(&self, request: &Request) -> Page {
        let mut values = request.headers().get_all(header::ORIGIN).iter();
        let Some(value) = values.next() else { return Page::None };
        let origin = String::from_utf8_lossy(value.as_bytes());
        if self.any {
            return match is_own(request, &origin) {
                true => Page::Own,
                false => Page::Listed(HeaderValue::from_static("*")),
            };
        }
        if values.next().is_some() {
            return Page::Foreign(origin.into_owned());
        }
        if self.origins.iter().any(|listed| *listed == origin) {
            return Page::Listed(value.clone());
        }
        if is_own(request, &origin) { Page::Own } else { Page::Foreign(origin.into_owned()) }
    }
}

/// True for a page of this very host, as the caller or a proxy in between names it. Schemes are not
/// compared: a proxy may have taken the TLS off.
fn is_own(request: &Request, origin: &str) -> bool {
    let headers = request.headers();
    if headers.get(FETCH_SITE).is_some_and(|site| site == "same-origin") {
        return true;
    }
    let told = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let host = request.uri().authority().map(http::uri::Authority::as_str).or(told);
    let (Some(host), Some((scheme, origin))) = (host, origin.split_once("://")) else {
        return false;
    };
    let port = match scheme {
        // A page that came in the clear could be anybody's.
        "http" if Peer::of(request.extensions()).secure => return false,
        "http" => ":80",
        "https" => ":443",
        _ => return false,
    };
    let bare = |text: &str| text.strip_suffix(port).unwrap_or(text).to_ascii_lowercase();
    bare(host) == bare(origin)
}

fn is_preflight(request: &Request) -> bool {
    request.method() == Method::OPTIONS
        && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

/// A page may send any header: which ones mean something is said below.
fn preflight(asked: &HeaderMap) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, PREFLIGHT_S);
    if let Some(names) = asked.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, names.clone());
    }
    response
}

fn refusal(request: &Request, origin: &str) -> Response {
    let origin: String = origin.chars().take(SHOWN_CHARS).collect();
    let message = format!(
        "pages of {origin} may not call this server; its operator lists those that may in \
         server.cors_origins"
    );
    let error = Error::new(Reason::OriginNotAllowed, message).with("origin", origin);
    Dialect::of(request.headers()).refuse(error.into(), request_id(request.extensions()))
}

/// Tells caches that the answer depends on the page.
fn vary(headers: &mut HeaderMap) {
    headers.append(header::VARY, HeaderValue::from_static("origin"));
}
