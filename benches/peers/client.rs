//! The client that asks all servers alike: HTTP/1.1 with bodies of a known length or in chunks,
//! passed on as they come. Called by `round.rs` and `process.rs`; knows no server.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::Outcome;

/// A connection that is kept, and opened again when the server has closed it.
pub(super) struct Client {
    address: String,
    stream: Option<TcpStream>,
    buffer: Vec<u8>,
}

/// What the head of an answer says of its body.
struct Head {
    length: Option<usize>,
    chunked: bool,
    closes: bool,
}

/// Counts server-sent events in what comes, wherever it was cut.
#[derive(Debug, Default)]
pub(super) struct Events {
    /// Events that carry data; comments are none.
    pub(super) count: usize,
    /// Letters of `data:` that have come since the line began; none when it began otherwise.
    matched: Option<usize>,
    begun: bool,
}

impl Client {
    /// Will ask the server at this address.
    pub(super) fn new(address: &str) -> Self {
        Self { address: address.to_owned(), stream: None, buffer: Vec::with_capacity(16 * 1024) }
    }

    /// Sends a request and passes the body of its answer on; the answer must be a success.
    pub(super) async fn exchange(
        &mut self,
        request: &[u8],
        mut seen: impl FnMut(&[u8]),
    ) -> Outcome<()> {
        if self.stream.is_none() {
            let stream = TcpStream::connect(&self.address).await?;
            stream.set_nodelay(true)?;
            self.stream = Some(stream);
            self.buffer.clear();
        }
        let stream = self.stream.as_mut().ok_or("no connection")?;
        stream.write_all(request).await?;
        let head = self.head().await?;
        match head {
            Head { chunked: true, .. } => self.chunks(&mut seen).await?,
            Head { length: Some(length), .. } => self.bytes(length, &mut seen).await?,
            _ => while self.bytes(usize::MAX, &mut seen).await.is_ok() {},
        }
        if head.closes {
            self.stream = None;
        }
        Ok(())
    }

    /// The whole body of an answer.
    pub(super) async fn body(&mut self, request: &[u8]) -> Outcome<Vec<u8>> {
        let mut body = Vec::new();
        self.exchange(request, |bytes| body.extend_from_slice(bytes)).await?;
        Ok(body)
    }

    async fn head(&mut self) -> Outcome<Head> {
        let status = self.line().await?;
        let success = status.split(' ').nth(1).is_some_and(|code| code.starts_with('2'));
        let mut head = Head { length: None, chunked: false, closes: false };
        loop {
            let line = self.line().await?.to_ascii_lowercase();
            match line.split_once(':').map(|(name, value)| (name, value.trim())) {
                None => break,
                Some(("content-length", length)) => head.length = Some(length.parse()?),
                Some(("transfer-encoding", coding)) => head.chunked = coding.contains("chunked"),
                Some(("connection", how)) => head.closes = how.contains("close"),
                _ => {}
            }
        }
        head.closes |= !head.chunked && head.length.is_none();
        if success {
            return Ok(head);
        }
        self.stream = None;
        let words = String::from_utf8_lossy(&self.buffer).chars().take(300).collect::<String>();
        Err(format!("the server answered {status} {words}").into())
    }

    async fn chunks(&mut self, seen: &mut impl FnMut(&[u8])) -> Outcome<()> {
        loop {
            let line = self.line().await?;
            let size = line.split(';').next().unwrap_or_default();
            let size = usize::from_str_radix(size.trim(), 16)?;
            self.bytes(size, seen).await?;
            self.line().await?;
            if size == 0 {
                return Ok(());
            }
        }
    }

    async fn bytes(&mut self, count: usize, seen: &mut impl FnMut(&[u8])) -> Outcome<()> {
        let mut left = count;
        while left > 0 {
            if self.buffer.is_empty() {
                self.fill().await?;
            }
            let taken = left.min(self.buffer.len());
            seen(&self.buffer[..taken]);
            self.buffer.drain(..taken);
            left -= taken;
        }
        Ok(())
    }

    /// The next line, without its end.
    async fn line(&mut self) -> Outcome<String> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|two| two == b"\r\n") {
                let line = String::from_utf8(self.buffer[..end].to_vec())?;
                self.buffer.drain(..end + 2);
                return Ok(line);
            }
            self.fill().await?;
        }
    }

    async fn fill(&mut self) -> Outcome<()> {
        let stream = self.stream.as_mut().ok_or("no connection")?;
        if stream.read_buf(&mut self.buffer).await? == 0 {
            self.stream = None;
            return Err("the server has closed the connection".into());
        }
        Ok(())
    }
}

impl Events {
    /// Counts on.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        const NAME: &[u8] = b"data:";
        if !std::mem::replace(&mut self.begun, true) {
            self.matched = Some(0);
        }
        for byte in bytes {
            self.matched = match self.matched {
                _ if *byte == b'\n' => Some(0),
                Some(at) if NAME.get(at) == Some(byte) => {
                    self.count += usize::from(at + 1 == NAME.len());
                    (at + 1 < NAME.len()).then_some(at + 1)
                }
                _ => None,
            };
        }
    }
}
