//! Entity tags (RFC 9110, 8.8.3): read from conditions of requests, written on answers. Used by
//! generated code through [`Call`], and by whoever answers conditional requests; never decides what
//! changes.

use http::{HeaderMap, HeaderName, HeaderValue, header};
use twox_hash::XxHash3_128;

use crate::kernel::{error::Error, reply};

use super::{
    call::{Call, Response, document},
    json::{self, Json},
    table::Answer,
};

/// What is kept is the caller's alone, and to be asked about each time.
const ASK_AGAIN: HeaderValue = HeaderValue::from_static("private, no-cache");
/// What is kept depends on the coding.
const BY_CODING: HeaderValue = HeaderValue::from_static("accept-encoding");

/// What `If-Match` or `If-None-Match` lists: tags as they were written, or `*` alone.
#[derive(Debug, PartialEq, Eq)]
pub struct Tags(Vec<String>);

impl Tags {
    /// Reads a condition; none: the request has no such header.
    ///
    /// # Errors
    /// `invalid_field` when it is neither `*` nor a list of tags.
    pub fn read(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Self>, Error> {
        if !headers.contains_key(name) {
            return Ok(None);
        }
        let mut tags = Vec::new();
        for value in headers.get_all(name) {
            let text = String::from_utf8_lossy(value.as_bytes());
            list(&text, &mut tags).ok_or_else(|| malformed(name))?;
        }
        let any = tags.iter().any(|tag| tag == "*");
        if tags.is_empty() || (any && tags.len() > 1) {
            return Err(malformed(name));
        }
        Ok(Some(Self(tags)))
    }

    /// True for `*`.
    #[must_use]
    pub fn any(&self) -> bool {
        self.0 == ["*"]
    }

    /// True when a tag is listed, byte by byte; weak tags never are.
    #[must_use]
    pub fn has(&self, tag: &str) -> bool {
        !tag.starts_with("W/") && self.0.iter().any(|listed| listed == tag)
    }

    /// True when a tag is listed, weak or not.
    #[must_use]
    pub fn has_weakly(&self, tag: &str) -> bool {
        let opaque = |tag: &str| tag.trim_start_matches("W/").to_owned();
        let tag = opaque(tag);
        self.0.iter().any(|listed| opaque(listed) == tag)
    }
}

impl Call {
    /// Hands the tags of `If-Match` to the field that takes them.
    pub fn if_match(&self, field: &mut Vec<String>) -> Result<(), Error> {
        self.refuse(&header::IF_NONE_MATCH)?;
        let Some(tags) = Tags::read(&self.headers, &header::IF_MATCH)? else { return Ok(()) };
        if !field.is_empty() {
            let message = "if-match repeats what the query says";
            return Err(Error::field("if-match", message));
        }
        *field = tags.0;
        Ok(())
    }

    /// Refuses conditions that would not be heeded. `*` is met by whatever is found.
    pub fn unconditional(&self) -> Result<(), Error> {
        self.refuse(&header::IF_NONE_MATCH)?;
        match Tags::read(&self.headers, &header::IF_MATCH)? {
            Some(tags) if !tags.any() => self.refuse(&header::IF_MATCH),
            _ => Ok(()),
        }
    }

    /// Answers with a message and its entity tag, unless that is no tag.
    pub fn reply_tagged<M: Json>(
        &self,
        response: tonic::Response<M>,
        status: u16,
        tag: String,
    ) -> Answer {
        Ok(tagged(self.reply(response, status)?, tag))
    }

    /// Answers with a message and a digest of its JSON as the entity tag.
    pub fn reply_digested<M: Json>(&self, response: tonic::Response<M>, status: u16) -> Answer {
        let (metadata, message, extensions) = response.into_parts();
        let body = json::to_vec(&message);
        let tag = digest(&body);
        Ok(tagged(document(metadata, extensions, body, status), tag))
    }

    fn refuse(&self, name: &HeaderName) -> Result<(), Error> {
        match self.headers.contains_key(name) {
            true => Err(Error::field(name.as_str(), format!("this method takes no {name}"))),
            false => Ok(()),
        }
    }
}

/// The tag of a representation with these bytes: 128 bits of XXH3, which chance does not repeat.
#[must_use]
pub fn digest(body: &[u8]) -> String {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let digest = XxHash3_128::oneshot(body).to_be_bytes();
    let mut tag = String::with_capacity(2 * digest.len() + 2);
    tag.push('"');
    for byte in digest {
        tag.push(char::from(HEX[usize::from(byte >> 4)]));
        tag.push(char::from(HEX[usize::from(byte & 15)]));
    }
    tag.push('"');
    tag
}

/// An answer with its tag, which makes it worth keeping. What is no tag is left out.
fn tagged(mut response: Response, tag: String) -> Response {
    let whole = tag != "*" && tag_length(&tag) == Some(tag.len());
    let value = HeaderValue::try_from(tag).ok().filter(|_| whole);
    let Some(value) = value else { return response };
    let headers = response.headers_mut();
    headers.insert(header::ETAG, value);
    if headers.get(header::CACHE_CONTROL) == Some(&reply::NO_STORE) {
        headers.insert(header::CACHE_CONTROL, ASK_AGAIN);
    }
    headers.append(header::VARY, BY_CODING);
    response
}

/// Takes a list apart. Commas may stand within quotes, and nothing between commas.
fn list(text: &str, tags: &mut Vec<String>) -> Option<()> {
    let mut rest = text.trim_matches([' ', '\t', ',']);
    while !rest.is_empty() {
        let length = tag_length(rest)?;
        tags.push(rest[..length].to_owned());
        let after = rest[length..].trim_start_matches([' ', '\t']);
        if !after.is_empty() && !after.starts_with(',') {
            return None;
        }
        rest = after.trim_start_matches([' ', '\t', ',']);
    }
    Some(())
}

/// Bytes of the tag, or of the star, that a text begins with.
fn tag_length(text: &str) -> Option<usize> {
    if text.starts_with('*') {
        return Some(1);
    }
    let weak = if text.starts_with("W/") { 2 } else { 0 };
    let opaque = text[weak..].strip_prefix('"')?;
    let end = opaque.find('"')?;
    let odd = |c: char| c <= ' ' || c == '\x7f';
    (!opaque[..end].contains(odd)).then_some(weak + end + 2)
}

fn malformed(name: &HeaderName) -> Error {
    let message = format!("{name} must be * or entity tags in double quotes");
    Error::field(name.as_str(), message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(values: &[&str]) -> Option<Vec<String>> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::IF_MATCH, HeaderValue::from_str(value).unwrap());
        }
        Tags::read(&headers, &header::IF_MATCH).ok().map(|tags| tags.map_or(Vec::new(), |t| t.0))
    }

    #[test]
    fn tags_are_read_as_they_are_written() {
        for (values, expected) in [
            (&[][..], &[][..]),
            (&["*"], &["*"]),
            (&["\"a\""], &["\"a\""]),
            (&["\"a\", W/\"b\""], &["\"a\"", "W/\"b\""]),
            (&[", \"a,b\" ,, \"\"\t,"], &["\"a,b\"", "\"\""]),
            (&["\"a\"", "\"*\""], &["\"a\"", "\"*\""]),
        ] {
            assert_eq!(read(values).unwrap(), expected, "{values:?}");
        }
    }

    #[test]
    fn what_is_no_list_of_tags_is_refused() {
        for values in [
            &[""][..],
            &[","],
            &["a"],
            &["\"a"],
            &["a\""],
            &["\"a\" \"b\""],
            &["w/\"a\""],
            &["W/ \"a\""],
            &["W/a"],
            &["\"a b\""],
            &["*, \"a\""],
            &["\"a\"", "*"],
            &["\"a\"x"],
            &["**"],
        ] {
            assert_eq!(read(values), None, "{values:?}");
        }
    }

    #[test]
    fn weak_tags_match_weakly_alone() {
        let tags = Tags(vec!["W/\"a\"".to_owned(), "\"b\"".to_owned()]);
        assert!(tags.has("\"b\"") && !tags.has("\"a\"") && !tags.has("W/\"a\""));
        assert!(tags.has_weakly("\"a\"") && tags.has_weakly("W/\"b\""));
        assert!(!tags.has_weakly("\"c\"") && !tags.any());
    }

    #[test]
    fn another_body_has_another_tag() {
        assert_eq!(digest(b"{}"), digest(b"{}"));
        assert_ne!(digest(b"{}"), digest(b"{ }"));
        assert_eq!(tag_length(&digest(b"")), Some(34));
    }
}
