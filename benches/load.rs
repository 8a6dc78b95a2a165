//! The load: a few clients that ask the same thing again and again, each waiting for its answer.
//! Over HTTP/1.1 it is as thin as can be, so that the machine's time goes to the server.

use std::future::Future;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::Outcome;
use super::child::{Ready, Served};

/// What a round of calls took.
#[derive(Debug, Clone, Copy)]
pub(super) struct Took {
    /// CPU time of the server for each call.
    pub(super) cpu: Duration,
    /// Time of the whole round.
    pub(super) wall: Duration,
}

/// A connection that is kept.
pub(super) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// Measures what `round` costs the server, which makes `calls` calls.
pub(super) async fn measured<F>(served: &Served, calls: usize, round: F) -> Outcome<Took>
where
    F: Future<Output = Outcome<()>>,
{
    let (cpu, begun) = (served.cpu()?, Instant::now());
    round.await?;
    let wall = begun.elapsed();
    let calls = u32::try_from(calls)?.max(1);
    Ok(Took { cpu: served.cpu()?.since(&cpu) / calls, wall })
}

/// Sends a request `calls` times over `clients` connections.
pub(super) async fn http(
    ready: &Ready,
    request: &[u8],
    calls: usize,
    clients: usize,
) -> Outcome<()> {
    let mut all = JoinSet::new();
    for _ in 0..clients {
        let mut connection = Connection::open(&ready.address).await?;
        let request = request.to_vec();
        all.spawn(async move {
            for _ in 0..calls / clients {
                connection.exchange(&request).await?;
            }
            Outcome::Ok(())
        });
    }
    ended(all).await
}

/// Waits for all clients.
pub(super) async fn ended(mut all: JoinSet<Outcome<()>>) -> Outcome<()> {
    while let Some(done) = all.join_next().await {
        done??;
    }
    Ok(())
}

/// A request as it goes over the wire.
pub(super) fn request(ready: &Ready, line: &str, body: &str) -> Vec<u8> {
    let Ready { address, key, .. } = ready;
    let mut text = format!("{line} HTTP/1.1\r\nhost: {address}\r\naccept: application/json\r\n");
    if !key.is_empty() {
        text += &format!("authorization: Bearer {key}\r\n");
    }
    if !body.is_empty() {
        let length = body.len();
        text += &format!("content-type: application/json\r\ncontent-length: {length}\r\n");
    }
    text += "\r\n";
    text += body;
    text.into_bytes()
}

impl Connection {
    /// Connects.
    pub(super) async fn open(address: &str) -> Outcome<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(64 * 1024) })
    }

    /// Sends a request and reads the body of its answer, which must be a success.
    pub(super) async fn exchange(&mut self, request: &[u8]) -> Outcome<&[u8]> {
        self.stream.write_all(request).await?;
        self.buffer.clear();
        loop {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err("the server has closed the connection".into());
            }
            let Some(head) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") else {
                continue;
            };
            let length = length(&self.buffer[..head])?;
            if self.buffer.len() >= head + 4 + length {
                return Ok(&self.buffer[head + 4..]);
            }
        }
    }
}

/// Length of the body that a head announces.
fn length(head: &[u8]) -> Outcome<usize> {
    let head = std::str::from_utf8(head)?;
    if !head.starts_with("HTTP/1.1 2") {
        return Err(format!("the server answered {head}").into());
    }
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    Ok(length.ok_or("an answer without a length")?.parse()?)
}
