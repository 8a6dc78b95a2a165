//! A connection as bytes, with TLS or without, from its first byte to where HTTP begins: the port
//! asks for it and sets the time that it may take. One type for both, so that HTTP is compiled
//! once. Never reads a request.

use std::io::{self, IoSlice};
use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::sleep;
use tokio_rustls::server::TlsStream;

use super::peer::Peer;
use super::tls::{Tls, fingerprint};

/// What HTTP/2 begins with.
pub(super) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What TLS begins with: the type of a record that shakes hands. No method of HTTP does.
const HANDSHAKE: u8 = 0x16;

/// Pause before looking again at a preface that has come in part.
const PREFACE_PAUSE: Duration = Duration::from_millis(20);

/// A connection whose caller has said which HTTP it speaks.
pub(super) struct Spoken {
    pub(super) wire: Wire,
    pub(super) peer: Peer,
    /// True for one without TLS at a port that speaks it.
    pub(super) clear: bool,
}

/// A connection as bytes.
pub(super) enum Wire {
    Plain(TcpStream),
    Tls(Box<Begun>),
}

/// A TLS connection of which something was read already. Its socket cannot be peeked into.
pub(super) struct Begun {
    stream: TlsStream<TcpStream>,
    read: [u8; PREFACE.len()],
    /// What of it is still to be handed on.
    left: std::ops::Range<usize>,
}

/// Shakes hands, if the caller begins to, and waits for the first word of HTTP. `None` when it has
/// gone without.
pub(super) async fn open(stream: TcpStream, address: IpAddr, tls: Option<&Tls>) -> Option<Spoken> {
    let peer = Peer::plain(address);
    let Some(tls) = tls else {
        let spoken = spoken(&stream).await;
        return spoken.then_some(Spoken { wire: Wire::Plain(stream), peer, clear: false });
    };
    let mut first = [0];
    if stream.peek(&mut first).await.ok()? == 0 {
        return None;
    }
    if first != [HANDSHAKE] {
        let spoken = spoken(&stream).await;
        return spoken.then_some(Spoken { wire: Wire::Plain(stream), peer, clear: true });
    }
    let stream = match tls.accept(stream).await {
        Ok(stream) => stream,
        Err(error) => {
            tracing::debug!(%error, address = %peer.address, "a handshake failed");
            return None;
        }
    };
    let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
    let certificate = shown.map(fingerprint);
    let wire = Wire::Tls(Box::new(begin(stream).await?));
    Some(Spoken { wire, peer: Peer { secure: true, certificate, ..peer }, clear: false })
}

/// True once a caller has said which HTTP it speaks, false when it has gone without.
async fn spoken(stream: &TcpStream) -> bool {
    let mut begun = [0; PREFACE.len()];
    loop {
        match stream.peek(&mut begun).await {
            Ok(0) | Err(_) => return false,
            Ok(n) if says(&begun[..n]) => return true,
            Ok(_) => sleep(PREFACE_PAUSE).await,
        }
    }
}

/// The same over TLS, where what was looked at is kept.
async fn begin(mut stream: TlsStream<TcpStream>) -> Option<Begun> {
    let (mut read, mut length) = ([0; PREFACE.len()], 0);
    loop {
        match stream.read(&mut read[length..]).await {
            Ok(0) | Err(_) => return None,
            Ok(n) => length += n,
        }
        if says(&read[..length]) {
            return Some(Begun { stream, read, left: 0..length });
        }
    }
}

/// True when it can be told from this much.
fn says(begun: &[u8]) -> bool {
    begun.len() == PREFACE.len() || !PREFACE.starts_with(begun)
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(begun) if !begun.left.is_empty() => {
                let part = &begun.read[begun.left.clone()];
                let length = part.len().min(buffer.remaining());
                buffer.put_slice(&part[..length]);
                begun.left.start += length;
                Poll::Ready(Ok(()))
            }
            Self::Tls(begun) => Pin::new(&mut begun.stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(begun) => Pin::new(&mut begun.stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(begun) => Pin::new(&mut begun.stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(begun) => Pin::new(&mut begun.stream).poll_shutdown(cx),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, parts),
            Self::Tls(begun) => Pin::new(&mut begun.stream).poll_write_vectored(cx, parts),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(begun) => begun.stream.is_write_vectored(),
        }
    }
}
