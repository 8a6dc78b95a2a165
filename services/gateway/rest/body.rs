//! The body of a request: read within its limit, checked for its type. Called once before a call is
//! decoded; never parses.

use axum::body::{Body, Bytes};
use http::{HeaderMap, HeaderValue, header};
use http_body::Body as _;
use http_body_util::{BodyExt, LengthLimitError};

use crate::kernel::error::{Error, Reason};

use super::{stream, table::Place};

/// Said of a body whose end never came.
const BROKE_OFF: &str = "the body broke off";

/// Reads the body that a rule takes.
pub(super) async fn read(
    body: Body,
    headers: &HeaderMap,
    place: Place,
    bytes_max: usize,
) -> Result<Bytes, Error> {
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    if place == Place::Nowhere {
        return refuse(body).await;
    }
    let announced = headers.get(header::CONTENT_LENGTH).and_then(length);
    if announced.is_some_and(|length| length > bytes_max) {
        return Err(too_large(bytes_max));
    }
    let body = collect(body, announced.unwrap_or_default(), bytes_max).await?;
    if !body.is_empty() && place != Place::Raw {
        check_type(headers.get(header::CONTENT_TYPE), "application/json", is_json)?;
    }
    Ok(body)
}

/// Checks the type of a body that is a stream of messages.
pub(super) fn check_upload(headers: &HeaderMap, place: Place) -> Result<(), Error> {
    if place == Place::Raw {
        return Ok(());
    }
    check_type(headers.get(header::CONTENT_TYPE), stream::LINES, is_lines)
}

/// Reads what should not be there, as far as its first byte.
async fn refuse(mut body: Body) -> Result<Bytes, Error> {
    while let Some(data) = next(&mut body).await? {
        if !data.is_empty() {
            return Err(Error::field("body", "this method takes no body"));
        }
    }
    Ok(Bytes::new())
}

/// Reads a whole body, of any kind.
///
/// # Errors
/// `payload_too_large`; `request_cancelled` when it breaks off; what a layer before says of it.
pub async fn whole(body: Body, bytes_max: usize) -> Result<Bytes, Error> {
    collect(body, 0, bytes_max).await
}

async fn collect(mut body: Body, announced: usize, bytes_max: usize) -> Result<Bytes, Error> {
    let first = next(&mut body).await?.unwrap_or_default();
    if first.len() > bytes_max {
        return Err(too_large(bytes_max));
    }
    if body.is_end_stream() {
        return Ok(first);
    }
    let mut all = Vec::with_capacity(announced.max(first.len()));
    all.extend_from_slice(&first);
    while let Some(data) = next(&mut body).await? {
        if all.len() + data.len() > bytes_max {
            return Err(too_large(bytes_max));
        }
        all.extend_from_slice(&data);
    }
    Ok(all.into())
}

/// The next data of a body; trailers are passed over.
async fn next(body: &mut Body) -> Result<Option<Bytes>, Error> {
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(broken)?;
        if let Ok(data) = frame.into_data() {
            return Ok(Some(data));
        }
    }
    Ok(None)
}

/// What a body that cannot be read on means: a limit before ours, or a caller that went away.
fn broken(error: axum::Error) -> Error {
    if let Some(told) = told(&error) {
        return told;
    }
    match is_limit(&error) {
        true => limited(),
        false => Error::new(Reason::RequestCancelled, BROKE_OFF).caused_by(error),
    }
}

/// What a layer before ours says of the body.
fn told(error: &(dyn std::error::Error + 'static)) -> Option<Error> {
    let Some(told) = error.downcast_ref::<Error>() else { return error.source().and_then(told) };
    let mut error = Error::new(told.reason, told.message.clone());
    error.metadata.clone_from(&told.metadata);
    Some(error)
}

/// The same for a stream of messages. tonic takes a cancelled one for a complete one, so what broke
/// off has another reason here.
pub(super) fn broken_upload(error: axum::Error) -> Error {
    if let Some(told) = told(&error) {
        return told;
    }
    match is_limit(&error) {
        true => limited(),
        false => Error::field("body", BROKE_OFF).caused_by(error),
    }
}

fn limited() -> Error {
    Error::new(Reason::PayloadTooLarge, "the body is larger than its limit")
}

fn is_limit(error: &(dyn std::error::Error + 'static)) -> bool {
    error.is::<LengthLimitError>() || error.source().is_some_and(is_limit)
}

fn length(value: &HeaderValue) -> Option<usize> {
    value.to_str().ok()?.parse().ok()
}

pub(super) fn too_large(bytes_max: usize) -> Error {
    Error::new(Reason::PayloadTooLarge, format!("the body is larger than {bytes_max} bytes"))
        .with("limit", bytes_max.to_string())
}

fn check_type(
    value: Option<&HeaderValue>,
    wanted: &str,
    fits: fn(&str) -> bool,
) -> Result<(), Error> {
    let text = value.map(|value| value.to_str().unwrap_or("that is not ASCII"));
    if text.is_some_and(fits) {
        return Ok(());
    }
    let message = match text {
        Some(text) => {
            let text: String = text.chars().take(100).collect();
            format!("the content type {text} is not supported; send {wanted}")
        }
        None => format!("the body has no content type; send {wanted}"),
    };
    Err(Error::new(Reason::UnsupportedMediaType, message))
}

/// `application/json` or `application/…+json`, in UTF-8.
fn is_json(text: &str) -> bool {
    let (name, utf_8) = media_type(text);
    let json = name.strip_prefix("application/").is_some_and(|sub| {
        sub == "json" || sub.strip_suffix("+json").is_some_and(|sub| !sub.is_empty())
    });
    json && utf_8
}

/// One JSON document a line, in UTF-8.
fn is_lines(text: &str) -> bool {
    let (name, utf_8) = media_type(text);
    utf_8 && matches!(name.as_str(), stream::LINES | "application/jsonl")
}

/// The name of a media type, and whether its text is UTF-8.
fn media_type(text: &str) -> (String, bool) {
    let mut parts = text.split(';').map(str::trim);
    let name = parts.next().unwrap_or_default().to_ascii_lowercase();
    let utf_8 = parts.all(|part| match part.split_once('=') {
        Some((name, charset)) if name.eq_ignore_ascii_case("charset") => {
            let charset = charset.trim_matches('"');
            charset.eq_ignore_ascii_case("utf-8") || charset.eq_ignore_ascii_case("us-ascii")
        }
        _ => true,
    });
    (name, utf_8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_json_in_utf_8_is_json() {
        for good in [
            "application/json",
            "Application/JSON",
            "application/json; charset=utf-8",
            "application/json;charset=\"UTF-8\"",
            "application/merge-patch+json",
        ] {
            assert!(is_json(good), "{good}");
        }
        for bad in [
            "",
            "text/json",
            "application/jsonl",
            "application/+json",
            "application/json; charset=latin1",
            "application/x-www-form-urlencoded",
        ] {
            assert!(!is_json(bad), "{bad}");
        }
    }
}
