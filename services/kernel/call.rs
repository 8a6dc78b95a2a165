//! What the gateway tells of a call to whoever changes something for it: what is written down with
//! the change, in its transaction. Made by `gateway/`, carried by the caller, read by
//! `store/change.rs`.

use std::net::IpAddr;
use std::sync::Arc;

use prost::Message;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::{Error, Pepper, Result, Timestamp};

/// One call.
#[derive(Debug, Clone)]
pub struct Call {
    /// Id of the request.
    pub request_id: Arc<str>,
    /// Where it came from; none: not over a network.
    pub address: Option<IpAddr>,
    /// Method, as in `AgentsService/CreateAgent`.
    pub action: &'static str,
    /// Scope that it needs.
    pub scope: &'static str,
    /// Seals and signs what is written down.
    pub pepper: Pepper,
    /// Set when the call may be made twice and must have one effect.
    pub ticket: Option<Ticket>,
    /// The answer that was kept of the same call, for a service that goes on from there.
    pub remembered: Option<Arc<[u8]>>,
}

/// By what a call is known again.
#[derive(Debug, Clone)]
pub struct Ticket {
    /// Digest of the caller's key.
    pub digest: [u8; 32],
    /// What the answer is sealed with, beside the pepper.
    pub seal: Arc<str>,
    /// gRPC path of the method; of a stream that of its twin.
    pub route: &'static str,
    /// Digest of the request.
    pub fingerprint: [u8; 32],
    /// When the call came.
    pub created_at: Timestamp,
    /// Until when it is known.
    pub expires_at: Timestamp,
}

/// What a change has come to.
#[derive(Debug, Clone)]
pub struct Changed<M, X = ()> {
    /// The answer, which is kept for when the same call comes again.
    pub answer: M,
    /// Id of what was changed.
    pub target: String,
    /// Digest of it before; none: there was none.
    pub before: Option<String>,
    /// Digest of it after; none: there is none any more.
    pub after: Option<String>,
    /// What else the service needs once it is committed; never kept.
    pub more: X,
}

impl Call {
    /// One that changes nothing, and so says nothing of itself.
    #[must_use]
    pub fn silent(pepper: &Pepper) -> Self {
        Self {
            request_id: "".into(),
            address: None,
            action: "",
            scope: "",
            pepper: pepper.clone(),
            ticket: None,
            remembered: None,
        }
    }

    /// The answer that was kept of the same call.
    ///
    /// # Errors
    /// `internal_error` when it is of another kind.
    pub fn remembered<M: Message + Default>(&self) -> Result<Option<M>> {
        let kept = self.remembered.as_deref().map(M::decode);
        kept.transpose().map_err(Error::internal)
    }
}

impl<M> Changed<M> {
    /// A change of what has this id, with its answer.
    #[must_use]
    pub fn new(target: impl Into<String>, answer: M) -> Self {
        Self { answer, target: target.into(), before: None, after: None, more: () }
    }
}

impl<M, X> Changed<M, X> {
    /// The same, telling what was there before.
    ///
    /// # Errors
    /// `internal_error` for what cannot be written as JSON.
    pub fn before(mut self, state: &impl Serialize) -> Result<Self> {
        self.before = Some(digest(state)?);
        Ok(self)
    }

    /// The same, telling what is there now.
    ///
    /// # Errors
    /// `internal_error` for what cannot be written as JSON.
    pub fn after(mut self, state: &impl Serialize) -> Result<Self> {
        self.after = Some(digest(state)?);
        Ok(self)
    }

    /// The same, with what the service needs once it is committed.
    #[must_use]
    pub fn with<Y>(self, more: Y) -> Changed<M, Y> {
        let Self { answer, target, before, after, .. } = self;
        Changed { answer, target, before, after, more }
    }
}

/// SHA-256 of a state as JSON, in hexadecimal.
fn digest(state: &impl Serialize) -> Result<String> {
    let text = serde_json::to_vec(state).map_err(Error::internal)?;
    Ok(hex(&Sha256::digest(text)))
}

/// Bytes in hexadecimal.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |half: u8| char::from(DIGITS[usize::from(half & 15)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(*byte)]).collect()
}
