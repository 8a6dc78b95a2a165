//! gRPC-Web: everything inside this layer sees plain gRPC; tonic-web translates on the way in and
//! out.

use std::convert::Infallible;
use std::task::{Context, Poll};

use axum::body::Body;
use http::{HeaderValue, header};
use tonic_web::GrpcWebLayer;
use tower::{Layer, Service};

use super::{Answer, Dialect, Request, Response};

/// Makes [`Web`] services.
#[derive(Debug, Clone, Copy)]
pub struct WebLayer;

/// Translates gRPC-Web and lets everything else pass.
#[derive(Debug, Clone)]
pub struct Web<S> {
    inner: S,
}

/// Gives tonic-web's body our type.
struct Rebodied<S>(S);

impl<S> Layer<S> for WebLayer {
    type Service = Web<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Web { inner }
    }
}

impl<S> Service<Request> for Web<S>
where
    S: Service<Request, Response = Response, Error = Infallible, Future = Answer>
        + Clone
        + Send
        + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request) -> Answer {
        if Dialect::of(request.headers()) != Dialect::GrpcWeb {
            return self.inner.call(request);
        }
        plain_content_type(&mut request);
        let ready = self.inner.clone();
        let inner = std::mem::replace(&mut self.inner, ready);
        let mut web = GrpcWebLayer::new().layer(Rebodied(inner));
        let call = web.call(request);
        Box::pin(async move { call.await.map(|response| response.map(Body::new)) })
    }
}

impl<S> Service<http::Request<tonic::body::Body>> for Rebodied<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<tonic::body::Body>) -> S::Future {
        self.0.call(request.map(Body::new))
    }
}

/// tonic-web compares the content type letter by letter; callers may add parameters and capitals.
fn plain_content_type(request: &mut Request) {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok());
    let text = kind.is_some_and(|k| k.to_ascii_lowercase().contains("grpc-web-text"));
    let plain = if text { "application/grpc-web-text+proto" } else { "application/grpc-web+proto" };
    request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(plain));
}
