//! Notices on answers that something is deprecated (RFC 9745) and when it may be gone (RFC 8594).
//! The generator makes them of the contract's options; nothing here knows a date.

use http::{HeaderMap, HeaderName, HeaderValue, header};
use tonic::metadata::MetadataMap;

use super::table::Answer;

const DEPRECATION: HeaderName = HeaderName::from_static("deprecation");
const SUNSET: HeaderName = HeaderName::from_static("sunset");

/// Since when something is deprecated, as headers say it.
#[derive(Debug, PartialEq, Eq)]
pub struct Notice {
    /// The moment as a structured date, `@` and seconds from 1970.
    pub since: &'static str,
    /// When it may be gone, as HTTP writes dates; empty: not decided.
    pub sunset: &'static str,
    /// The link to a page that says more; empty: none.
    pub link: &'static str,
}

impl Notice {
    /// Adds the headers, unless another notice is there.
    pub fn write(&self, headers: &mut HeaderMap) {
        if headers.contains_key(DEPRECATION) {
            return;
        }
        headers.insert(DEPRECATION, HeaderValue::from_static(self.since));
        if !self.sunset.is_empty() {
            headers.insert(SUNSET, HeaderValue::from_static(self.sunset));
        }
        if !self.link.is_empty() {
            headers.append(header::LINK, HeaderValue::from_static(self.link));
        }
    }
}

/// Puts a notice on an answer, and on a failure too.
pub fn mark(answer: Answer, notice: Option<&'static Notice>) -> Answer {
    let Some(notice) = notice else { return answer };
    match answer {
        Ok(mut response) => {
            notice.write(response.headers_mut());
            Ok(response)
        }
        Err(mut status) => {
            let mut headers = std::mem::take(status.metadata_mut()).into_headers();
            notice.write(&mut headers);
            *status.metadata_mut() = MetadataMap::from_headers(headers);
            Err(status)
        }
    }
}
