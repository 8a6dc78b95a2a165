//! What a transcoder answered, as far as two of them can be compared: the status, and of a success
//! what it says. How failures look is each one's own.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::requests::Asked;

/// An answer.
#[derive(Debug)]
pub(super) struct Answer {
    /// Its status; 0 when there was no answer.
    pub(super) status: u16,
    /// What it says.
    pub(super) says: String,
}

impl Answer {
    /// Asks over a connection of its own, to the letter: no client tidies the request up.
    pub(super) async fn of(address: SocketAddr, asked: &Asked) -> Self {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let mut bytes = Vec::new();
        // Whoever closes early has still said what was read until then.
        if stream.write_all(&asked.bytes(address)).await.is_ok() {
            let _closed = stream.read_to_end(&mut bytes).await;
        }
        Self::read(&bytes)
    }

    /// True when both say the same. Which status of success a method has is an option of ours.
    pub(super) fn agrees(&self, other: &Self) -> bool {
        match (self.is_success(), other.is_success()) {
            (true, true) => self.says == other.says,
            (false, false) => self.status == other.status,
            _ => false,
        }
    }

    fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    fn read(bytes: &[u8]) -> Self {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").unwrap_or(bytes.len());
        let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        let body = bytes.get(end + 4..).unwrap_or_default();
        let chunked = head.contains("\r\ntransfer-encoding: chunked");
        let body = if chunked { unchunked(body) } else { body.to_vec() };
        let header = |name: &str| head.lines().find_map(|line| line.strip_prefix(name));
        let kind = header("content-type: ").unwrap_or_default();
        Self { status: status.unwrap_or_default(), says: says(kind, &body) }
    }
}

/// The body of a chunked answer; what was cut off is left out.
fn unchunked(mut rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(end) = rest.windows(2).position(|two| two == b"\r\n") {
        let size = std::str::from_utf8(&rest[..end]).ok();
        let size = size.and_then(|size| usize::from_str_radix(size, 16).ok()).unwrap_or_default();
        let Some(chunk) = rest.get(end + 2..end + 2 + size).filter(|_| size > 0) else { break };
        body.extend_from_slice(chunk);
        rest = rest.get(end + 4 + size..).unwrap_or_default();
    }
    body
}

/// A body without what is of no matter: the order of members, white space, and the headers that
/// the probe saw.
fn says(kind: &str, body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    if kind.is_empty() && body.is_empty() {
        return "{}".to_owned();
    }
    if kind.starts_with("text/event-stream") {
        let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
        return data.map(|data| plain(data).unwrap_or_else(|| data.to_owned()) + "\n").collect();
    }
    plain(&text).unwrap_or_else(|| format!("{kind} {text}"))
}

fn plain(text: &str) -> Option<String> {
    let mut value: Value = serde_json::from_str(text).ok()?;
    if let Some(members) = value.as_object_mut() {
        members.remove("metadata");
    }
    Some(value.to_string())
}
