//! Callers that mean harm, byte by byte: floods of resets, of frames that continue a head, and of
//! headers. Their connection ends; others notice nothing.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::Caller;
use crate::harness::app::App;

/// Longest wait for an answer; a test that reaches it has failed.
const WAIT: Duration = Duration::from_secs(30);

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// `ENHANCE_YOUR_CALM`.
const CALM: u32 = 11;

const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// `GET / http` in HPACK.
const HEAD: &[u8] = &[0x82, 0x86, 0x84, 0x41, 0x01, b'x'];

/// A connection, byte by byte.
pub struct Wire {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Wire {
    /// Connects.
    pub async fn to(app: &App) -> Self {
        let address = app.url.strip_prefix("http://").expect("a URL");
        let stream = TcpStream::connect(address).await.expect("a connection");
        Self { stream, read: Vec::new() }
    }

    /// Sends; a connection that has ended meanwhile is no failure.
    pub async fn send(&mut self, bytes: &[u8]) {
        let _gone = self.stream.write_all(bytes).await;
    }

    /// Says that nothing more will come.
    pub async fn end(&mut self) {
        self.stream.shutdown().await.expect("a connection");
    }

    /// Everything until the connection ends.
    pub async fn rest(&mut self) -> Vec<u8> {
        let mut part = [0; 4096];
        while let Ok(n @ 1..) =
            timeout(WAIT, self.stream.read(&mut part)).await.expect("the server hangs")
        {
            self.read.extend_from_slice(&part[..n]);
        }
        std::mem::take(&mut self.read)
    }

    /// Reads until this has come; false when the connection ends before.
    pub async fn until(&mut self, end: &[u8]) -> bool {
        let mut part = [0; 4096];
        loop {
            if let Some(at) = self.read.windows(end.len()).position(|window| window == end) {
                self.read.drain(..at + end.len());
                return true;
            }
            match timeout(WAIT, self.stream.read(&mut part)).await.expect("the server hangs") {
                Ok(n @ 1..) => self.read.extend_from_slice(&part[..n]),
                _ => return false,
            }
        }
    }

    /// True when bytes are there.
    pub fn has_answer(&self) -> bool {
        self.stream.try_read(&mut [0; 1]).is_ok()
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a length").to_be_bytes();
    let head = [&length[1..], &[kind, flags], &stream.to_be_bytes()].concat();
    [&head, payload].concat()
}

/// The code of the frame that ends a connection; none: it just ended.
fn goaway(bytes: &[u8]) -> Option<u32> {
    let mut rest = bytes;
    while let Some((head, after)) = rest.split_at_checked(9) {
        let length = usize::try_from(u32::from_be_bytes([0, head[0], head[1], head[2]])).ok()?;
        let (payload, next) = after.split_at_checked(length)?;
        if head[3] == GOAWAY {
            return Some(u32::from_be_bytes(payload[4..8].try_into().ok()?));
        }
        rest = next;
    }
    None
}

fn opening() -> Vec<u8> {
    [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_flood_of_resets_ends_its_connection_alone() {
    let caller = Caller::new().await;
    let mut flood = opening();
    for stream in (1..8001).step_by(2) {
        flood.extend(frame(HEADERS, END_STREAM | END_HEADERS, stream, HEAD));
        flood.extend(frame(RESET, 0, stream, &8_u32.to_be_bytes()));
    }
    let mut wire = Wire::to(&caller.app).await;
    wire.send(&flood).await;
    assert_eq!(goaway(&wire.rest().await), Some(CALM));
    assert_eq!(caller.ask("GET /v1/agents", &[], b"").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_few_resets_end_nothing() {
    let caller = Caller::new().await;
    let mut calm = opening();
    for stream in (1..81).step_by(2) {
        calm.extend(frame(HEADERS, END_STREAM | END_HEADERS, stream, HEAD));
        calm.extend(frame(RESET, 0, stream, &8_u32.to_be_bytes()));
    }
    calm.extend(frame(PING, 0, 0, b"are you?"));
    let mut wire = Wire::to(&caller.app).await;
    wire.send(&calm).await;
    assert!(wire.until(&frame(PING, 1, 0, b"are you?")).await, "an answer to the ping");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_head_without_end_ends_its_connection_alone() {
    let caller = Caller::new().await;
    // A field of 100 bytes in each frame, which no table takes in.
    let field = [&[0x00, 0x01, b'a', 0x64][..], &[b'b'; 100]].concat();
    for part in [&field[..], b""] {
        let mut flood = opening();
        flood.extend(frame(HEADERS, END_STREAM, 1, HEAD));
        for _ in 0..4000 {
            flood.extend(frame(CONTINUATION, 0, 1, part));
        }
        let mut wire = Wire::to(&caller.app).await;
        wire.send(&flood).await;
        let code = goaway(&wire.rest().await);
        assert_eq!(code, Some(CALM), "{} bytes a frame", part.len());
    }
    assert_eq!(caller.ask("GET /v1/agents", &[], b"").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_flood_of_streams_is_refused_one_by_one() {
    let caller = Caller::new().await;
    let mut flood = opening();
    // Requests whose bodies never come.
    for stream in (1..801).step_by(2) {
        flood.extend(frame(HEADERS, END_HEADERS, stream, HEAD));
    }
    flood.extend(frame(PING, 0, 0, b"are you?"));
    let mut wire = Wire::to(&caller.app).await;
    wire.send(&flood).await;
    let refused = frame(RESET, 0, 515, &7_u32.to_be_bytes());
    assert!(wire.until(&refused).await, "the stream after the 256 that may be");
    assert_eq!(caller.ask("GET /v1/agents", &[], b"").await.status, 200);
}
