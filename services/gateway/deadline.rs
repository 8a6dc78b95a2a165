//! Deadlines: `grpc-timeout` and `X-Server-Timeout`, capped by the server's own. A call that has
//! not begun to answer by then is dropped with `request_timeout`; so is a stream whose caller set a
//! deadline. Runs go on without their caller.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};
use http_body::Frame;
use tokio::time::{Instant, Sleep, sleep_until, timeout_at};
use tonic::Status;
use tower::{Layer, Service};

use super::rest::stream::{Deadline, late};
use super::{Answer, Dialect, Request, Response, request_id};
use crate::kernel::Error;

/// Makes [`Timed`] services.
#[derive(Debug, Clone, Copy)]
pub struct DeadlineLayer {
    /// Longest time that any call may take to begin to answer.
    pub max: Duration,
}

/// Ends calls at their deadline.
#[derive(Debug, Clone)]
pub struct Timed<S> {
    inner: S,
    max: Duration,
}

/// A streamed gRPC answer that ends at a deadline.
struct TimedBody {
    inner: Body,
    deadline: Pin<Box<Sleep>>,
    ended: bool,
}

impl<S> Layer<S> for DeadlineLayer {
    type Service = Timed<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Timed { inner, max: self.max }
    }
}

impl<S> Service<Request> for Timed<S>
where
    S: Service<Request, Response = Response, Error = Infallible> + Send + 'static,
    S::Future: Send,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request) -> Answer {
        let dialect = Dialect::of(request.headers());
        let id = request_id(request.extensions()).to_owned();
        let asked = match asked(request.headers()) {
            Ok(asked) => asked,
            Err(error) => return Box::pin(async move { Ok(dialect.refuse(error.into(), &id)) }),
        };
        let deadline = Instant::now() + asked.unwrap_or(self.max).min(self.max);
        if asked.is_some() {
            request.extensions_mut().insert(Deadline(deadline));
        }
        let call = self.inner.call(request);
        Box::pin(async move {
            let Ok(Ok(response)) = timeout_at(deadline, call).await else {
                return Ok(dialect.refuse(late().into(), &id));
            };
            // Over REST the transcoder ends its streams itself, each in its own form.
            if asked.is_none() || dialect == Dialect::Rest {
                return Ok(response);
            }
            Ok(response.map(|inner| {
                let deadline = Box::pin(sleep_until(deadline));
                Body::new(TimedBody { inner, deadline, ended: false })
            }))
        })
    }
}

impl http_body::Body for TimedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        // Before the frames: some bodies never pause.
        if self.deadline.as_mut().poll(cx).is_pending() {
            return Pin::new(&mut self.inner).poll_frame(cx);
        }
        self.ended = true;
        Poll::Ready(Some(Ok(trailers())))
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.inner.is_end_stream()
    }
}

/// The last frame of a gRPC stream that is late.
fn trailers() -> Frame<Bytes> {
    let mut trailers = Status::from(late()).into_http::<()>().into_parts().0.headers;
    trailers.remove(header::CONTENT_TYPE);
    Frame::trailers(trailers)
}

/// How long the caller wants to wait: `grpc-timeout` (a number of at most 8 digits and a unit, as
/// gRPC has it) or
/// `X-Server-Timeout` (seconds, fractions allowed).
fn asked(headers: &HeaderMap) -> Result<Option<Duration>, Error> {
    if let Some(value) = headers.get("grpc-timeout") {
        let parsed = value.to_str().ok().and_then(grpc_timeout);
        return parsed.map(Some).ok_or_else(|| bad("grpc-timeout", value));
    }
    let Some(value) = headers.get("x-server-timeout") else { return Ok(None) };
    let seconds = value.to_str().ok().and_then(|text| text.trim().parse::<f64>().ok());
    let parsed = seconds.and_then(|s| Duration::try_from_secs_f64(s).ok());
    parsed.map(Some).ok_or_else(|| bad("x-server-timeout", value))
}

fn grpc_timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let n: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(n * 3600),
        "M" => Duration::from_secs(n * 60),
        "S" => Duration::from_secs(n),
        "m" => Duration::from_millis(n),
        "u" => Duration::from_micros(n),
        "n" => Duration::from_nanos(n),
        _ => return None,
    })
}

fn bad(name: &'static str, value: &HeaderValue) -> Error {
    let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
    Error::field(name, format!("{name} is {value:?}, which is no length of time"))
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[test]
    fn grpc_timeouts_have_up_to_eight_digits_and_a_unit() {
        assert_eq!(grpc_timeout("3S"), Some(Duration::from_secs(3)));
        assert_eq!(grpc_timeout("99999999n"), Some(Duration::from_nanos(99_999_999)));
        assert_eq!(grpc_timeout("100m"), Some(Duration::from_millis(100)));
        for odd in ["", "S", "3", "123456789S", "-1S", "1.5S", "3s", "3é", "é"] {
            assert_eq!(grpc_timeout(odd), None, "{odd}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_late_grpc_stream_ends_with_its_status() {
        let noise = futures::stream::repeat_with(|| Ok::<_, Infallible>(Bytes::from_static(b"x")));
        let silence = futures::stream::pending::<Result<Bytes, Infallible>>();
        for inner in [Body::from_stream(silence), Body::from_stream(noise)] {
            let deadline = Box::pin(sleep_until(Instant::now() + Duration::from_secs(1)));
            let mut body = TimedBody { inner, deadline, ended: false };
            tokio::time::advance(Duration::from_secs(1)).await;
            let frame = body.frame().await.unwrap().unwrap();
            let status = frame.into_trailers().unwrap().remove("grpc-status");
            assert_eq!(status.as_ref().map(HeaderValue::as_bytes), Some(&b"4"[..]));
            assert!(body.frame().await.is_none());
        }
    }

    #[test]
    fn odd_server_timeouts_are_refused_by_name() {
        for odd in ["x", "-1", "NaN", "inf", "1e999"] {
            let mut headers = HeaderMap::new();
            headers.insert("x-server-timeout", HeaderValue::from_static(odd));
            assert_eq!(
                asked(&headers).unwrap_err().fact("field"),
                Some("x-server-timeout"),
                "{odd}"
            );
        }
    }
}
