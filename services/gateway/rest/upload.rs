//! Streams that callers send: one JSON document a line, or pieces of a `google.api.HttpBody`. What
//! path and query say is decoded once and holds for every message. Called by generated dispatch;
//! keeps one message in memory, never the stream.

use std::{
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, ready},
};

use axum::body::{Body, Bytes};
use bytes::{Buf, BytesMut};
use http::{Extensions, HeaderMap, header};
use http_body::Frame;
use tonic::{
    Status, Streaming,
    codec::{DecodeBuf, Decoder},
};

use crate::kernel::error::Error;

use super::{
    body,
    call::{Call, metadata},
    table::Place,
};

/// Makes messages of pieces. tonic's stream of a request asks a decoder for each; ours reads JSON.
struct Pieces<M> {
    call: Call,
    /// What path and query say.
    head: M,
    decode: fn(&Call, M) -> Result<M, Error>,
}

/// A body in the framing that tonic's stream of a request reads: a zero, the length, the piece.
struct Framed {
    body: Body,
    cutter: Cutter,
    /// The piece whose head was sent.
    piece: Option<Bytes>,
    ended: bool,
}

/// Cuts a body into pieces.
enum Cutter {
    /// At line breaks.
    Lines { text: BytesMut, seen: usize, bytes_max: usize },
    /// As it comes. At least one piece, which may be empty, carries what path and query say.
    Raw { data: Bytes, begun: bool, bytes_max: usize },
}

impl Call {
    /// The request as a service that takes a stream has it: `head` decodes what path, query and
    /// conditions say, `piece` lays one piece of the body over that.
    pub fn upload<M: Clone + Send + 'static>(
        &mut self,
        head: fn(&Self) -> Result<M, Error>,
        piece: fn(&Self, M) -> Result<M, Error>,
    ) -> Result<tonic::Request<Streaming<M>>, Status> {
        let head = head(self)?;
        let headers = std::mem::take(&mut self.headers);
        let mut kind = HeaderMap::new();
        if let Some(value) = headers.get(header::CONTENT_TYPE) {
            kind.insert(header::CONTENT_TYPE, value.clone());
        }
        let body = self.upload.get_mut().ok().and_then(Option::take).unwrap_or_default();
        let bytes_max = self.options.body_bytes_max;
        let cutter = match self.rule.body {
            Place::Raw => Cutter::Raw { data: Bytes::new(), begun: false, bytes_max },
            _ => Cutter::Lines { text: BytesMut::new(), seen: 0, bytes_max },
        };
        let pieces = Pieces { call: self.piece(kind), head, decode: piece };
        let framed = Framed { body, cutter, piece: None, ended: false };
        let stream = Streaming::new_request(pieces, framed, None, Some(bytes_max));
        let extensions = std::mem::take(&mut self.extensions);
        Ok(tonic::Request::from_parts(metadata(headers), extensions, stream))
    }

    /// What decodes one piece.
    fn piece(&self, headers: HeaderMap) -> Self {
        Self {
            rule: self.rule,
            uri: self.uri.clone(),
            path: self.path.clone(),
            verb: self.verb,
            headers,
            extensions: Extensions::new(),
            body: Bytes::new(),
            upload: Mutex::new(None),
            form: self.form,
            head: false,
            request_id: String::new(),
            remembered: None,
            deadline: None,
            options: Arc::clone(&self.options),
        }
    }
}

impl<M: Clone + Send + 'static> Decoder for Pieces<M> {
    type Item = M;
    type Error = Status;

    fn decode(&mut self, piece: &mut DecodeBuf<'_>) -> Result<Option<M>, Status> {
        self.call.body = piece.copy_to_bytes(piece.remaining());
        Ok(Some((self.decode)(&self.call, self.head.clone())?))
    }
}

impl http_body::Body for Framed {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if let Some(piece) = self.piece.take().filter(|piece| !piece.is_empty()) {
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        loop {
            let ended = self.ended;
            if let Some(piece) = self.cutter.cut(ended)? {
                let mut head = [0; 5];
                let length = u32::try_from(piece.len()).map_err(Error::internal)?;
                head[1..].copy_from_slice(&length.to_be_bytes());
                self.piece = Some(piece);
                return Poll::Ready(Some(Ok(Frame::data(Bytes::copy_from_slice(&head)))));
            }
            if ended {
                return Poll::Ready(None);
            }
            match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                None => self.ended = true,
                Some(Err(error)) => {
                    return Poll::Ready(Some(Err(body::broken_upload(error).into())));
                }
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.cutter.add(data);
                    }
                }
            }
        }
    }
}

impl Cutter {
    fn add(&mut self, more: Bytes) {
        match self {
            Self::Lines { text, .. } => text.extend_from_slice(&more),
            Self::Raw { data, .. } => *data = more,
        }
    }

    /// The next piece, if it is there; at the end also what is left.
    fn cut(&mut self, ended: bool) -> Result<Option<Bytes>, Error> {
        match self {
            Self::Raw { data, begun, bytes_max } => {
                if data.is_empty() && (*begun || !ended) {
                    return Ok(None);
                }
                *begun = true;
                let length = data.len().min(*bytes_max);
                Ok(Some(data.split_to(length)))
            }
            Self::Lines { text, seen, bytes_max } => loop {
                let end = text[*seen..].iter().position(|byte| *byte == b'\n');
                let length = end.map_or(text.len(), |end| *seen + end);
                if length > *bytes_max {
                    return Err(body::too_large(*bytes_max));
                }
                let line = match end {
                    Some(_) => text.split_to(length + 1),
                    None if ended && !text.is_empty() => text.split(),
                    None => {
                        *seen = text.len();
                        return Ok(None);
                    }
                };
                *seen = 0;
                if !line.trim_ascii().is_empty() {
                    return Ok(Some(line.freeze()));
                }
            },
        }
    }
}
