//! gRPC-Web: everything inside this layer sees plain gRPC. On the way in a text body is read from
//! base64; on the way out trailers become the last frame of the body, which is where a browser can
//! read them, and a text answer is written in base64, frame by frame. `stack.rs` says what is above
//! and below.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::Body;
use base64::Engine as _;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use base64::engine::{DecodePaddingMode, general_purpose::STANDARD};
use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, header};
use http_body::{Frame, SizeHint};
use tonic::Status;
use tower::{Layer, Service};

use super::{Answer, Dialect, Request, Response, request_id};
use crate::kernel::{Error, Reason};

/// The flag of the frame that carries trailers.
const TRAILERS: u8 = 0x80;

/// Bytes before the message of a frame: flag and length.
const HEAD_BYTES: usize = 5;

/// Base64 whose last group may lack its padding.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Makes [`Web`] services.
#[derive(Debug, Clone, Copy)]
pub struct WebLayer;

/// Translates gRPC-Web and lets everything else pass.
#[derive(Debug, Clone)]
pub struct Web<S> {
    inner: S,
}

/// How frames are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Binary,
    Text,
}

/// A request's body, read from base64.
struct Untexted {
    inner: Body,
    /// Less than a group of four letters.
    rest: BytesMut,
}

/// An answer's body with its trailers as its last frame.
struct Framed {
    inner: Body,
    form: Form,
}

impl<S> Layer<S> for WebLayer {
    type Service = Web<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Web { inner }
    }
}

impl<S> Service<Request> for Web<S>
where
    S: Service<Request, Response = Response, Error = Infallible, Future = Answer>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Answer {
        if Dialect::of(request.headers()) != Dialect::GrpcWeb {
            return self.inner.call(request);
        }
        let id = request_id(request.extensions());
        if request.method() != Method::POST {
            let refused = Dialect::Rest.refuse(not_post(request.method()).into(), id);
            return Box::pin(async move { Ok(refused) });
        }
        let Some((form, answer)) = forms(request.headers()) else {
            let refused = Dialect::GrpcWeb.refuse(not_ours(request.headers()).into(), id);
            return Box::pin(async move { Ok(refused) });
        };
        let call = self.inner.call(plain(request, form));
        Box::pin(async move { call.await.map(|response| answer.framed(response)) })
    }
}

impl Form {
    /// The form that a media type names, parameters and capitals aside.
    fn of(kind: &str) -> Option<Self> {
        let essence = kind.split(';').next().unwrap_or_default().trim();
        let named = |name: &str| essence.eq_ignore_ascii_case(name);
        if named("application/grpc-web+proto") || named("application/grpc-web") {
            Some(Self::Binary)
        } else if named("application/grpc-web-text") || named("application/grpc-web-text+proto") {
            Some(Self::Text)
        } else {
            None
        }
    }

    fn framed(self, response: Response) -> Response {
        let kind = match self {
            Self::Binary => "application/grpc-web+proto",
            Self::Text => "application/grpc-web-text+proto",
        };
        let mut response = response.map(|inner| Body::new(Framed { inner, form: self }));
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        response
    }

    fn written(self, frame: Bytes) -> Bytes {
        match self {
            Self::Binary => frame,
            Self::Text => STANDARD.encode(frame).into(),
        }
    }
}

/// The forms of the request and of the answer: the first that is accepted by name, else that of the
/// request. `None` for messages that are no protobuf.
fn forms(headers: &HeaderMap) -> Option<(Form, Form)> {
    let text = |value: &HeaderValue| value.to_str().map(str::to_owned).unwrap_or_default();
    let asked = Form::of(&headers.get(header::CONTENT_TYPE).map(text)?)?;
    let accepted = headers.get_all(header::ACCEPT).iter().map(text).collect::<Vec<_>>();
    let accepted = accepted.iter().flat_map(|value| value.split(','));
    Some((asked, accepted.filter_map(Form::of).next().unwrap_or(asked)))
}

/// The request as gRPC has it.
fn plain(mut request: Request, form: Form) -> Request {
    let headers = request.headers_mut();
    headers.remove(header::CONTENT_LENGTH);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(header::TE, HeaderValue::from_static("trailers"));
    match form {
        Form::Binary => request,
        Form::Text => request.map(|inner| Body::new(Untexted { inner, rest: BytesMut::new() })),
    }
}

fn not_post(method: &Method) -> Error {
    let message = format!("{method} is not allowed here; allowed: POST");
    Error::new(Reason::MethodNotAllowed, message).with("allow", "POST")
}

fn not_ours(headers: &HeaderMap) -> Error {
    let kind = headers.get(header::CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    let kind: String = String::from_utf8_lossy(kind).chars().take(100).collect();
    let message =
        format!("the content type {kind} is not supported; send application/grpc-web+proto");
    Error::new(Reason::UnsupportedMediaType, message)
}

impl http_body::Body for Untexted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let whole = loop {
            let groups = self.rest.len() / 4 * 4;
            if groups > 0 {
                break groups;
            }
            match ready!(Pin::new(&mut self.inner).poll_frame(cx)) {
                // Trailers of a request mean nothing to gRPC.
                Some(Ok(frame)) => {
                    self.rest.extend_from_slice(&frame.into_data().unwrap_or_default());
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None if self.rest.is_empty() => return Poll::Ready(None),
                None => break self.rest.len(),
            }
        };
        let text = self.rest.split_to(whole);
        let read = decode(&text).map(Frame::data).map_err(|_| axum::Error::new(no_base64()));
        Poll::Ready(Some(read))
    }
}

impl http_body::Body for Framed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let form = self.form;
        let next = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        Poll::Ready(next.map(|frame| {
            let data = frame?.into_data().or_else(|frame| frame.into_trailers().map(last_frame));
            Ok(Frame::data(form.written(data.unwrap_or_default())))
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        match self.inner.is_end_stream() {
            true => SizeHint::with_exact(0),
            false => SizeHint::default(),
        }
    }
}

/// Trailers as the lines of a header block.
#[expect(clippy::needless_pass_by_value, reason = "it maps what a frame gives away")]
fn last_frame(trailers: HeaderMap) -> Bytes {
    let lines = || trailers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
    let bytes: usize = lines().map(|(name, value)| name.len() + value.len() + 3).sum();
    let mut frame = BytesMut::with_capacity(HEAD_BYTES + bytes);
    frame.put_u8(TRAILERS);
    frame.put_u32(u32::try_from(bytes).unwrap_or(u32::MAX));
    for (name, value) in lines() {
        frame.put_slice(name.as_bytes());
        frame.put_u8(b':');
        frame.put_slice(value);
        frame.put_slice(b"\r\n");
    }
    frame.freeze()
}

/// Base64 of one or more parts, each padded: a caller may write each frame on its own.
fn decode(mut text: &[u8]) -> Result<Bytes, base64::DecodeError> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    while !text.is_empty() {
        let padding = text.iter().position(|letter| *letter == b'=');
        let end = padding.map_or(text.len(), |at| text.len().min((at / 4 + 1) * 4));
        let (part, rest) = text.split_at(end);
        LENIENT.decode_vec(part, &mut bytes)?;
        text = rest;
    }
    Ok(bytes.into())
}

fn no_base64() -> Status {
    Error::field("body", "the body is not base64, as application/grpc-web-text needs").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_read_off_the_media_type() {
        for (kind, form) in [
            ("application/grpc-web", Some(Form::Binary)),
            ("application/grpc-web+proto", Some(Form::Binary)),
            ("Application/gRPC-Web+Proto ; charset=utf-8", Some(Form::Binary)),
            ("application/grpc-web-text", Some(Form::Text)),
            (" application/grpc-web-text+proto;a=\"b,c\"", Some(Form::Text)),
            ("application/grpc-web+json", None),
            ("application/grpc-web-texts", None),
            ("application/grpc", None),
            ("", None),
        ] {
            assert_eq!(Form::of(kind), form, "{kind}");
        }
    }

    #[test]
    fn an_answer_has_the_form_that_is_accepted_by_name() {
        let forms = |kind: &str, accept: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, kind.parse().unwrap());
            headers.insert(header::ACCEPT, accept.parse().unwrap());
            forms(&headers).map(|(_, answer)| answer)
        };
        let (binary, text) = ("application/grpc-web", "application/grpc-web-text");
        assert_eq!(forms(binary, "*/*"), Some(Form::Binary));
        assert_eq!(forms(text, "*/*"), Some(Form::Text));
        assert_eq!(forms(binary, text), Some(Form::Text));
        assert_eq!(forms(text, "text/html, application/grpc-web;q=0.9"), Some(Form::Binary));
        assert_eq!(forms("application/grpc-web+thrift", text), None);
    }

    #[test]
    fn base64_may_come_in_padded_parts() {
        let read = |text: &str| decode(text.as_bytes()).map(|bytes| bytes.to_vec()).ok();
        assert_eq!(read("YQ==YmM=ZGVm"), Some(b"abcdef".to_vec()));
        assert_eq!(read("YQ"), Some(b"a".to_vec()), "the last group may lack its padding");
        for odd in ["Y", "YQ=", "Y===", "====", "YQ==Y", "Y!==", "-_-_"] {
            assert_eq!(read(odd).filter(|_| odd != "YQ="), None, "{odd}");
        }
    }

    #[test]
    fn trailers_are_lines_of_the_last_frame() {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        assert_eq!(&last_frame(trailers)[..], b"\x80\0\0\0\x0fgrpc-status:0\r\n");
        assert_eq!(&last_frame(HeaderMap::new())[..], b"\x80\0\0\0\0");
    }
}
